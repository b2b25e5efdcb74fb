//! Where a pair of a member of etcd and a node runs: at an address of loopback, or in a network namespace of its own
//! with a virtual cable to a bridge. The connection from one namespace to another can be cut in either direction.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU8, Ordering};

use super::{clean, free_address, is_root_for, need};

/// An address that nobody has: frames to it end at the bridge, without an error for the sender.
const NOWHERE: &str = "02:00:00:00:00:01";
const PREFIX: &str = "registry";

#[derive(Clone, Debug)]
pub struct Place {
    pub address: String,
    namespace: Option<String>,
}

impl Place {
    /// An address of loopback that nobody else uses.
    pub fn local() -> Self {
        Self { address: free_address().split(':').next().unwrap().to_owned(), namespace: None }
    }

    pub fn is_remote(&self) -> bool {
        self.namespace.is_some()
    }

    /// A command that runs there, and ends with this thread.
    pub fn command(&self, program: &str) -> Command {
        let mut command = clean("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(namespace) = &self.namespace {
            command.arg("nsenter").arg(format!("--net=/run/netns/{namespace}"));
        }
        command.arg(program);
        command
    }
}

/// Namespaces at a bridge. They go with their handle.
pub struct Network {
    bridge: String,
    pub places: Vec<Place>,
}

impl Network {
    /// None without root, which it says.
    pub fn new(size: usize) -> Option<Self> {
        static COUNT: AtomicU8 = AtomicU8::new(0);
        if !is_root_for("network namespaces, and with them cuts of connections") {
            return None;
        }
        need("ip");
        remove_forgotten();
        let pid = std::process::id();
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |suffix: &str| format!("{PREFIX}-{pid}-{number}{suffix}");
        let subnet = format!("10.{}.{}", 200 + number % 50, pid % 250);
        let bridge = format!("reg{pid}b{number}");
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["address", "add", &format!("{subnet}.254/24"), "dev", &bridge]);
        ip(&["link", "set", &bridge, "up"]);
        let mut network = Self { bridge, places: Vec::new() };
        for at in 0..size {
            let (namespace, cable) = (name(&format!("-{at}")), format!("reg{pid}n{number}{at}"));
            let address = format!("{subnet}.{}", at + 1);
            ip(&["netns", "add", &namespace]);
            network.places.push(Place { address: address.clone(), namespace: Some(namespace.clone()) });
            ip(&["link", "add", &cable, "type", "veth", "peer", "name", "eth0", "netns", &namespace]);
            ip(&["link", "set", &cable, "master", &network.bridge, "up"]);
            ip(&["-n", &namespace, "address", "add", &format!("{address}/24"), "dev", "eth0"]);
            ip(&["-n", &namespace, "link", "set", "eth0", "up"]);
            ip(&["-n", &namespace, "link", "set", "lo", "up"]);
        }
        Some(network)
    }

    /// What one sends to the other is lost from now on.
    pub fn cut(&self, from: usize, to: usize) {
        let (namespace, address) = (self.namespace(from), &self.places[to].address);
        ip(&["-n", namespace, "neighbour", "replace", address, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent"]);
    }

    pub fn heal(&self, from: usize, to: usize) {
        let (namespace, address) = (self.namespace(from), &self.places[to].address);
        ip(&["-n", namespace, "neighbour", "delete", address, "dev", "eth0"]);
    }

    fn namespace(&self, at: usize) -> &str {
        self.places[at].namespace.as_deref().unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for place in &self.places {
            run(&["netns", "delete", place.namespace.as_deref().unwrap()]);
        }
        run(&["link", "delete", &self.bridge]);
    }
}

/// Those of tests that were killed.
fn remove_forgotten() {
    let output = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let lives = |pid: &str| Path::new("/proc").join(pid).exists();
    for name in String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.split(' ').next()) {
        let mut parts = name.split('-');
        if parts.next() == Some(PREFIX) && parts.next().is_some_and(|pid| !lives(pid)) {
            run(&["netns", "delete", name]);
        }
    }
    let output = Command::new("ip").args(["-o", "link", "show", "type", "bridge"]).output().unwrap();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let name = line.split(": ").nth(1).unwrap_or_default();
        let pid = name.strip_prefix("reg").and_then(|rest| rest.split('b').next()).unwrap_or_default();
        if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) && !lives(pid) {
            run(&["link", "delete", name]);
        }
    }
}

fn ip(arguments: &[&str]) {
    assert!(run(arguments), "ip {}", arguments.join(" "));
}

fn run(arguments: &[&str]) -> bool {
    Command::new("ip").args(arguments).status().unwrap().success()
}

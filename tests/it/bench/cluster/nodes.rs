//! Nodes of the registry, with etcd behind them; or one with the embedded store, for comparison.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::bench::etcd::{Etcd, memory};
use crate::bench::files::mode;
use crate::bench::network::{Network, Place};
use crate::bench::{Running, eventually, free_port};

/// How a cluster is made.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// One node, with its data on disk.
    pub is_embedded: bool,
    /// Each pair of member and node in a namespace of its own.
    pub has_namespaces: bool,
    /// Bytes that etcd may keep.
    pub quota: Option<u64>,
    /// Seconds by which the clocks of the nodes are ahead.
    pub clocks: Option<[i64; 3]>,
    /// Rules that are switched off, as `SERVICE_REGISTRY_TEST_DISABLE` takes them.
    pub disabled: String,
    /// The users file; empty: the registry is open.
    pub users: String,
    /// Further options of each node.
    pub options: Vec<String>,
}

pub struct Cluster {
    pub nodes: Vec<Node>,
    pub etcd: Option<Etcd>,
    pub network: Option<Network>,
    /// What nodes said that have ended.
    logs: Vec<(usize, String)>,
    _folder: tempfile::TempDir,
}

pub struct Node {
    place: Place,
    pub address: SocketAddr,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
    clock: PathBuf,
    pub running: Option<Running>,
}

impl Cluster {
    /// Starts it, and waits until all nodes listen.
    pub fn start(setting: &Setting) -> Self {
        let folder = tempfile::Builder::new().prefix("nodes").tempdir_in(memory()).unwrap();
        let users = folder.path().join("users.toml");
        if !setting.users.is_empty() {
            std::fs::write(&users, &setting.users).unwrap();
            mode(&users, 0o600);
        }
        let size = if setting.is_embedded { 1 } else { 3 };
        let network = setting.has_namespaces.then(|| Network::new(size)).flatten();
        let places = match &network {
            Some(network) => network.places.clone(),
            None => (0..size).map(|_| Place::local()).collect(),
        };
        let etcd = (!setting.is_embedded).then(|| Etcd::start(&places, setting.quota));
        let mut options: Vec<String> = Vec::new();
        options.extend(users.exists().then(|| format!("--users={}", users.display())));
        match &etcd {
            Some(etcd) => options.extend(etcd.options()),
            None => options.push(format!("--data-dir={}", folder.path().join("data").display())),
        }
        options.extend_from_slice(&setting.options);
        options.extend(setting.quota.map(|quota| format!("--etcd-quota={quota}")));
        let node = |(at, place): (usize, &Place)| Node::new(at, place, &options, setting, folder.path());
        let nodes = places.iter().enumerate().map(node).collect();
        let mut cluster = Self { nodes, etcd, network, logs: Vec::new(), _folder: folder };
        (0..size).for_each(|at| cluster.start_node(at));
        for at in 0..size {
            eventually("a node that listens", || cluster.listens(at).then_some(()));
        }
        cluster
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// What a node has said since its start.
    pub fn said(&mut self, at: usize) -> String {
        self.nodes[at].running.as_mut().map(Running::said).unwrap_or_default()
    }

    pub fn start_node(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let mut command = node.place.command(env!("CARGO_BIN_EXE_service-registry"));
        command.args(&node.arguments).envs(node.environment.iter().cloned());
        node.running = Some(Running::start(&mut command));
    }

    fn listens(&mut self, at: usize) -> bool {
        let node = &mut self.nodes[at];
        if let Some(running) = &mut node.running {
            assert!(!running.has_ended(), "node {at} has ended: {}", running.said_to_the_end());
        }
        TcpStream::connect_timeout(&node.address, Duration::from_secs(1)).is_ok()
    }

    pub fn signal_node(&self, at: usize, signal: Signal) {
        if let Some(running) = &self.nodes[at].running {
            running.signal(signal);
        }
    }

    /// Waits until a node has ended, and keeps what it said. Returns whether it did within this time.
    pub fn reap_node(&mut self, at: usize, limit: Duration) -> bool {
        let start = Instant::now();
        let Some(mut running) = self.nodes[at].running.take() else { return true };
        while !running.has_ended() && start.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(10)); // the pause between two looks, not a synchronisation
        }
        let has_ended = running.has_ended();
        if has_ended {
            self.logs.push((at, running.said_to_the_end()));
        } else {
            self.nodes[at].running = Some(running);
        }
        has_ended
    }

    /// The node that has ended although nobody ended it, and what it said.
    pub fn ended(&mut self) -> Option<(usize, String)> {
        let at = self.nodes.iter_mut().position(|node| node.running.as_mut().is_some_and(Running::has_ended))?;
        self.reap_node(at, Duration::ZERO);
        Some((at, self.logs.last().unwrap().1.clone()))
    }

    pub fn set_clock(&self, at: usize, ahead: i64) {
        set_clock(&self.nodes[at].clock, ahead);
    }

    /// Writes what all nodes have said into files.
    pub fn write_logs(&mut self, folder: &Path) {
        for at in 0..self.nodes.len() {
            let mut text: String =
                self.logs.iter().filter(|(of, _)| *of == at).map(|(_, log)| format!("{log}\n\n")).collect();
            if let Some(running) = &mut self.nodes[at].running {
                text += &running.said();
            }
            std::fs::write(folder.join(format!("node-{at}.log")), text).unwrap();
        }
    }
}

impl Node {
    fn new(at: usize, place: &Place, options: &[String], setting: &Setting, folder: &Path) -> Self {
        let address = if place.is_remote() { format!("{}:7117", place.address) } else { free_port(&place.address) };
        let mut arguments = vec!["serve".to_owned(), format!("--listen={address}")];
        arguments.extend_from_slice(options);
        let mut environment = vec![("SERVICE_REGISTRY_TEST_DISABLE", setting.disabled.clone())];
        let clock = folder.join(format!("clock-{at}"));
        if let Some(ahead) = setting.clocks {
            crate::bench::need("faketime");
            set_clock(&clock, ahead[at]);
            environment.extend([
                ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1".to_owned()),
                ("FAKETIME_TIMESTAMP_FILE", clock.display().to_string()),
                ("FAKETIME_NO_CACHE", "1".to_owned()),
                ("DONT_FAKE_MONOTONIC", "1".to_owned()),
                ("NO_FAKE_STAT", "1".to_owned()),
            ]);
        }
        Self { place: place.clone(), address: address.parse().unwrap(), arguments, environment, clock, running: None }
    }
}

fn set_clock(file: &Path, ahead: i64) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{ahead:+}")).unwrap();
    std::fs::rename(new, file).unwrap();
}

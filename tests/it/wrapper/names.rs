//! A registry that is known by its name: names that cannot be looked up for a while, names that move.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::Signal;

use crate::bench::wrapper::limited;
use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, child, clean, eventually, free_port, need};

/// How many processes and threads this process and others of its user may be together, from now on.
fn allow(process: &Running, most: u64) {
    need("prlimit");
    let mut command = limited("prlimit"); // as the same user: even root may not do it to others everywhere
    command.arg(format!("--pid={}", process.pid)).arg(format!("--nproc={most}:"));
    assert!(command.status().unwrap().success());
}

/// The wrapper, with this file in the place of /etc/hosts.
fn with_hosts(hosts: &Path) -> Command {
    ["unshare", "mount"].into_iter().for_each(need);
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let mut command = clean("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(hosts);
    command.arg(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command
}

/// A listener whose queue of connections is full: the kernel does not answer any other.
fn silent(address: &str) -> (socket2::Socket, Vec<TcpStream>) {
    let address: SocketAddr = address.parse().unwrap();
    let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    listener.bind(&address.into()).unwrap();
    listener.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(connection) = TcpStream::connect_timeout(&address, Duration::from_millis(500)) {
        queue.push(connection);
    }
    (listener, queue)
}

fn threads(process: &Running) -> usize {
    fs::read_dir(format!("/proc/{}/task", process.pid)).unwrap().count()
}

#[test]
fn name_is_looked_up_later_without_a_thread() {
    let address = free_port("127.0.0.1");
    let mut registry = Registry::start_at(&address, &[]);
    let mut command = limited(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.arg(format!("--registry-url=http://{}", address.replace("127.0.0.1", "localhost")));
    command.args(["--id=web0", "--interval=3", "-v", "python3"]).arg(child("signals.py"));
    let mut wrapped = Running::start(&mut command);
    wrapped.all(&["registered web0", "ready "]);
    eventually("the end of the thread that looked it up", || (threads(&wrapped) == 1).then_some(()));
    allow(&wrapped, 1);
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    wrapped.line("no thread to look the name up");
    let registry = Registry::start_at(&address, &[]);
    wrapped.line("no thread to look the name up");
    assert!(service(&registry, "web0").is_none());
    allow(&wrapped, getrlimit(Resource::RLIMIT_NPROC).unwrap().0);
    wrapped.line("registered web0");
    assert!(service(&registry, "web0").is_some());
    assert!(!wrapped.has_ended());
}

#[test]
fn changed_address_of_a_name_is_followed() {
    let scratch = tempfile::tempdir().unwrap();
    let hosts = scratch.path().join("hosts");
    let moves_to = |address: &str| fs::write(&hosts, format!("{address} registry.test\n")).unwrap();
    let old = Registry::start_at("127.0.0.2:0", &["--host-name=registry.test"]);
    let port = old.url.rsplit(':').next().unwrap();
    let new = Registry::start_at(&format!("127.0.0.3:{port}"), &["--host-name=registry.test"]);
    moves_to("127.0.0.2");
    let mut command = with_hosts(&hosts);
    command.arg(format!("--registry-url=http://registry.test:{port}"));
    let mut wrapped = Running::start(command.args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")));
    wrapped.line("registered web0");
    assert!(service(&old, "web0").is_some() && service(&new, "web0").is_none());
    moves_to("127.0.0.3");
    old.process.signal(Signal::SIGSTOP); // it takes connections for ever, and answers none
    wrapped.line("registered web0");
    assert!(service(&new, "web0").is_some());
    wrapped.signal(Signal::SIGTERM);
    eventually("the withdrawal", || service(&new, "web0").is_none().then_some(()));
    assert!(!wrapped.has_ended(), "the child was never disturbed");
}

/// Starts the wrapper in front of a name with these addresses, of which the last is a registry's. It must register.
fn registers_at_the_last_of(addresses: &[&str], registry: &Registry, interval: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let hosts = scratch.path().join("hosts");
    let lines: Vec<_> = addresses.iter().map(|address| format!("{address} registry.test\n")).collect();
    fs::write(&hosts, lines.concat()).unwrap();
    let port = registry.url.rsplit(':').next().unwrap();
    let mut command = with_hosts(&hosts);
    command.arg(format!("--registry-url=http://registry.test:{port}"));
    command.args(["--id=web0", "--on-exit=deregister", "--interval", interval]);
    let mut wrapped = Running::start(command.arg("python3").arg(child("signals.py")));
    wrapped.all(&["registered web0", "ready "]); // the start does not wait for a second attempt
    assert!(service(registry, "web0").is_some());
    wrapped.signal(Signal::SIGTERM);
    eventually("the withdrawal", || service(registry, "web0").is_none().then_some(()));
}

#[test]
fn silent_addresses_of_a_name_keep_no_interval_from_registering() {
    let registry = Registry::start_at("127.0.0.9:0", &["--host-name=registry.test"]);
    let port = registry.url.rsplit(':').next().unwrap();
    let _silent = ["127.0.0.7", "127.0.0.8"].map(|address| silent(&format!("{address}:{port}")));
    for interval in ["3", "6"] {
        registers_at_the_last_of(&["127.0.0.8", "127.0.0.9"], &registry, interval);
        registers_at_the_last_of(&["127.0.0.7", "127.0.0.8", "127.0.0.9"], &registry, interval);
    }
}

/// The kernel takes the connections of a process that hangs.
#[test]
fn address_that_takes_connections_without_an_answer_is_left() {
    let registry = Registry::start_at("127.0.0.11:0", &["--host-name=registry.test"]);
    let port = registry.url.rsplit(':').next().unwrap();
    let _hanging = TcpListener::bind(format!("127.0.0.10:{port}")).unwrap();
    registers_at_the_last_of(&["127.0.0.10", "127.0.0.11"], &registry, "3");
}

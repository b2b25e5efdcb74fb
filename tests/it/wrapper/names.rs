//! A registry that is known by its name: names that cannot be looked up for a while, names that move.

use std::fs;

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
    ["unshare", "mount"].into_iter().for_each(need);
    let scratch = tempfile::tempdir().unwrap();
    let hosts = scratch.path().join("hosts");
    let moves_to = |address: &str| fs::write(&hosts, format!("{address} registry.test\n")).unwrap();
    let old = Registry::start_at("127.0.0.2:0", &["--host-name=registry.test"]);
    let port = old.url.rsplit(':').next().unwrap();
    let new = Registry::start_at(&format!("127.0.0.3:{port}"), &["--host-name=registry.test"]);
    moves_to("127.0.0.2");
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let mut command = clean("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(&hosts);
    command.arg(env!("CARGO_BIN_EXE_service-registry-wrapper"));
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

//! A child, or a descendant, that runs as another user: the wrapper may not signal it, and says so.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::bench::{Registry, Running, child, clean, eventually, kill_raw, need};

/// Starts a program as the user daemon.
const AS_DAEMON: [&str; 4] = ["setpriv", "--reuid=1", "--inh-caps=-all", "--ambient-caps=-all"];

/// The wrapper as an ordinary user who may start programs as another one, as with sudo; nothing without root.
fn wrapped(registry: &str, options: &[&str]) -> Option<Command> {
    if !geteuid().is_root() {
        eprintln!("not tested: a child of another user needs root");
        return None;
    }
    need("setpriv");
    let mut command = clean("setpriv");
    command.args(["--reuid=65534", "--clear-groups", "--inh-caps=-all,+setuid", "--ambient-caps=-all,+setuid"]);
    command.args([env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0", "--registry-url", registry]);
    command.args(options);
    Some(command)
}

#[test]
fn stop_budget_holds_for_a_child_of_another_user() {
    let Some(mut command) = wrapped("http://127.0.0.1:1", &["--stop-timeout=0", "--stop-budget=1"]) else { return };
    let mut running = Running::start(command.args(AS_DAEMON).arg("python3").arg(child("signals.py")));
    let pid = running.ready();
    running.signal(Signal::SIGTERM);
    running.line(&format!("may not signal process {pid} of user daemon (1)"));
    running.line(&format!("leaving what the wrapper may not kill: process {pid} of user daemon (1)"));
    assert_eq!(running.end().code(), Some(125));
    let said = running.said();
    assert_eq!(said.matches("may not signal").count(), 1, "{said}");
    assert!(!said.contains("got") && Path::new(&format!("/proc/{pid}")).exists(), "{said}");
    kill_raw(pid, 9);
}

#[test]
fn child_of_another_user_keeps_its_wrapper_without_a_budget() {
    let Some(mut command) = wrapped("http://127.0.0.1:1", &["--stop-timeout=0.1"]) else { return };
    let mut running = Running::start(command.args(AS_DAEMON).arg("python3").arg(child("signals.py")));
    let pid = running.ready();
    running.signal(Signal::SIGTERM);
    running.line("killing the remaining processes");
    kill_raw(pid, 15);
    running.line("got 15");
    kill_raw(pid, 15);
    assert_eq!(running.end().code(), Some(0), "the status is the child's");
}

#[test]
fn remaining_processes_of_another_user_are_named_and_left() {
    let Some(mut command) = wrapped("http://127.0.0.1:1", &["--stop-timeout=1000", "--stop-budget=1"]) else { return };
    let script = "\"$@\" & echo left $!; wait";
    let mut running = Running::start(command.args(["sh", "-c", script, "sh"]).args(AS_DAEMON).args(["sleep", "1000"]));
    let left: i32 = running.line("left ").split(' ').nth(1).unwrap().parse().unwrap();
    let status = format!("/proc/{left}/status");
    eventually("its user", || fs::read_to_string(&status).unwrap().contains("Uid:\t1\t1\t1").then_some(()));
    running.signal(Signal::SIGTERM);
    running.line(&format!("leaving what the wrapper may not kill: process {left} of user daemon (1)"));
    assert_eq!(running.end().code(), Some(143));
    kill_raw(left, 9);
}

#[test]
fn fence_that_cannot_hold_is_reported() {
    let registry = Registry::start();
    let Some(mut command) = wrapped(&registry.url, &["--on-lost=stop", "--interval=3"]) else { return };
    let mut running = Running::start(command.args(AS_DAEMON).arg("python3").arg(child("signals.py")));
    running.all(&["--on-lost=stop cannot hold: the wrapper may not signal process", "of user daemon (1)", "ready "]);
    let said = running.said();
    let pid = said.lines().find_map(|line| line.strip_prefix("ready ")).unwrap();
    assert!(said.contains(&format!("process {pid} of user daemon")), "{said}");
    kill_raw(pid.parse().unwrap(), 9);
    assert_eq!(running.end().code(), Some(137));
    assert_eq!(running.said().matches("cannot hold").count(), 1);
}

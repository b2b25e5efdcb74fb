//! Programs that go into the background: `--pid-file` names the next main process.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, child, kill_raw, wrapper};

fn wrapped() -> Command {
    let mut command = wrapper("http://127.0.0.1:1");
    command.arg("--id=web0");
    command
}

/// Waits until the daemon is followed and says so itself, in whatever order; returns its process id.
fn followed(running: &mut Running) -> i32 {
    running.all(&["follows it", "ready "]);
    let said = running.said();
    let pid = said.lines().find_map(|line| line.strip_prefix("ready ")).unwrap();
    assert!(said.contains(&format!("process {pid} follows it")), "{said}");
    pid.parse().unwrap()
}

#[test]
fn daemon_is_followed_by_its_pid_file() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("pid");
    fs::write(&file, "1\n").unwrap(); // left by another run
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--interval=3", "--on-registry-down=wait:60", "--pid-file"]).arg(&file);
    let mut running = Running::start(command.arg("python3").arg(child("daemon.py")).arg(&file));
    let pid = followed(&mut running);
    assert_eq!(fs::read_to_string(&file).unwrap().trim(), pid.to_string());
    running.signal(Signal::SIGUSR1);
    running.line("got 10");
    assert!(service(&registry, "web0").is_some() && !running.has_ended());
    kill_raw(pid, 6);
    running.line("got 6");
    kill_raw(pid, 9);
    assert_eq!(running.end().code(), Some(137), "its end is the end");
}

#[test]
fn stop_reaches_the_daemon() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("pid");
    let mut command = wrapped();
    command.args(["--stop-timeout=1000", "--pid-file"]).arg(&file);
    let mut running = Running::start(command.arg("python3").arg(child("daemon.py")).arg(&file));
    let pid = followed(&mut running);
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    kill_raw(pid, 9);
    assert_eq!(running.end().code(), Some(137));
}

#[test]
fn daemon_without_a_pid_file_is_explained() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("pid");
    let mut running = Running::start(wrapped().arg("python3").arg(child("daemon.py")).arg(&file));
    running.line("name its pid file with --pid-file");
    assert_eq!(running.end().code(), Some(0));
    for (script, arguments) in [("exit 0", &[][..]), ("sleep 1000 & exit 3", &[]), ("exit 0", &["--pid-file=/no/file"])]
    {
        let mut running = Running::start(wrapped().args(arguments).args(["sh", "-c", script]));
        running.end();
        let said = running.said_to_the_end();
        assert!(!said.contains("--pid-file"), "{script}: {said}");
    }
}

#[test]
fn pid_file_without_a_descendant_is_the_end() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("pid");
    for (text, why) in [("1\n", "process 1 is not a running descendant"), ("none\n", "is no process id")] {
        fs::write(&file, text).unwrap();
        let mut command = wrapped();
        command.arg("--pid-file").arg(&file).args(["sh", "-c", "sleep 1000 & exit 3"]);
        let mut running = Running::start(&mut command);
        assert!(running.line("no process follows").contains(why));
        assert_eq!(running.end().code(), Some(3));
    }
}

#[test]
fn child_that_exits_in_a_stop_has_no_successor() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("pid");
    let mut command = wrapped();
    let script = "python3 \"$1\" & echo $! >\"$0\"; trap 'exit 5' TERM; wait";
    command.args(["--stop-timeout=1000", "--pid-file"]).arg(&file).args(["sh", "-c", script]);
    let mut running = Running::start(command.arg(&file).arg(child("signals.py")));
    running.ready();
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(5));
}

//! The stop in the right order, the fence, and the status socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::steps::{Step, pass_on, step};
use crate::bench::wrapper::{events, service};
use crate::bench::{Misbehaving, Reply};
use crate::bench::{Registry, Running, child, clean, eventually, kill_raw, wrapper};

fn wrapped(registry: &Registry, options: &[&str]) -> Command {
    let mut command = wrapper(&registry.url);
    // The registration comes first, however busy the machine is.
    command.args(["--id=web0", "--interval=3", "--on-registry-down=wait:60"]).args(options);
    command
}

#[test]
fn stop_withdraws_then_drains_then_signals() {
    let registry = Registry::start();
    let mut command = wrapped(&registry, &["--drain-delay=3"]);
    let mut running = Running::start(command.arg("python3").arg(child("signals.py")));
    running.ready();
    running.signal(Signal::SIGTERM);
    eventually("the withdrawal", || service(&registry, "web0").is_none().then_some(()));
    assert!(!running.said().contains("got 15"), "the child drains");
    running.line("got 15");
    assert_eq!(events(&registry, "service.remove").len(), 1);
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn second_signal_waits_for_nothing() {
    let registry = Registry::start();
    let mut command = wrapped(&registry, &["--drain-delay=1000"]);
    let mut running = Running::start(command.arg("python3").arg(child("signals.py")));
    running.ready();
    running.signal(Signal::SIGTERM);
    eventually("the withdrawal", || service(&registry, "web0").is_none().then_some(()));
    running.signal(Signal::SIGINT);
    let mut got = [running.line("got "), running.line("got ")];
    got.sort(); // a signal that comes while a handler runs is handled first
    assert_eq!(got, ["got 15", "got 2"]);
}

#[test]
fn budget_bounds_the_whole_stop() {
    let registry = Registry::start();
    for options in [["--drain-delay=1000", "--stop-budget=2"], ["--stop-timeout=0", "--stop-budget=2"]] {
        let mut command = wrapped(&registry, &options);
        let mut running = Running::start(command.arg("python3").arg(child("signals.py")));
        running.ready();
        running.signal(Signal::SIGTERM);
        running.line("got 15"); // it is asked before it is killed, however long it should have drained
        assert_eq!(running.end().code(), Some(137), "{options:?}");
    }
}

#[test]
fn silent_registry_delays_a_stop_at_most_two_seconds() {
    let registry = Registry::start();
    let mut running = Running::start(wrapped(&registry, &[]).arg("python3").arg(child("signals.py")));
    running.all(&["registered", "ready "]);
    registry.process.signal(Signal::SIGSTOP);
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    registry.process.signal(Signal::SIGCONT);
}

#[tokio::test(flavor = "multi_thread")]
async fn withdrawal_is_tried_after_refused_heartbeats() {
    let registry = Registry::start();
    let url = registry.url.clone();
    let proxy = Misbehaving::start(move |seen| match step(seen) {
        Some(Step::Heartbeat) => Reply::fault(503, "systemFailureError", "Internal Error"),
        _ => pass_on(&url, seen),
    })
    .await;
    let mut running = Running::start(wrapper(&proxy.url).args(["--id=web0", "--interval=120", "sleep", "1000"]));
    running.line("heartbeat failed");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(143));
    assert!(service(&registry, "web0").is_none(), "{}", running.said());
}

#[test]
fn stop_does_not_wait_for_a_failing_registry() {
    let registry = Registry::start();
    let mut running = Running::start(wrapped(&registry, &["-v"]).arg("python3").arg(child("signals.py")));
    running.ready();
    registry.process.signal(Signal::SIGSTOP);
    running.line("heartbeat failed");
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    running.line("left to expire"); // it was asked, behind the signal
}

#[test]
fn exited_child_is_removed_from_the_registry_at_once() {
    let registry = Registry::start();
    let mut command = wrapped(&registry, &["sh", "-c", "exit 7"]);
    assert_eq!(Running::start(&mut command).end().code(), Some(7));
    assert!(service(&registry, "web0").is_none());
    assert_eq!(events(&registry, "service.remove").len(), 1);
    let mut command = wrapped(&registry, &["--on-exit=expire", "sh", "-c", "exit 7"]);
    assert_eq!(Running::start(&mut command).end().code(), Some(7));
    assert!(service(&registry, "web0").is_some(), "it is left to expire");
    registry.process.signal(Signal::SIGSTOP);
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--interval=3", "sh", "-c", "exit 8"]);
    assert_eq!(Running::start(&mut command).end().code(), Some(8), "whatever the registry does");
}

#[test]
fn restart_needs_neither_a_state_directory_nor_a_wait() {
    let registry = Registry::start();
    for (number, end) in ["exit 1", "kill -SEGV $$", "kill -INT $$", "exit 0"].into_iter().enumerate() {
        let metadata = format!("--metadata=run={number}");
        let script = format!("read go; {end}");
        let (input, go) = std::io::pipe().unwrap();
        let mut command = wrapped(&registry, &[&metadata, "sh", "-c", &script]);
        let mut running = Running::start_with_stdin(command.stdin(input));
        running.line("registered web0");
        assert_eq!(service(&registry, "web0").unwrap()["metadata"]["run"], number.to_string(), "not its predecessor");
        drop(go);
        running.end();
        let said = running.said_to_the_end();
        assert!(!said.contains("held by") && !said.contains("will try again"), "{said}");
        assert!(service(&registry, "web0").is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reason_of_the_end_is_told_to_the_registry() {
    let registry = Registry::start();
    let url = registry.url.clone();
    let proxy = Misbehaving::start(move |request| pass_on(&url, request)).await;
    let mut expected = Vec::new();
    for (script, reason) in [
        ("exit 1", "exited%201"),
        ("kill -SEGV $$", "killed%20by%20SIGSEGV"),
        ("kill -TERM $PPID; sleep 1000", "stopped%20by%20SIGTERM"),
        ("kill -INT $PPID; sleep 1000", "stopped%20by%20SIGINT"),
    ] {
        let mut command = wrapper(&proxy.url);
        command.args(["--id=web0", "--on-registry-down=wait:60", "sh", "-c", script]);
        Running::start(&mut command).end();
        assert!(service(&registry, "web0").is_none(), "{reason}: the registry ignores what it does not know");
        expected.push(reason);
    }
    let removals = proxy.seen().into_iter().filter(|seen| step(seen) == Some(Step::Deregister));
    let reasons: Vec<_> = removals.map(|seen| seen.target.split("?reason=").nth(1).unwrap().to_owned()).collect();
    let plain = |reason: &String| reason.replace('+', "%20");
    assert_eq!(reasons.iter().map(plain).collect::<Vec<_>>(), expected);
}

#[test]
fn fence_stops_the_child_before_its_session_expires() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--interval=8", "--on-registry-down=wait:60", "--on-lost=stop"]);
    let mut running = Running::start(command.arg("python3").arg(child("signals.py")));
    running.line("registered");
    running.ready();
    registry.process.signal(Signal::SIGSTOP);
    assert_eq!(running.end().code(), Some(100));
    let said = running.said_to_the_end();
    assert!(said.contains("stopping the command before another process can take its place"), "{said}");
    // It does not end by SIGTERM, and is killed before the timeout is over: by the wrapper or by its watchdog.
    assert!(said.contains("got 15") && said.contains("web0: killed by SIGKILL"), "{said}");
    registry.process.signal(Signal::SIGCONT);
    eventually("the expiry", || service(&registry, "web0").is_none().then_some(()));
}

#[test]
fn child_runs_on_without_the_fence() {
    let registry = Registry::start();
    let mut running = Running::start(wrapped(&registry, &[]).arg("python3").arg(child("signals.py")));
    running.ready();
    registry.process.signal(Signal::SIGKILL);
    running.line("heartbeat failed");
    running.signal(Signal::SIGUSR1);
    running.line("got 10");
    assert!(!running.has_ended());
}

#[test]
fn status_socket_reports_and_sets_maintenance() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("status");
    let registry = Registry::start();
    let mut command = wrapped(&registry, &["--status-socket"]);
    let mut running = Running::start(command.arg(&path).arg("python3").arg(child("signals.py")));
    let pid: i32 = running.ready();
    let ask = |request: &str| -> Value {
        let mut socket = UnixStream::connect(&path).unwrap();
        writeln!(socket, "{request}").unwrap();
        let mut answer = String::new();
        BufReader::new(socket).read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    };
    let status = eventually("the socket", || path.exists().then(|| ask("status")));
    assert_eq!((&status["id"], status["child_pid"].as_i64()), (&Value::from("web0"), Some(pid.into())));
    assert_eq!((&status["registered"], &status["maintenance"]), (&Value::from(true), &Value::from(false)));
    assert_eq!(status["session"], service(&registry, "web0").unwrap()["session_id"]);
    assert!(status["seconds_since_accepted_heartbeat"].as_f64().unwrap() < 3.0, "{status}");

    let status = ask("maintenance on");
    assert_eq!((&status["registered"], &status["maintenance"]), (&Value::from(false), &Value::from(true)));
    assert!(service(&registry, "web0").is_none());
    assert!(!running.has_ended());
    let status = ask("maintenance off");
    assert_eq!((&status["registered"], &status["maintenance"]), (&Value::from(true), &Value::from(false)));
    assert!(service(&registry, "web0").is_some());
    let by_command = |arguments: &[&str]| {
        let mut command = crate::bench::clean(env!("CARGO_BIN_EXE_service-registry"));
        let output = command.args(arguments).arg("--socket").arg(&path).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(by_command(&["maintenance", "on"])["registered"], false);
    assert!(service(&registry, "web0").is_none());
    assert_eq!(by_command(&["maintenance", "off"])["registered"], true);
    assert_eq!(by_command(&["status"])["child_pid"].as_i64(), Some(pid.into()));
    assert!(ask("dance")["error"].as_str().unwrap().contains("maintenance on"));

    kill_raw(pid, 9);
    running.end();
    assert!(!path.exists());
}

/// Something else may listen there.
#[test]
fn reply_of_the_status_socket_is_bounded() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("status");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    let mut asking = Running::start(command.arg("status").arg("--socket").arg(&path));
    let (mut stream, _) = listener.accept().unwrap();
    let (line, most) = ([b'x'; 1 << 16], 1 << 10);
    let written = (0..most).take_while(|_| stream.write_all(&line).is_ok()).count();
    assert!(written < most, "64 MB were read");
    assert_eq!(asking.end().code(), Some(1));
}

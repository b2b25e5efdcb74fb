//! `--check`: the service is listed while the child is healthy.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::Signal;
use nix::sys::signal::kill;
use nix::unistd::Pid;

use crate::bench::authority::Authority;
use crate::bench::wrapper::service;
use crate::bench::{Misbehaving, Registry, Reply, Running, child, eventually, get, wrapper};

/// A wrapper that checks four times a second, around a program that prints its signals.
fn checked(registry: &str, options: &[&str]) -> Command {
    let mut command = wrapper(registry);
    command
        .args(["--id=web0", "--interval=5", "--check-interval=0.25"])
        .args(options)
        .env("SERVICE_REGISTRY_FLAP_LIMIT", "0");
    command.arg("python3").arg(child("signals.py"));
    command
}

/// A check that passes while this file exists.
fn exists(file: &Path) -> String {
    format!("--check=exec:echo looking for it; test -e {} || {{ echo no file >&2; exit 3; }}", file.display())
}

fn is_listed(registry: &Registry) -> bool {
    service(registry, "web0").is_some()
}

fn reply(status: u16, headers: Vec<(&'static str, String)>) -> Reply {
    Reply::Answer { status, headers, body: String::new() }
}

#[test]
fn service_is_listed_while_the_checks_pass() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let mut wrapped = Running::start(&mut checked(&registry.url, &[&exists(&file)]));
    wrapped.all(&["registered web0", "ready "]);
    let session = service(&registry, "web0").unwrap()["session_id"].clone();
    for _ in 0..2 {
        std::fs::remove_file(&file).unwrap();
        wrapped.line("web0 is unhealthy: exec:echo looking for it");
        assert!(wrapped.line("web0 is out of the registry: unhealthy: ").ends_with("status 3: no file"));
        assert!(!is_listed(&registry));
        std::fs::write(&file, "").unwrap();
        wrapped.line("web0 is healthy");
        wrapped.line("registered web0");
        assert_eq!(service(&registry, "web0").unwrap()["session_id"], session, "the session stays");
    }
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("got 10");
    assert!(!wrapped.said().contains("got 15"), "the child is not disturbed");
}

#[test]
fn service_waits_for_the_first_pass_with_register_when_healthy() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("file"));
    let options = [&exists(&file), "--register-when=healthy", "--check-start-period=100", "-v"];
    let mut wrapped = Running::start(&mut checked(&registry.url, &options));
    wrapped.line("web0 is not registered yet");
    wrapped.ready();
    for _ in 0..5 {
        wrapped.line("a check fails: exec:"); // in the start period, so this is no fall
    }
    assert!(!is_listed(&registry));
    std::fs::write(&file, "").unwrap();
    wrapped.all(&["web0 is healthy", "registered web0"]);
    assert!(is_listed(&registry) && !wrapped.said().contains("unhealthy"), "{}", wrapped.said());
}

#[test]
fn rise_and_fall_count_outcomes_in_a_row() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("runs"));
    // Three passes, five failures, and passes from then on; each run is written down.
    let script = format!("--check=exec:echo run >>{0}; n=$(wc -l <{0}); [ $n -lt 4 ] || [ $n -gt 8 ]", file.display());
    let options = [&script, "--fall=4", "--rise=3", "--register-when=healthy"];
    let mut wrapped = Running::start(&mut checked(&registry.url, &options));
    let runs = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    wrapped.line("registered web0");
    assert!(runs() >= 3);
    wrapped.line("web0 is unhealthy");
    assert!((7..=8).contains(&runs()), "{} runs: fall", runs());
    wrapped.line("web0 is healthy");
    assert!(runs() >= 11, "{} runs: rise", runs());
}

#[test]
fn tcp_check_passes_while_a_port_accepts_connections() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let registry = Registry::start();
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        // A port alone is looked for in both families, and a whole address at that address.
        for check in [format!("--check=tcp:{}", address.port()), format!("--check=tcp:{address}")] {
            let listener = listener.try_clone().unwrap();
            let mut command = checked(&registry.url, &[&check, "--replace", "--register-when=healthy"]);
            let mut wrapped = Running::start(&mut command);
            wrapped.line("registered web0");
            drop(listener);
        }
        let check = format!("--check=tcp:{address}");
        let mut wrapped = Running::start(&mut checked(&registry.url, &[&check, "--replace"]));
        wrapped.line("registered web0");
        drop(listener);
        wrapped.line(&format!("web0 is out of the registry: unhealthy: tcp:{address}: Connection refused"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn http_check_passes_with_2xx_and_follows_no_redirect() {
    let registry = Registry::start();
    let status = Arc::new(AtomicU16::new(200));
    let said = status.clone();
    let program = Misbehaving::start(move |_| {
        let headers = vec![("Location", "/elsewhere".to_owned())];
        reply(said.load(Ordering::SeqCst), headers)
    })
    .await;
    let check = format!("--check={}/health?deep=1", program.url);
    let mut wrapped = Running::start(&mut checked(&registry.url, &[&check]));
    wrapped.line("registered web0");
    for wrong in [302, 404, 500] {
        status.store(wrong, Ordering::SeqCst);
        wrapped
            .line(&format!("web0 is out of the registry: unhealthy: {}: status {wrong}", &check["--check=".len()..]));
        status.store(204, Ordering::SeqCst);
        wrapped.line("registered web0");
    }
    assert!(program.lines().iter().all(|line| line == "GET /health?deep=1"), "{:?}", program.lines());
    drop(wrapped);
    status.store(302, Ordering::SeqCst);
    let options = [&check, "--check-accept-3xx", "--register-when=healthy", "--replace"];
    Running::start(&mut checked(&registry.url, &options)).line("registered web0");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_check_reads_a_bounded_body() {
    // The child's server, a thread of this test, sends for as long as something reads.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let check = format!("--check=http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            use std::io::Write;
            let _ = connection.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            while connection.write_all(&[b'x'; 65536]).is_ok() {}
        }
    });
    let registry = Registry::start();
    let options = [&check, "--register-when=healthy", "--check-timeout=30"];
    Running::start(&mut checked(&registry.url, &options)).line("registered web0");
}

#[test]
fn https_check_trusts_the_given_authority() {
    let (registry, authority) = (Registry::start(), Authority::new());
    let program = authority.serve(&[]);
    let check = format!("--check={}/v1.0/services", program.url.replace("127.0.0.1", "localhost"));
    let mut wrapped = Running::start(&mut checked(&registry.url, &[&check]));
    wrapped.line("web0 is out of the registry: unhealthy: https://localhost:");
    drop(wrapped);
    let ca = format!("--ca-file={}", authority.path("ca"));
    let options = [&check, &ca, "--register-when=healthy", "--replace"];
    Running::start(&mut checked(&registry.url, &options)).line("registered web0");
}

#[test]
fn all_checks_must_pass() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let (one, other) = (scratch.path().join("one"), scratch.path().join("other"));
    std::fs::write(&one, "").unwrap();
    let mut command = checked(&registry.url, &["--register-when=healthy", "-v"]);
    // In the variable, one a line.
    let lines = [exists(&one), exists(&other)].map(|check| check.replace("--check=", "")).join("\n");
    let mut wrapped = Running::start(command.env("SERVICE_REGISTRY_CHECK", lines));
    wrapped.line("status 3: no file");
    assert!(!is_listed(&registry));
    std::fs::write(&other, "").unwrap();
    wrapped.line("registered web0");
}

#[test]
fn exec_check_has_the_childs_environment_and_a_group_of_its_own() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, said) = (Registry::start(), scratch.path().join("said"));
    let script = format!(
        "--check=exec:echo $MARK $SERVICE_REGISTRY_API_KEY $(ps -o pgid= -p $$) $$ $LISTEN_PID >{0}.new && mv {0}.new {0}; \
         readlink /proc/$$/fd/0 >>{0}",
        said.display()
    );
    let mut command = checked(&registry.url, &[&script, "--register-when=healthy"]);
    command.env("MARK", "marked").env("SERVICE_REGISTRY_API_KEY", "").env("LISTEN_PID", "1");
    let mut wrapped = Running::start(&mut command);
    wrapped.line("registered web0");
    let said = std::fs::read_to_string(said).unwrap();
    let words: Vec<&str> = said.split_whitespace().collect();
    assert_eq!(words.len(), 5, "{said}");
    assert_eq!((words[0], words[3], words[4]), ("marked", "1", "/dev/null"), "{said}");
    assert_eq!(words[1], words[2], "it leads its group: {said}");
}

#[test]
fn exec_check_is_killed_with_its_group_at_the_limit() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, pids) = (Registry::start(), scratch.path().join("pids"));
    let script = format!("--check=exec:trap '' TERM; sleep 1000 & echo $$ $! >>{}; echo waiting; wait", pids.display());
    let options = [&script, "--check-timeout=0.5", "--fall=1"];
    let mut wrapped = Running::start(&mut checked(&registry.url, &options));
    wrapped.line("not done within 500ms, killed: waiting");
    wrapped.line("web0 is out of the registry");
    let is_alive = |pid: i32| {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !state.is_empty() && !state.contains(") Z ")
    };
    // Never two runs at once: whatever the list says, at most the last line's processes are alive.
    eventually("three runs", || {
        let all = std::fs::read_to_string(&pids).unwrap();
        let lines: Vec<&str> = all.lines().collect();
        if let Some((_, old)) = lines.split_last() {
            for pid in old.iter().flat_map(|line| line.split(' ')) {
                eventually("the end of an old run", || (!is_alive(pid.parse().unwrap())).then_some(()));
            }
        }
        (lines.len() >= 3).then_some(())
    });
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("got 10");
}

#[test]
fn check_that_runs_does_not_outlive_the_child() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, pid) = (Registry::start(), scratch.path().join("pid"));
    let check = format!("--check=exec:trap '' TERM; echo $$ >{}; exec sleep 1000", pid.display());
    // Something else remains that keeps the wrapper alive.
    let script = "(trap '' TERM; exec sleep 1000) & until [ -s \"$0\" ]; do sleep 0.01; done";
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", &check, "--check-timeout=1000", "--stop-timeout=1000", "sh", "-c", script]).arg(&pid);
    let mut wrapped = Running::start(&mut command);
    wrapped.line("terminating its remaining descendants");
    let pid: i32 = std::fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    eventually("the end of the check", || kill(Pid::from_raw(pid), None).is_err().then_some(()));
    assert!(!wrapped.has_ended());
}

#[test]
fn no_check_begins_after_the_childs_exit() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, runs) = (Registry::start(), scratch.path().join("runs"));
    let check = format!("--check=exec:echo run >>{}", runs.display());
    let script = "(trap '' TERM; exec sleep 1000) & until [ -s \"$0\" ]; do sleep 0.01; done";
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", &check, "--check-interval=0.1", "--stop-timeout=2", "sh", "-c", script]).arg(&runs);
    let mut wrapped = Running::start(&mut command);
    wrapped.line("terminating its remaining descendants");
    let count = || std::fs::read_to_string(&runs).unwrap().lines().count();
    let before = count();
    wrapped.line("killing the remaining processes");
    assert_eq!(wrapped.end().code(), Some(0));
    assert_eq!(count(), before);
}

#[test]
fn hanging_check_delays_no_heartbeat() {
    let registry = Registry::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // it accepts, and answers nothing
    let check = format!("--check=http://{}/", silent.local_addr().unwrap());
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--interval=3", "--check-timeout=100", &check, "--check=exec:exec sleep 1000", "-vv"]);
    let mut wrapped = Running::start(command.args(["sleep", "1000"]));
    wrapped.line("registered web0");
    let session = service(&registry, "web0").unwrap()["session_id"].as_str().unwrap().to_owned();
    let last_seen = || get(&registry.url, &format!("/v1.0/sessions/{session}")).unwrap().1["last_seen"].as_u64();
    for _ in 0..3 {
        let before = last_seen();
        eventually("a heartbeat", || (last_seen() > before).then_some(()));
    }
    assert!(is_listed(&registry));
}

#[test]
fn program_that_falls_again_is_held_out_longer() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("file"));
    let socket = scratch.path().join("status");
    std::fs::write(&file, "").unwrap();
    let status = format!("--status-socket={}", socket.display());
    let options = [&exists(&file), "--fall=1", "--flap-limit=3", &status];
    let mut wrapped = Running::start(&mut checked(&registry.url, &options));
    wrapped.line("registered web0");
    for held in [
        "",
        " (held out for 500ms: unhealthy 2 times",
        " (held out for 1s: ",
        " (held out for 2s: ",
        " (held out for 3s: ",
    ] {
        std::fs::remove_file(&file).unwrap();
        let line = wrapped.line("web0 is unhealthy");
        assert!(line.contains(held) && line.contains("held out") != held.is_empty(), "{line}");
        wrapped.line("is out of the registry: unhealthy");
        std::fs::write(&file, "").unwrap();
        if held.contains("3s") {
            let reason = eventually("the reason", || {
                let reason = status_of(&socket)["reason"].as_str().unwrap_or_default().to_owned();
                reason.contains("pass again").then_some(reason)
            });
            assert_eq!(
                reason,
                "unhealthy: the checks pass again (held out for 3s: unhealthy 5 times within ten minutes)"
            );
        }
        wrapped.line("registered web0");
    }
    assert_eq!(status_of(&socket)["reason"], serde_json::Value::Null);
}

fn status_of(socket: &Path) -> serde_json::Value {
    let mut command = crate::bench::clean(env!("CARGO_BIN_EXE_service-registry"));
    let output = command.args(["status", "--socket"]).arg(socket).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn unhealthy_program_is_stopped_on_request() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--check-interval=0.25", &exists(&file), "--on-unhealthy=stop", "sh", "-c"]);
    let mut wrapped =
        Running::start(command.arg("trap 'echo got 15; exit 7' TERM; echo ready; while :; do sleep 0.1; done"));
    wrapped.all(&["registered web0", "ready"]);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(wrapped.end().code(), Some(100));
    let said = wrapped.said_to_the_end();
    for part in [
        "status 3: no file; stopping the command",
        "withdrawn from the registry",
        "got 15",
        "web0: the command was stopped: unhealthy: exec:",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!is_listed(&registry));
}

#[test]
fn unhealthy_program_is_stopped_after_the_maintenance_not_during_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file, socket) = (Registry::start(), scratch.path().join("file"), scratch.path().join("socket"));
    std::fs::write(&file, "").unwrap();
    let status = format!("--status-socket={}", socket.display());
    let mut wrapped = Running::start(&mut checked(&registry.url, &[&exists(&file), "--on-unhealthy=stop", &status]));
    wrapped.all(&["registered web0", "ready "]);
    let ask = |request: &str| {
        let mut socket = eventually("the socket", || std::os::unix::net::UnixStream::connect(&socket).ok());
        writeln!(socket, "{request}").unwrap();
        let mut reply = String::new();
        socket.read_to_string(&mut reply).unwrap();
    };
    ask("maintenance on");
    std::fs::remove_file(&file).unwrap();
    wrapped.line("web0 is unhealthy");
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("got 10");
    assert!(!wrapped.said().contains("got 15"), "{}", wrapped.said());
    ask("maintenance off");
    wrapped.line("stopping the command");
    wrapped.signal(Signal::SIGKILL);
}

#[test]
fn processes_of_a_check_end_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("pids"));
    let check = format!("--check=exec:sleep 1000 & echo $! >>{}", file.display());
    let mut wrapped = Running::start(&mut checked(&registry.url, &[&check]));
    wrapped.all(&["registered web0", "ready "]);
    let pids = || std::fs::read_to_string(&file).unwrap_or_default();
    eventually("some checks", || (pids().lines().count() > 3).then_some(()));
    let first = pids().lines().next().unwrap().parse().unwrap();
    eventually("the end of the first one's process", || kill(Pid::from_raw(first), None).err());
    assert!(is_listed(&registry), "{}", wrapped.said());
}

#[test]
fn checks_begin_when_the_program_is_ready() {
    let scratch = tempfile::tempdir().unwrap();
    let (registry, file) = (Registry::start(), scratch.path().join("file"));
    let script = format!("--check=exec:echo run >>{}", file.display());
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--register-when=listening", "--ready-timeout=2", "--check-interval=0.25", &script]);
    let mut wrapped = Running::start(command.arg("python3").arg(child("listening.py")).args(["127.0.0.1", "0"]));
    wrapped.all(&["ready ", "the service stays out of the registry"]);
    assert!(!file.exists());
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("registered web0");
    eventually("a check", || file.exists().then_some(()));
}

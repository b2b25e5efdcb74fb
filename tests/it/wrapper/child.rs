//! The child: it gets what it would get without the wrapper, and its exit is the wrapper's exit.
//!
//! None of these needs a registry: no server is at the URL, so each test also shows that the child does not depend on
//! one.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;

use crate::bench::{Running, UNTIL_ASKED, child, clean, eventually, kill_raw, wrapper};

const NOWHERE: &str = "http://127.0.0.1:1";

fn wrapped() -> Command {
    let mut command = wrapper(NOWHERE);
    command.args(["-qq", "--id=web0"]);
    command
}

/// What a child prints that is run, with `before` in front of it, under some circumstances of a shell's making.
fn seen_under(circumstances: &str, before: &[&str]) -> String {
    let mut shell = clean("sh");
    shell.args(["-c", &format!("{circumstances}\nexec \"$@\""), "sh"]).args(before);
    shell.arg(child("inherited.sh")).args(["--port=8000", "-v"]);
    let output = shell.stdin(Stdio::null()).stderr(Stdio::inherit()).output().unwrap();
    // Every pipe has a number of its own, the test's own pipe included.
    let seen = String::from_utf8(output.stdout).unwrap();
    let seen: String = seen.lines().map(|line| format!("{}\n", line.split("pipe:[").next().unwrap())).collect();
    assert!(seen.contains("arguments --port=8000 -v"), "under {circumstances:?}: {seen}");
    seen
}

#[test]
fn child_inherits_the_wrappers_circumstances() {
    for circumstances in [
        "",
        "cd / && umask 027 && ulimit -n 77 && ulimit -c 0",
        "ulimit -c 1000",
        "renice -n 5 $$ >/dev/null",
        "chrt --reset-on-fork --batch --pid 0 $$",
        "export SERVICE_REGISTRY_LOG_FORMAT=json PATH=/usr/bin:/bin X='a b'",
        "trap '' HUP PIPE USR1 USR2",
        "trap '' CHLD INT QUIT TERM",
        "trap '' TTIN TTOU TSTP WINCH URG",
        "exec 7</dev/null 9>/dev/null 2>/dev/null",
        "exec 0<&-",
        "exec 0<&- 2>&-",
    ] {
        let wrapper = env!("CARGO_BIN_EXE_service-registry-wrapper");
        let wrapped = seen_under(circumstances, &[wrapper, "-qq", "--id=web0", "--registry-url=http://127.0.0.1:1"]);
        assert_eq!(wrapped, seen_under(circumstances, &[]), "under {circumstances:?}");
    }
}

#[test]
fn stdin_stdout_and_stderr_are_passed_to_the_child() {
    let mut command = wrapped();
    command.args(["sh", "-c", "cat; echo to stderr >&2"]).stdin(Stdio::piped());
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A megabyte: more than any pipe holds, so one process must read while the other writes.
    let text = "0123456789abcdef".repeat(1 << 16);
    let mut stdin = running.stdin.take().unwrap();
    let writing = std::thread::spawn({
        let text = text.clone();
        move || std::io::Write::write_all(&mut stdin, text.as_bytes()).unwrap()
    });
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    let output = running.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.stdout == text.as_bytes());
    assert_eq!(output.stderr, b"to stderr\n");
}

#[test]
fn wrapper_leaves_no_core_dump() {
    let mut running = Running::start(wrapped().args(["sh", "-c", "echo up; exec sleep 1000"]));
    running.line("up");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.pid)).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn environment_of_the_child_has_no_credentials() {
    let mut command = wrapped();
    command.env("SERVICE_REGISTRY_USERNAME", "joe").env("SERVICE_REGISTRY_API_KEY", "s3cret").env("OTHER", "kept");
    command.env("SERVICE_REGISTRY_API_KEY_FILE", "");
    let output = command.arg("env").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("OTHER=kept"), "{said}");
    assert!(!said.contains("s3cret") && !said.contains("joe") && !said.contains("API_KEY_FILE"), "{said}");
}

#[test]
fn environment_of_the_child_has_no_settings_of_the_wrapper() {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    let withheld =
        ["ID", "TAGS", "METADATA", "STATE_DIR", "REPLACE", "ON_LOST", "STOP_TIMEOUT", "EXIT_MAP", "PID_FILE"];
    let values = ["web0", "api", "a=1", "", "no", "keep", "7", "143=0", "/run/x"];
    command.envs(withheld.map(|name| format!("SERVICE_REGISTRY_{name}")).into_iter().zip(values));
    // What a client inside the command may need, and what belongs to other programs.
    let passed = [("URL", NOWHERE), ("QUIET", "2"), ("LISTEN", "127.0.0.1:0"), ("SERVICE_HOST", "10.0.0.1")];
    command.envs(passed.map(|(name, value)| (format!("SERVICE_REGISTRY_{name}"), value)));
    let output = command.arg("env").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let names = said.lines().filter_map(|line| line.strip_prefix("SERVICE_REGISTRY_")?.split('=').next());
    let expected = passed.map(|(name, _)| name.to_owned());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_by_key(|name| expected.iter().position(|other| other == name));
    assert_eq!(names, expected, "{said}");
}

#[test]
fn every_exit_code_is_the_childs() {
    for code in 0..=255 {
        let status = wrapped().args(["sh", "-c", &format!("exit {code}")]).status().unwrap();
        assert_eq!(status.code(), Some(code));
    }
}

#[test]
fn death_by_signal_is_128_plus_the_signal() {
    for signal in (1..=31).chain([35, 64]) {
        // SIGCHLD, SIGCONT, SIGURG and SIGWINCH kill no process, and the stopping ones stop it.
        if [17, 18, 19, 20, 21, 22, 23, 28].contains(&signal) {
            continue;
        }
        let mut command = wrapped();
        let status = command.args(["sh", "-c", &format!("ulimit -c 0; kill -{signal} $$")]).status().unwrap();
        assert_eq!((status.code(), status.signal()), (Some(128 + signal), None), "{signal}");
    }
}

#[test]
fn every_catchable_signal_is_forwarded_once() {
    let mut running = Running::start(wrapped().arg("python3").arg(child("signals.py")));
    let pid = running.ready();
    assert_ne!(pid, running.pid.as_raw());
    let caught = (1..=64).filter(|n| ![9, 17, 19, 32, 33].contains(n));
    let mut expected = Vec::new();
    for signal in caught {
        kill_raw(running.pid.as_raw(), signal);
        expected.push(running.line(&format!("got {signal}")));
    }
    running.signal(Signal::SIGTERM);
    expected.push("got 15".into());
    assert_eq!(running.end().code(), Some(0));
    let got: Vec<String> = running.said_to_the_end().lines().filter(|l| l.starts_with("got")).map(Into::into).collect();
    assert_eq!(got, expected);
}

#[test]
fn queued_real_time_signals_all_arrive() {
    let mut running = Running::start(wrapped().arg("python3").arg(child("signals.py")));
    running.ready();
    for _ in 0..200 {
        kill_raw(running.pid.as_raw(), 40);
    }
    for _ in 0..200 {
        running.line("got 40");
    }
}

#[test]
fn orphans_of_the_child_are_reaped() {
    let mut running = Running::start(wrapped().args([
        "sh",
        "-c",
        // A grandchild whose parent ends at once.
        "sh -c 'sleep 1000 & echo orphan $!'; echo ready; exec sleep 1000",
    ]));
    let orphan: i32 = running.line("orphan").split(' ').nth(1).unwrap().parse().unwrap();
    running.line("ready");
    let stat = format!("/proc/{orphan}/stat");
    let parent = std::fs::read_to_string(&stat).unwrap();
    let parent = parent.rsplit(") ").next().unwrap().split(' ').nth(1).unwrap().to_owned();
    assert_eq!(parent, running.pid.to_string(), "the wrapper adopts it");
    kill_raw(orphan, 9);
    eventually("the orphan to be reaped", || std::fs::read_to_string(&stat).is_err().then_some(()));
    assert!(!running.has_ended(), "the child still runs");
}

#[test]
fn too_few_descriptors_are_reported_with_a_cure() {
    for limit in 4..20 {
        let mut command = clean("sh");
        let script = format!("ulimit -n {limit}; exec \"$@\"");
        command.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0"]);
        let mut running = Running::start(command.args(["--registry-url=http://127.0.0.1:1", "true"]));
        let code = running.end().code();
        let said = running.said_to_the_end();
        let has_cure = said.contains("raise the limit");
        match limit {
            4..9 => assert!(code == Some(125) && has_cure, "{limit}: {code:?} {said}"),
            // The command runs. If a file is left for registering depends on what else is open at that moment.
            9..16 => assert!(code == Some(0) || (code == Some(125) && has_cure), "{limit}: {code:?} {said}"),
            _ => assert!(code == Some(0) && !has_cure, "{limit}: {code:?} {said}"),
        }
    }
}

#[test]
fn broken_stderr_does_no_harm() {
    let mut command = wrapper(NOWHERE);
    let mut running = command
        .args(["--id=web0", "sh", "-c", "sleep 0.1; exit 7"])
        .stderr(Stdio::piped())
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    drop(running.stderr.take());
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    let status = running.wait().unwrap();
    assert_eq!(status.code(), Some(7));
}

#[test]
fn unread_stderr_delays_nothing() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    // As full as it gets: a page at a time until it takes no more.
    let mut size = 0;
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    while let Ok(written) = std::io::Write::write(&mut writer, &[b'x'; 4096]) {
        size += written;
    }
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
    assert!(size > 0);
    let scratch = tempfile::tempdir().unwrap();
    let mut command = wrapper(NOWHERE);
    command.args(["-v", "--id=web0", "sh", "-c", "echo started >here; exec sleep 1000"]).current_dir(scratch.path());
    let mut wrapped = command.stderr(writer).stdin(Stdio::null()).spawn().unwrap();
    eventually("the child", || scratch.path().join("here").exists().then_some(()));
    kill_raw(wrapped.id().cast_signed(), 28); // a line for the log, were there room
    kill_raw(wrapped.id().cast_signed(), 15);
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    let status = wrapped.wait().unwrap();
    assert_eq!(status.code(), Some(143));
    drop(reader);
}

#[test]
fn kernel_signal_to_the_wrapper_alone_is_forwarded() {
    // What is blocked stays so until the child expects it, and a timer outlives exec.
    let alarm = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
signal.setitimer(signal.ITIMER_REAL, 1)
os.execv(sys.argv[1], sys.argv[1:])";
    let expecting = "import signal
signal.signal(signal.SIGALRM, lambda *_: print('got it', flush=True))
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
while True:
    signal.pause()";
    let mut command = clean("python3");
    command.args(["-c", alarm, env!("CARGO_BIN_EXE_service-registry-wrapper"), "-qq", "--id=web0"]);
    command.args(["--registry-url", NOWHERE, "python3", "-c", expecting]);
    Running::start(&mut command).line("got it");
}

#[test]
fn inherited_ignored_signal_is_no_stop_request() {
    let mut shell = clean("sh");
    shell.args(["-c", "trap '' INT; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0"]);
    shell.args(["--registry-url", NOWHERE, "--stop-timeout=0.2", "sh", "-c", UNTIL_ASKED, "5"]);
    let scratch = tempfile::tempdir().unwrap();
    let asked = scratch.path().join("asked");
    let mut running = Running::start(shell.arg(&asked));
    running.line("up");
    running.signal(Signal::SIGINT);
    std::fs::write(asked, "").unwrap();
    assert_eq!(running.end().code(), Some(5));
}

#[test]
fn signal_before_the_start_ends_the_wrapper_without_a_child() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    for (signal, number) in [(Signal::SIGTERM, 15), (Signal::SIGINT, 2), (Signal::SIGQUIT, 3), (Signal::SIGHUP, 1)] {
        let mut command = wrapper(&format!("http://{}", silent.local_addr().unwrap()));
        let mut running = Running::start(command.args(["--id=web0", "--abort-on-failure", "echo", "the child"]));
        let connection = silent.accept().unwrap(); // it waits for an answer now
        running.signal(signal);
        assert_eq!(running.end().code(), Some(128 + number));
        assert!(!running.said_to_the_end().contains("the child"));
        drop(connection);
    }
}

#[test]
fn signal_before_the_start_is_forwarded_to_the_child_later() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = wrapper(&format!("http://{}", silent.local_addr().unwrap()));
    let mut running = Running::start(command.args(["--id=web0", "sleep", "1000"]));
    let connection = silent.accept().unwrap();
    running.signal(Signal::SIGUSR1); // kills a child that does not expect it
    drop(connection);
    assert_eq!(running.end().code(), Some(128 + 10));
}

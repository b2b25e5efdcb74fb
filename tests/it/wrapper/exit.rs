//! How the wrapper ends, and how signals change on their way: `--exit-map`, `--reraise`, `--rewrite-signal`. Held
//! against tini, dumb-init and catatonit where they are installed and do the same.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use nix::sys::signal::Signal;

use crate::bench::wrapper::INITS;
use crate::bench::{Running, child, clean, eventually, kill_raw, need, wrapper};

fn wrapped(options: &[&str]) -> Command {
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-qq", "--id=web0"]).args(options);
    command
}

fn status(mut command: Command, script: &str) -> ExitStatus {
    command.args(["sh", "-c", script]).status().unwrap()
}

#[test]
fn exit_map_changes_the_status() {
    assert_eq!(status(wrapped(&["--exit-map=143=0,2=0", "--exit-map=7=8"]), "exit 2").code(), Some(0));
    assert_eq!(status(wrapped(&["--exit-map=143=0,2=0", "--exit-map=7=8"]), "exit 7").code(), Some(8));
    assert_eq!(status(wrapped(&["--exit-map=143=0,2=0"]), "kill -TERM $$").code(), Some(0));
    assert_eq!(status(wrapped(&["--exit-map=143=0,2=0"]), "exit 3").code(), Some(3));
    for from in 0..=255 {
        let map = format!("--exit-map={from}={}", 255 - from);
        assert_eq!(status(wrapped(&[&map]), &format!("exit {from}")).code(), Some(255 - from));
    }
}

#[test]
fn reraise_dies_of_the_childs_signal() {
    for signal in (1..=31).chain([34, 40, 64]).filter(|n| ![17, 18, 19, 20, 21, 22, 23, 28].contains(n)) {
        let script = format!("ulimit -c 0; kill -{signal} $$");
        let status = status(wrapped(&["--reraise"]), &script);
        assert_eq!((status.signal(), status.core_dumped()), (Some(signal), false));
    }
    assert_eq!(status(wrapped(&["--reraise", "--exit-map=143=0"]), "kill -TERM $$").code(), Some(0));
    assert_eq!(status(wrapped(&["--reraise"]), "exit 9").code(), Some(9));
}

#[test]
fn rewritten_signal_is_forwarded_as_another() {
    let options = ["--rewrite-signal=TERM:QUIT,HUP:0", "--rewrite-signal=RTMIN+1:USR1"];
    let mut running = Running::start(wrapped(&options).arg("python3").arg(child("signals.py")));
    running.ready();
    running.signal(Signal::SIGHUP);
    kill_raw(running.pid.as_raw(), 35);
    running.line("got 10");
    running.signal(Signal::SIGTERM);
    running.line("got 3");
    running.signal(Signal::SIGINT);
    running.line("got 2");
    let said = running.said();
    assert!(!said.contains("got 1\n") && !said.contains("got 15") && !said.contains("got 35"), "{said}");
}

#[test]
fn exit_statuses_agree_with_other_inits() {
    for (init, options) in INITS {
        need(init);
        for script in (0..=255)
            .map(|code| format!("exit {code}"))
            .chain([1, 2, 3, 6, 9, 10, 12, 15].map(|signal| format!("ulimit -c 0; kill -{signal} $$")))
        {
            let mut theirs = clean(init);
            theirs.args(options);
            assert_eq!(status(theirs, &script).code(), status(wrapped(&[]), &script).code(), "{init}: {script}");
        }
    }
}

#[test]
fn forwarded_signals_agree_with_other_inits() {
    let ours = arrived(wrapped(&[]), |said| sent().all(|signal| said.contains(&signal)));
    for (init, options) in INITS {
        let mut theirs = clean(init);
        theirs.args(options);
        let missing: Vec<i32> = arrived(theirs, |_| true).into_iter().filter(|signal| !ours.contains(signal)).collect();
        assert!(missing.is_empty(), "{init} passes on {missing:?}, we do not");
    }
}

/// The signals that are sent. Not the faults: tini, rightly, does not treat them as messages. What kills the parent
/// is left out as well.
fn sent() -> impl Iterator<Item = i32> {
    let skipped = [4, 5, 6, 7, 8, 9, 11, 15, 17, 19, 20, 21, 22, 31, 32, 33];
    (1..=64).filter(move |signal| !skipped.contains(signal))
}

/// Which of them a child gets, when it has got SIGTERM at the end and `enough`: those that wait are not taken in the
/// order in which they came.
fn arrived(mut command: Command, enough: impl Fn(&[i32]) -> bool) -> Vec<i32> {
    let mut running = Running::start(command.arg("python3").arg(child("signals.py")));
    let pid = running.ready();
    sent().for_each(|signal| kill_raw(running.pid.as_raw(), signal));
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    let got = eventually("enough signals", || {
        let said = running.said();
        let got: Vec<i32> = said.lines().filter_map(|line| line.strip_prefix("got ")?.parse().ok()).collect();
        enough(&got).then_some(got)
    });
    kill_raw(pid, 9); // an init that is killed leaves it behind
    got
}

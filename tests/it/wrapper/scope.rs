//! `--signal-scope`: the signals that go to the child's process group, and those that go to the child alone.

use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::{Running, child, clean, kill_raw, need, wrapper};

fn wrapped() -> Command {
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-q", "--id=web0"]);
    command
}

/// How many of two get a signal: a child, and a grandchild in the child's group.
fn signalled(parent: Command, signal: Signal) -> usize {
    signalled_as(parent, signal, signal)
}

/// The same, of a signal that is forwarded as another one.
fn signalled_as(mut parent: Command, signal: Signal, sent: Signal) -> usize {
    let script = "python3 \"$0\" & exec python3 \"$0\"";
    let mut running = Running::start(parent.args(["sh", "-c", script]).arg(child("signals.py")));
    let pids: Vec<i32> = (0..2).map(|_| running.ready()).collect();
    running.signal(signal);
    let got = format!("got {}", sent as i32);
    running.line(&got);
    // What is sent to both afterwards arrives afterwards, if not the first time: of signals that wait any may be the
    // first.
    for pid in [&pids[..], &pids[..]].concat() {
        kill_raw(pid, 40);
        running.line("got 40");
    }
    // Counted before the end: an init may terminate the second one when the first one has died.
    let count = running.said().lines().filter(|line| *line == got).count();
    clean("kill").arg("-9").args(pids.iter().map(ToString::to_string)).output().unwrap();
    running.end();
    count
}

#[test]
fn signal_scope_decides_about_the_group() {
    let (ends, others) = ([Signal::SIGTERM, Signal::SIGINT], [Signal::SIGHUP, Signal::SIGUSR1]);
    let cases = [("group", ends, 2), ("group", others, 2), ("child", ends, 1), ("child", others, 1), ("auto", ends, 2)];
    for (scope, signals, expected) in cases {
        for signal in signals {
            let mut command = wrapped();
            command.args(["--signal-scope", scope]);
            assert_eq!(signalled(command, signal), expected, "{scope} {signal}");
        }
    }
    for signal in [Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2, Signal::SIGWINCH] {
        assert_eq!(signalled(wrapped(), signal), 1, "the default, {signal}");
    }
    for (rewrite, signal, sent, expected) in [
        ("TERM:HUP", Signal::SIGTERM, Signal::SIGHUP, 2),
        ("HUP:TERM", Signal::SIGHUP, Signal::SIGTERM, 2),
        ("HUP:USR1", Signal::SIGHUP, Signal::SIGUSR1, 1),
    ] {
        let mut command = wrapped();
        command.args(["--rewrite-signal", rewrite]);
        assert_eq!(signalled_as(command, signal, sent), expected, "{rewrite}");
    }
    for (init, options, expected) in [
        ("tini", &["-s", "-g", "--"][..], 2),
        ("tini", &["-s", "--"], 1),
        ("dumb-init", &["--"], 2),
        ("dumb-init", &["--single-child", "--"], 1),
        ("catatonit", &["-g", "--"], 2),
        ("catatonit", &["--"], 1),
    ] {
        need(init);
        let mut command = clean(init);
        command.args(options);
        assert_eq!(signalled(command, Signal::SIGUSR1), expected, "{init} {options:?}");
    }
}

#[test]
fn child_leads_its_own_group_unless_the_scope_is_the_child() {
    for (scope, own) in [("auto", true), ("group", true), ("child", false)] {
        let mut command = wrapped();
        command.args(["--signal-scope", scope, "sh", "-c", "ps -o pgid= -p $$; echo $$"]);
        let said = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let mut lines = said.lines().map(str::trim);
        assert_eq!(lines.next() == lines.next(), own, "{scope}: {said}");
    }
}

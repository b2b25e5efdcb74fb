//! The watchdog, the second process of a wrapper with `--on-lost=stop`: it holds nothing open, hears no signal of the
//! wrapper's group, takes descendants along, and leaves no trace.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, child, clean, eventually, get, kill_raw, need, wrapper};

fn fenced(registry: &Registry, options: &[&str]) -> Command {
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--on-lost=stop", "--on-registry-down=wait:60"]).args(options);
    command
}

fn exists(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists() // a zombie counts: it was not reaped
}

/// The fields of /proc/PID/stat from the third on: state, parent, group, session.
fn stat(pid: i32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().split(' ').map(str::to_owned).collect()
}

/// The watchdog of a wrapper.
fn watchdog_of(wrapper: &Running) -> i32 {
    let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", wrapper.pid)).unwrap();
    let name = |pid: &i32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() == "registry-fence\n";
    let mut found: Vec<i32> = list.split_whitespace().map(|pid| pid.parse().unwrap()).filter(name).collect();
    assert_eq!(found.len(), 1, "{list}");
    found.remove(0)
}

/// The watchdog looks at the descendants with each heartbeat; the second is sent when the first is through.
fn until_watchdog_has_looked(registry: &Registry) {
    let accepted = || {
        let (_, sessions) = get(&registry.url, "/v1.0/sessions").unwrap();
        sessions["values"][0]["last_seen"].as_u64()
    };
    let first = eventually("a heartbeat", accepted);
    eventually("another heartbeat", || (accepted()? > first).then_some(()));
}

#[test]
fn watchdog_holds_nothing_and_is_gone_with_its_wrapper() {
    let registry = Registry::start();
    let mut running = Running::start(fenced(&registry, &["--interval=3"]).arg("python3").arg(child("signals.py")));
    let child = running.ready();
    let watchdog = watchdog_of(&running);
    let of_watchdog = stat(watchdog);
    assert_eq!(of_watchdog[1], running.pid.to_string(), "it is no descendant of the child");
    assert_eq!(of_watchdog[3], watchdog.to_string(), "it has a session of its own");
    let open = fs::read_dir(format!("/proc/{watchdog}/fd")).unwrap().flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    let is_its_own = |path: &Path| {
        let path = path.to_str().unwrap();
        path == "/dev/null" || path.starts_with("anon_inode:") || path.starts_with("socket:")
    };
    assert!(open.len() < 8 && open.iter().all(|path| is_its_own(path)), "{open:?}");

    // It hears no signal, and the wrapper does not wait for one that is stopped.
    for signal in (1..=64).filter(|signal| ![9, 19, 32, 33].contains(signal)) {
        kill_raw(watchdog, signal);
    }
    kill_raw(watchdog, 19);
    kill_raw(child, 9);
    assert_eq!(running.end().code(), Some(137), "{}", running.said());
    assert!(!exists(watchdog));
}

#[test]
fn wrapper_without_the_fence_has_no_watchdog() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    let mut running = Running::start(command.args(["--id=web0", "python3"]).arg(child("signals.py")));
    let child = running.ready();
    let list = fs::read_to_string(format!("/proc/{0}/task/{0}/children", running.pid)).unwrap();
    assert_eq!(list.trim(), child.to_string());
}

#[test]
fn killed_wrapper_with_the_fence_leaves_no_descendant() {
    let registry = Registry::start();
    // One helper stays in the group, one leaves it; none hears SIGTERM.
    let script = "trap '' TERM; sleep 1000 & near=$!; setsid sleep 1000 & echo pids $$ $near $!; sleep 1000";
    let mut running = Running::start(fenced(&registry, &["--interval=3"]).args(["sh", "-c", script]));
    let line = running.line("pids");
    let pids: Vec<i32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    until_watchdog_has_looked(&registry);
    let watchdog = watchdog_of(&running);
    running.signal(Signal::SIGKILL);
    for pid in pids.into_iter().chain([watchdog]) {
        eventually("the end of every process", || (!exists(pid) || stat(pid)[0] == "Z").then_some(()));
    }
}

#[test]
fn left_orphans_survive_the_watchdog() {
    let registry = Registry::start();
    let script = "setsid sleep 1000 & echo orphan $!; exec sleep 1000";
    let mut command = fenced(&registry, &["--interval=3", "--leave-orphans"]);
    let mut running = Running::start(command.args(["sh", "-c", script]));
    let orphan: i32 = running.line("orphan").split(' ').nth(1).unwrap().parse().unwrap();
    until_watchdog_has_looked(&registry);
    let watchdog = watchdog_of(&running);
    running.signal(Signal::SIGKILL);
    eventually("the watchdog's end", || (!exists(watchdog) || stat(watchdog)[0] == "Z").then_some(()));
    assert!(exists(orphan) && stat(orphan)[0] != "Z");
    kill_raw(orphan, 9);
}

#[test]
fn descendants_of_an_exited_child_are_killed_before_the_place_is_given_away() {
    let registry = Registry::start();
    let script = "trap '' TERM; sleep 1000 & echo helper $!; exit 3";
    let mut command = fenced(&registry, &["--interval=8", "--stop-timeout=0"]);
    let mut running = Running::start(command.args(["sh", "-c", script]));
    let helper: i32 = running.line("helper").split(' ').nth(1).unwrap().parse().unwrap();
    running.line("terminating its remaining descendants");
    assert!(service(&registry, "web0").is_some() && exists(helper));
    assert_eq!(running.end().code(), Some(3), "{}", running.said());
    assert!(!exists(helper));
    let (_, page) = get(&registry.url, "/v1.0/events?type=services.timeout").unwrap();
    assert_eq!(page["values"].as_array().unwrap().len(), 0, "the wrapper has removed the service itself");
    assert!(service(&registry, "web0").is_none());
}

#[test]
fn killed_watchdog_is_reported_and_harms_nothing() {
    let registry = Registry::start();
    let mut running = Running::start(fenced(&registry, &["--interval=3"]).arg("python3").arg(child("signals.py")));
    running.ready();
    kill_raw(watchdog_of(&running), 9);
    let line = running.line("the watchdog does not answer");
    assert!(line.contains("if the wrapper itself is stopped or killed"), "{line}");
    running.signal(Signal::SIGUSR1);
    running.line("got 10");
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(0));
}

/// The child outlives the parent-death signal until the stop timeout: by then the watchdog knows its helper.
#[test]
fn watchdog_kills_what_outlives_the_parent_death_signal() {
    let registry = Registry::start();
    let script = "trap '' TERM; setsid sleep 1000 & echo pids $$ $!; while :; do sleep 0.1; done";
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--watchdog", "--stop-timeout=1", "sh", "-c", script]);
    let mut running = Running::start(&mut command);
    let line = running.line("pids");
    let pids: Vec<i32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    running.signal(Signal::SIGKILL);
    running.end();
    assert!(exists(pids[0]), "it has the stop timeout");
    for pid in pids {
        eventually("the end of every process", || (!exists(pid) || stat(pid)[0] == "Z").then_some(()));
    }
}

#[test]
fn parent_death_signal_is_sigkill_with_the_fence() {
    let registry = Registry::start();
    for (options, is_heard) in [(&[][..], false), (&["--parent-death-signal=TERM"], true)] {
        let mut command = fenced(&registry, options);
        let mut running = Running::start(command.arg("--replace").arg("python3").arg(child("signals.py")));
        let child = running.ready();
        running.signal(Signal::SIGKILL);
        eventually("the child's end", || (!exists(child)).then_some(()));
        let said = running.said_to_the_end();
        assert_eq!(said.contains("got 15"), is_heard, "{said}");
    }
}

#[test]
fn first_process_of_a_pid_namespace_has_no_watchdog() {
    need("unshare");
    let registry = Registry::start();
    let mut unshare = clean("unshare");
    unshare.args(["--map-root-user", "--pid", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0"]);
    unshare.args(["--on-lost=stop", &format!("--registry-url={}", registry.url), "sh", "-c", "exit $(($$ + 6))"]);
    let mut running = Running::start(&mut unshare);
    running.line("would be process 1 of a pid namespace");
    assert_eq!(running.end().code(), Some(7), "{}", running.said());
}

#[test]
fn stop_with_the_fence_ends_with_the_childs_status_at_its_own_bound() {
    let registry = Registry::start();
    let script = "trap '' TERM; echo trapped $$; while :; do sleep 0.1; done";
    for is_stuck in [false, true] {
        let mut command = fenced(&registry, &["-v", "--interval=60", "--stop-timeout=1"]);
        let mut running = Running::start(command.args(["sh", "-c", script]));
        let child = running.line("trapped").rsplit(' ').next().unwrap().parse().unwrap();
        running.signal(Signal::SIGTERM);
        eventually("the withdrawal", || service(&registry, "web0").is_none().then_some(()));
        if is_stuck {
            running.line("forwarded"); // the stop timeout has begun
            running.signal(Signal::SIGSTOP);
            eventually("the kill", || (stat(child)[0] == "Z").then_some(()));
            running.signal(Signal::SIGCONT);
        }
        assert_eq!(running.end().code(), Some(137), "{}", running.said());
    }
}

//! The fence: the child is gone before the registry can give its place away, by the registry's own clock.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::bench::steps::{Step, pass_on, step};
use crate::bench::{Misbehaving, Reply};
use crate::bench::{Registry, Running, child, eventually, free_address, get, wrapper};

/// A registry behind a proxy that lets this many heartbeats through and nothing afterwards; perhaps one more, whose
/// answer is lost: from that one the registry counts, and the wrapper does not know.
async fn cut_off(registry: &str, heartbeats: usize, one_more: bool) -> Misbehaving {
    let (registry, mut seen) = (registry.to_owned(), 0);
    Misbehaving::start(move |request| {
        seen += usize::from(step(request) == Some(Step::Heartbeat));
        if seen <= heartbeats {
            return pass_on(&registry, request);
        }
        if one_more && seen == heartbeats + 1 {
            pass_on(&registry, request);
        }
        Reply::Silence
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn child_is_gone_before_its_session_after_a_network_cut() {
    let registry = Registry::start();
    let mut runs = Vec::new();
    for (heartbeats, one_more) in [(0, false), (0, true), (1, false), (1, true), (2, false)] {
        let (url, proxy) = (registry.url.clone(), cut_off(&registry.url, heartbeats, one_more).await);
        let id = format!("cut-after-{heartbeats}-{one_more}");
        runs.push(tokio::task::spawn_blocking(move || is_gone_first(&url, &proxy, &id)));
    }
    for run in runs {
        run.await.unwrap();
    }
}

fn is_gone_first(registry: &str, proxy: &Misbehaving, id: &str) {
    let scratch = tempfile::tempdir().unwrap();
    let ticks = scratch.path().join("ticks");
    let mut command = wrapper(&proxy.url);
    command.args([&format!("--id={id}"), "--interval=10", "--on-lost=stop", "python3"]);
    let mut wrapped = Running::start(command.arg(child("ticking.py")).arg(&ticks));
    let pid = wrapped.ready();
    let expired = eventually("the expiry", || {
        let (_, page) = get(registry, "/v1.0/events?type=services.timeout").unwrap();
        page["values"].as_array().unwrap().iter().find(|event| event["payload"][0]["id"] == *id).cloned()
    });
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{id}: it still runs");
    // The time of the event is the deadline itself, however much later it was noticed.
    let (last, deadline) = (fs::read_to_string(&ticks).unwrap(), expired["timestamp"].as_u64().unwrap());
    assert!(last.parse::<u64>().unwrap() < deadline, "{id}: it ran at {last}, and its session ended at {deadline}");
    assert_eq!(wrapped.end().code(), Some(100), "{id}");
}

#[test]
fn fence_holds_for_a_registry_found_after_the_start() {
    let address = free_address();
    let mut command = wrapper(&format!("http://{address}"));
    command.args(["--id=web0", "--interval=3", "--on-lost=stop", "python3"]);
    let mut wrapped = Running::start(command.arg(child("signals.py")));
    wrapped.ready();
    let registry = Registry::start_at(&address, &[]);
    wrapped.line("registered web0");
    drop(registry);
    assert_eq!(wrapped.end().code(), Some(100), "{}", wrapped.said());
}

#[test]
fn requested_stop_keeps_its_own_bounds() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--interval=8", "--on-lost=stop", "--stop-timeout=1000"]);
    // Longer than the interval, since the session that the fence counts for is withdrawn already.
    let script = "trap 'sleep 9; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let mut wrapped = Running::start(command.args(["sh", "-c", script]));
    wrapped.line("up");
    wrapped.signal(Signal::SIGTERM);
    assert_eq!(wrapped.end().code(), Some(7), "{}", wrapped.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_without_withdrawal_ends_before_the_fence() {
    let registry = Registry::start();
    let url = registry.url.clone();
    let proxy = Misbehaving::start(move |request| match step(request) {
        Some(Step::Deregister) => Reply::Silence,
        _ => pass_on(&url, request),
    })
    .await;
    let mut command = wrapper(&proxy.url);
    command.args(["--id=web0", "--interval=10", "--on-lost=stop", "--stop-timeout=1000", "python3"]);
    let mut wrapped = Running::start(command.arg(child("signals.py")));
    wrapped.ready();
    wrapped.signal(Signal::SIGTERM);
    assert_eq!(wrapped.end().code(), Some(100), "{}", wrapped.said());
}

/// A fault of a wrapper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGSTOP.
    Stopped,
    /// SIGSTOP of the child as well.
    BothStopped,
    /// SIGKILL, with an option that leaves the child alive.
    Killed,
}

#[test]
fn child_is_gone_before_its_session_when_its_wrapper_cannot_run() {
    let registry = Registry::start();
    let rounds = [Fault::Stopped, Fault::BothStopped, Fault::Killed];
    std::thread::scope(|scope| {
        for (number, fault) in rounds.into_iter().cycle().take(6).enumerate() {
            let url = &registry.url;
            scope.spawn(move || is_gone_in_time(url, &format!("web{number}"), fault));
        }
    });
}

/// One round: another wrapper waits for the same id.
fn is_gone_in_time(registry: &str, id: &str, fault: Fault) {
    let scratch = tempfile::tempdir().unwrap();
    let ticks = scratch.path().join("ticks");
    let start = |command: &[&str]| {
        let mut wrapped = wrapper(registry);
        wrapped.args([&format!("--id={id}"), "--interval=3", "--on-registry-down=wait:60"]).args(command);
        Running::start(wrapped.arg(child("ticking.py")).arg(&ticks))
    };
    let mut first = start(&["--on-lost=stop", "--parent-death-signal=none", "python3"]);
    let pid = first.ready();
    // It waits for the id, and has no child until then.
    let mut second = start(&["sh", "-c", "echo second"]);
    second.line("is held by");
    let child = Pid::from_raw(pid);
    match fault {
        Fault::Stopped => first.signal(Signal::SIGSTOP),
        Fault::BothStopped => [first.pid, child].iter().for_each(|&pid| kill(pid, Signal::SIGSTOP).unwrap()),
        Fault::Killed => first.signal(Signal::SIGKILL),
    }
    second.line("second");
    assert!(!runs(pid), "{id} {fault:?}: it still runs");
    let expired = eventually("the expiry", || {
        let (_, page) = get(registry, "/v1.0/events?type=services.timeout").unwrap();
        page["values"].as_array().unwrap().iter().find(|event| event["payload"][0]["id"] == *id).cloned()
    });
    let (last, deadline) = (fs::read_to_string(&ticks).unwrap(), expired["timestamp"].as_u64().unwrap());
    assert!(
        last.parse::<u64>().unwrap() < deadline,
        "{id} {fault:?}: it ran at {last}, the session ended at {deadline}"
    );
    if fault != Fault::Killed {
        first.signal(Signal::SIGCONT);
        assert_eq!(first.end().code(), Some(100), "{}", first.said());
    }
    assert_eq!(second.end().code(), Some(0), "{}", second.said());
}

/// Whether a process runs or could go on; a stopped wrapper leaves zombies.
fn runs(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with(['Z', 'X']))
}

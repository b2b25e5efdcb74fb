//! The child's process tree: signalled, reaped, and terminated after the child's exit.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::wrapper::INITS;
use crate::bench::{Running, UNTIL_ASKED, child, clean, eventually, kill_raw, need, wrapper};

fn wrapped() -> Command {
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-q", "--id=web0"]);
    command
}

/// Starts the process tree with these options; returns the process ids of the grandchildren.
fn family(options: &[&str], arguments: &[&str]) -> (Running, Vec<i32>) {
    let mut running = Running::start(wrapped().args(options).arg(child("tree.sh")).args(arguments));
    let mut grandchildren = Vec::new();
    for _ in 0..3 {
        grandchildren.push(running.line("grandchild").split(' ').nth(1).unwrap().parse().unwrap());
    }
    running.line("child ");
    (running, grandchildren)
}

fn exists(pid: i32) -> bool {
    // A zombie counts as well: the wrapper has to reap it.
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn remaining_descendants_are_terminated_and_awaited() {
    let (mut running, grandchildren) = family(&["--stop-timeout=1000"], &["leave"]);
    assert_eq!(running.end().code(), Some(3), "the status is the child's");
    assert!(grandchildren.iter().all(|&pid| !exists(pid)), "gone before the wrapper is");
}

#[test]
fn descendants_that_ignore_sigterm_are_killed_after_the_timeout() {
    let (mut running, grandchildren) = family(&["--stop-timeout=0.5"], &["leave", "deaf"]);
    running.line("killing the remaining processes");
    assert_eq!(running.end().code(), Some(3));
    assert!(grandchildren.iter().all(|&pid| !exists(pid)));
}

#[test]
fn leave_orphans_leaves_descendants() {
    let (mut running, grandchildren) = family(&["--leave-orphans"], &["leave"]);
    assert_eq!(running.end().code(), Some(3));
    assert!(grandchildren.iter().all(|&pid| exists(pid)));
    grandchildren.iter().for_each(|&pid| kill_raw(pid, 9));
}

#[test]
fn left_orphans_survive_the_kill_of_the_child() {
    let mut command = wrapped();
    let script = "setsid sleep 1000 & trap '' TERM; echo orphan $!; while :; do sleep 0.1; done";
    let mut running = Running::start(command.args(["--leave-orphans", "--stop-timeout=0.3", "sh", "-c", script]));
    let orphan = running.line("orphan").split(' ').nth(1).unwrap().parse().unwrap();
    // It has left the group.
    eventually("setsid", || std::fs::read_to_string(format!("/proc/{orphan}/comm")).ok().filter(|c| c == "sleep\n"));
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(137));
    assert!(exists(orphan));
    kill_raw(orphan, 9);
}

#[test]
fn stopped_descendants_are_terminated() {
    let script = "sleep 1000 & kill -STOP $!; echo grandchild $!; exit 3";
    let mut command = wrapped();
    let mut running = Running::start(command.args(["--stop-timeout=1000", "sh", "-c", script]));
    running.line("grandchild");
    assert_eq!(running.end().code(), Some(3));
}

#[test]
fn inherited_children_are_left_alone() {
    let mut shell = clean("bash");
    shell.args([
        "-c",
        "sleep 1000 & echo inherited $!; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_service-registry-wrapper"),
    ]);
    shell.args(["-qq", "--id=web0", "--registry-url=http://127.0.0.1:1", "true"]);
    let mut running = Running::start(&mut shell);
    let inherited = running.line("inherited").split(' ').nth(1).unwrap().parse().unwrap();
    assert_eq!(running.end().code(), Some(0));
    assert!(exists(inherited));
    kill_raw(inherited, 9);
}

#[test]
fn child_that_left_its_group_gets_signals() {
    // The child joins the wrapper's group, and so leaves the one that was made for it: empty, or with a helper in it.
    for helper in ["", "subprocess.Popen(['sleep', '1000'], stdout=2); "] {
        let program = format!(
            "import os, subprocess, sys; {helper}os.setpgid(0, os.getpgid(os.getppid())); \
             os.execvp('python3', ['python3', sys.argv[1]])"
        );
        let mut running = Running::start(wrapped().args(["python3", "-c", &program]).arg(child("signals.py")));
        running.ready();
        running.signal(Signal::SIGUSR1);
        running.line("got 10");
    }
}

#[test]
fn status_is_the_childs_if_its_pid_is_reused() {
    need("unshare");
    need("python3");
    // What the child leaves behind starts another process with the child's number, which ends with 9.
    let program = "
import os, signal
own = os.getpid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() > 0:
    os._exit(7)
os.setsid()  # the number of a group is taken as well
while os.path.exists(f'/proc/{own}'):
    pass
with open('/proc/sys/kernel/ns_last_pid', 'w') as last:
    last.write(str(own - 1))
other = os.fork()
if other == 0:
    os._exit(9)
print('the same' if other == own else 'another', flush=True)
";
    let mut unshare = clean("unshare");
    unshare.args(["--map-root-user", "--pid", "--fork", "--mount-proc"]);
    unshare.args([env!("CARGO_BIN_EXE_service-registry-wrapper"), "-q", "--id=web0"]);
    unshare.args(["--registry-url=http://127.0.0.1:1", "python3", "-c", program]);
    let mut running = Running::start(&mut unshare);
    running.line("the same");
    assert_eq!(running.end().code(), Some(7));
}

#[test]
fn dropped_signal_stops_nothing() {
    let mut command = wrapped();
    command.args(["--rewrite-signal=TERM:0", "--stop-timeout=0.1", "--stop-budget=0.1"]);
    let scratch = tempfile::tempdir().unwrap();
    let asked = scratch.path().join("asked");
    let mut running = Running::start(command.args(["sh", "-c", UNTIL_ASKED, "4"]).arg(&asked));
    running.line("up");
    running.signal(Signal::SIGTERM);
    std::fs::write(asked, "").unwrap();
    assert_eq!(running.end().code(), Some(4), "it had all its time");
}

#[test]
fn flood_of_signals_does_not_delay_the_kill() {
    ["prlimit", "python3"].into_iter().for_each(need);
    let mut command = wrapped();
    let deaf = "
import signal, sys
for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGRTMIN):
    signal.signal(number, signal.SIG_IGN)
print('up', flush=True)
while True:
    signal.pause()
";
    let mut running = Running::start(command.args(["--stop-timeout=0.5", "python3", "-c", deaf]));
    running.line("up");
    // Several at once, so that there is always one more.
    let flood = "
import os, sys
while True:
    try:
        os.kill(int(sys.argv[1]), int(sys.argv[2]))
    except BlockingIOError:
        pass  # as many wait as may
";
    let wrapper = running.pid.to_string();
    // All processes of a user share the room for signals that wait. Some is left to those of other tests.
    let limited = clean("prlimit").args(["--sigpending=1000", "--pid", &wrapper]).status();
    assert!(limited.unwrap().success());
    let flood = |signal| Running::start(clean("python3").args(["-c", flood, &wrapper, signal]));
    let floods = ["10", "34", "34"].map(flood);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(137));
    drop(floods);
}

#[test]
fn child_is_killed_and_its_descendants_awaited_without_proc() {
    need("unshare");
    let hidden = "mount -t tmpfs none /proc && exec \"$@\"";
    let started = |stop_timeout: &str, script: &str| {
        let mut unshare = clean("unshare");
        unshare.args(["--map-root-user", "--mount", "sh", "-c", hidden, "sh"]);
        unshare.arg(env!("CARGO_BIN_EXE_service-registry-wrapper"));
        unshare.args(["-q", "--id=web0", "--registry-url=http://127.0.0.1:1", "--stop-timeout", stop_timeout]);
        let mut running = Running::start(unshare.args(["sh", "-c", script]));
        running.line("up");
        running
    };
    let mut deaf = started("0.3", "trap '' TERM; echo up; while :; do sleep 0.1; done");
    deaf.signal(Signal::SIGTERM);
    assert_eq!(deaf.end().code(), Some(137));
    let mut leaves = started("1000", "trap '' TERM; (sleep 0.2; echo late) & echo up; exit 3");
    leaves.line("late");
    assert_eq!(leaves.end().code(), Some(3));
}

#[test]
fn first_process_of_a_pid_namespace_can_be_wrapped() {
    need("unshare");
    let mut unshare = clean("unshare");
    unshare.args(["--map-root-user", "--pid", env!("CARGO_BIN_EXE_service-registry-wrapper")]);
    unshare.args(["-q", "--id=web0", "--registry-url=http://127.0.0.1:1", "sh", "-c", "exit $(($$ + 6))"]);
    assert_eq!(Running::start(&mut unshare).end().code(), Some(7));
}

#[test]
fn stop_signals_the_group_at_once_and_other_descendants_after_it() {
    let (mut running, grandchildren) = family(&["--stop-timeout=1000"], &["stay"]);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(143));
    assert!(grandchildren.iter().all(|&pid| !exists(pid)));
}

#[test]
fn child_that_ignores_sigterm_is_killed_with_its_descendants() {
    let (mut running, grandchildren) = family(&["--stop-timeout=0.5"], &["stay", "deaf"]);
    running.signal(Signal::SIGTERM);
    running.line("killing the remaining processes");
    assert_eq!(running.end().code(), Some(137));
    assert!(grandchildren.iter().all(|&pid| !exists(pid)));
}

#[test]
fn stop_timeout_0_kills_nothing() {
    let mut command = wrapped();
    command.arg("--stop-timeout=0");
    for mut parent in [command].into_iter().chain(inits()) {
        let mut running = Running::start(parent.arg("python3").arg(child("signals.py")));
        running.ready();
        running.signal(Signal::SIGTERM);
        running.line("got 15");
        assert!(!running.has_ended(), "{parent:?}");
        running.signal(Signal::SIGTERM); // the second one is passed on, too
        running.line("got 15");
        assert_eq!(running.end().code(), Some(0), "{parent:?}");
    }
}

/// The other inits, to be told what to run.
fn inits() -> impl Iterator<Item = Command> {
    INITS.into_iter().map(|(init, options)| {
        need(init);
        let mut command = clean(init);
        command.args(options);
        command
    })
}

#[test]
fn killed_wrapper_ends_its_child() {
    for (options, signal) in [(&[][..], "got 15"), (&["--parent-death-signal=USR1"], "got 10")] {
        let mut running = Running::start(wrapped().args(options).arg("python3").arg(child("signals.py")));
        let child = running.ready();
        running.signal(Signal::SIGKILL);
        running.line(signal);
        eventually("the child's end", || (!exists(child)).then_some(()));
    }
    let mut command = wrapped();
    let mut running = Running::start(command.args(["--parent-death-signal=none", "sleep", "1000"]));
    let child = eventually("the child", || children_of(running.pid.as_raw()).pop());
    running.signal(Signal::SIGKILL);
    running.end();
    assert!(exists(child));
    kill_raw(child, 9);
}

#[test]
fn signal_at_any_moment_of_the_start_ends_it() {
    for step in 0..150 {
        let mut command = wrapped();
        let mut running = Running::start(command.args(["sleep", "1000"]));
        let start = std::time::Instant::now();
        while start.elapsed().as_micros() < step * 40 {} // a moment that moves through the whole start
        running.signal(Signal::SIGTERM);
        let status = running.end();
        // Before it has blocked its signals it dies of this one like any program; after that the status says so.
        assert!(status.code() == Some(143) || status.signal() == Some(15), "{step}: {status}");
    }
}

#[test]
fn stopped_child_has_not_exited() {
    for mut parent in [wrapped()].into_iter().chain(inits()) {
        let mut running = Running::start(parent.arg("python3").arg(child("signals.py")));
        let pid = running.ready();
        kill_raw(pid, 19);
        eventually("the child to stop", || (state(pid) == 'T').then_some(()));
        let goes_on = !running.has_ended() && state(running.pid.as_raw()) != 'T';
        assert!(goes_on, "without a terminal {parent:?} goes on");
        running.signal(Signal::SIGUSR1); // waits for the child
        running.signal(Signal::SIGCONT);
        running.line("got 10");
        kill_raw(pid, 9);
        assert_eq!(running.end().code(), Some(137), "{parent:?}");
    }
}

#[test]
fn stopped_processes_that_are_asked_to_end_are_continued() {
    // The child stops itself; a helper in its group does, and the child waits for it.
    let itself = "trap 'echo heard; exit 3' TERM INT; echo stops $$; kill -STOP $$; while :; do sleep 0.01; done";
    let helper = "trap 'wait; echo heard; exit 3' TERM INT; sh -c 'echo stops $$; kill -STOP $$; exec sleep 1000' & \
                  while :; do sleep 0.01; done";
    for (script, signal) in [(itself, Signal::SIGTERM), (itself, Signal::SIGINT), (helper, Signal::SIGTERM)] {
        let mut running = Running::start(wrapped().args(["--stop-timeout=1000", "sh", "-c", script]));
        let stops = running.line("stops ").split(' ').nth(1).unwrap().parse().unwrap();
        eventually("the stop", || (state(stops) == 'T').then_some(()));
        running.signal(signal);
        running.line("heard");
        assert_eq!(running.end().code(), Some(3), "{script}");
    }
}

#[test]
fn running_child_that_is_asked_to_end_is_not_continued() {
    let mut running = Running::start(wrapped().arg("python3").arg(child("signals.py")));
    running.ready();
    running.signal(Signal::SIGTERM);
    running.line("got 15");
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(0));
    assert!(!running.said_to_the_end().contains("got 18"), "{}", running.said());
}

#[test]
fn stopped_process_outside_the_signal_scope_stays_stopped() {
    // In a group of its own, and so not signalled before the child has ended.
    let script = "trap 'echo heard; exec sleep 1000' TERM; setsid sh -c 'echo stops $$; kill -STOP $$; exec sleep 1000' & \
                  while :; do sleep 0.01; done";
    let mut running = Running::start(wrapped().args(["--stop-timeout=1000", "sh", "-c", script]));
    let stops: i32 = running.line("stops ").split(' ').nth(1).unwrap().parse().unwrap();
    eventually("the stop", || (state(stops) == 'T').then_some(()));
    running.signal(Signal::SIGTERM);
    running.line("heard");
    assert_eq!(state(stops), 'T');
    kill_raw(stops, 9);
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(143));
}

/// The state of a process, as `ps` shows it: `T` for one that is stopped.
fn state(pid: i32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().unwrap().chars().next().unwrap()
}

#[test]
fn warn_on_reap_reports_reaped_processes() {
    let mut command = wrapped();
    let script = "sh -c 'sleep 0.1 & echo orphan $!'; exec sleep 1000";
    let mut running = Running::start(command.args(["--warn-on-reap", "sh", "-c", script]));
    let orphan = running.line("orphan").split(' ').nth(1).unwrap().to_owned();
    running.line(&format!("reaped process {orphan}"));
}

#[test]
fn process_1_reaps_orphans() {
    need("unshare");
    let wrapper =
        [env!("CARGO_BIN_EXE_service-registry-wrapper"), "-q", "--id=web0", "--registry-url=http://127.0.0.1:1"];
    let inits = INITS.map(|(init, options)| [&[init], options].concat());
    // A double fork whose middle process exits at once. A process that is not reaped stays in /proc.
    let scratch = tempfile::tempdir().unwrap();
    let script = "echo child $$; sh -c 'sleep 0.1 & echo $!' >orphan; read orphan <orphan; \
                  while [ -e /proc/$orphan ]; do sleep 0.01; done; echo buried; exit 5";
    for parent in [&wrapper[..]].into_iter().chain(inits.iter().map(Vec::as_slice)) {
        let mut unshare = clean("unshare");
        unshare.args(["--map-root-user", "--pid", "--fork", "--mount-proc"]).args(parent);
        let mut running = Running::start(unshare.args(["sh", "-c", script]).current_dir(scratch.path()));
        assert_eq!(running.line("child"), "child 2", "{parent:?}");
        running.line("buried");
        assert_eq!(running.end().code(), Some(5), "{parent:?}");
    }
}

#[test]
fn process_1_terminates_remaining_processes() {
    need("unshare");
    let mut unshare = clean("unshare");
    unshare.args([
        "--map-root-user",
        "--pid",
        "--fork",
        "--mount-proc",
        env!("CARGO_BIN_EXE_service-registry-wrapper"),
    ]);
    unshare.args(["-q", "--id=web0", "--registry-url=http://127.0.0.1:1"]);
    let scratch = tempfile::tempdir().unwrap();
    let script = "(trap 'echo heard; exit' TERM; echo up >up; while :; do sleep 0.01; done) & \
                  until [ -s up ]; do sleep 0.01; done; exit 5";
    let mut running = Running::start(unshare.args(["sh", "-c", script]).current_dir(scratch.path()));
    running.line("heard");
    assert_eq!(running.end().code(), Some(5));
}

#[test]
fn ten_thousand_orphans_and_signals_lose_no_status() {
    let mut command = wrapped();
    let script = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); \
                  sh -c 'j=0; while [ $j -lt 100 ]; do j=$((j+1)); (:) & done'; done; exec python3 \"$0\"";
    let mut running = Running::start(command.args(["sh", "-c", script]).arg(child("signals.py")));
    let pid = running.ready();
    let wrapper = running.pid.as_raw();
    eventually("all orphans to be reaped", || (children_of(wrapper) == [pid]).then_some(()));
    let before = resident(wrapper);
    let mut kill = clean("bash");
    kill.args(["-c", "for ((i = 0; i < 10000; i++)); do kill -41 $0; done"]).arg(wrapper.to_string());
    assert!(kill.status().unwrap().success());
    for _ in 0..10_000 {
        running.line("got 41");
    }
    let grown = resident(wrapper).saturating_sub(before);
    assert!(grown < 256, "the wrapper grew by {grown} kB");
}

/// Resident memory in kB.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn children_of(pid: i32) -> Vec<i32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

//! What a signal means to the wrapper: a pure function, tested over all of them.

use nix::libc;

use super::{Origin, Received};

/// Where the wrapper stands when a signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The child is not started yet.
    Starting,
    /// The child runs, or what it left behind.
    Running,
}

/// What a signal makes the wrapper do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Bury the dead, look after the stopped.
    Reap,
    /// Pass it on to the child.
    Forward,
    /// Give the child the foreground if it wants it, and pass it on.
    HandOver,
    /// Keep it for the child that is about to be started.
    Defer,
    /// End without starting the child.
    Abort,
    /// Stop, as the terminal asks of every process in the foreground.
    Stop,
    /// Nothing.
    Ignore,
}

/// What this signal means here. `shares_group`: the child stands in the wrapper's process group.
pub(crate) fn decide(stage: Stage, signal: Received, is_ignored: bool, shares_group: bool) -> Action {
    let ends = matches!(signal.number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP);
    let stops = matches!(signal.number, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
    // What a terminal says to a whole group. The rest of what comes from the kernel (a hangup, an alarm) is the wrapper's
    // alone, and so meant for the child.
    let from_keys = signal.origin == Origin::Kernel
        && (stops || matches!(signal.number, libc::SIGINT | libc::SIGQUIT | libc::SIGWINCH));
    match (signal.number, signal.origin, stage) {
        (libc::SIGCHLD, ..) => Action::Reap,
        (_, Origin::Own, _) => Action::Ignore,
        (_, _, Stage::Starting) if from_keys && stops => Action::Stop,
        (_, _, Stage::Starting) if ends && !is_ignored => Action::Abort,
        (_, _, Stage::Starting) => Action::Defer,
        // In one group with the wrapper the child has got it already; in its own it has not.
        (_, _, Stage::Running) if from_keys && shares_group => Action::Ignore,
        (_, _, Stage::Running) if from_keys => Action::HandOver,
        (_, _, Stage::Running) => Action::Forward,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(number: i32, origin: Origin) -> Received {
        Received { number, origin }
    }

    const KEYS: [i32; 6] = [libc::SIGINT, libc::SIGQUIT, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU, libc::SIGWINCH];

    fn all() -> impl Iterator<Item = i32> {
        (1..=64).filter(|&n| n != libc::SIGCHLD)
    }

    #[test]
    fn a_running_child_gets_every_signal_that_another_process_sends() {
        for (number, shares) in all().flat_map(|n| [(n, true), (n, false)]) {
            let action = decide(Stage::Running, received(number, Origin::Other), false, shares);
            assert_eq!(action, Action::Forward, "{number}");
        }
    }

    #[test]
    fn no_key_is_heard_twice_and_nothing_else_from_the_kernel_is_lost() {
        for number in all() {
            let shared = decide(Stage::Running, received(number, Origin::Kernel), false, true);
            let own = decide(Stage::Running, received(number, Origin::Kernel), false, false);
            if KEYS.contains(&number) {
                assert_eq!((shared, own), (Action::Ignore, Action::HandOver), "{number}");
            } else {
                assert_eq!((shared, own), (Action::Forward, Action::Forward), "{number}");
            }
        }
    }

    #[test]
    fn before_the_start_a_signal_ends_the_wrapper_or_waits() {
        let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];
        for number in all() {
            let at_start = |origin, is_ignored| decide(Stage::Starting, received(number, origin), is_ignored, false);
            let expected = if ends.contains(&number) { Action::Abort } else { Action::Defer };
            assert_eq!(at_start(Origin::Other, false), expected, "{number}");
            assert_eq!(at_start(Origin::Other, true), Action::Defer, "{number} ignored");
        }
        let key = |number| decide(Stage::Starting, received(number, Origin::Kernel), false, false);
        assert_eq!((key(libc::SIGINT), key(libc::SIGTSTP)), (Action::Abort, Action::Stop));
    }

    #[test]
    fn the_dead_are_buried_at_every_stage_whoever_tells() {
        for stage in [Stage::Starting, Stage::Running] {
            for origin in [Origin::Kernel, Origin::Own, Origin::Other] {
                assert_eq!(decide(stage, received(libc::SIGCHLD, origin), false, false), Action::Reap);
            }
        }
    }

    #[test]
    fn the_wrappers_own_broken_pipe_is_not_the_childs() {
        assert_eq!(decide(Stage::Running, received(libc::SIGPIPE, Origin::Own), false, false), Action::Ignore);
    }
}

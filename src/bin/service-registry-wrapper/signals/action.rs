//! Decides what a signal means to the wrapper: a pure function, tested over all signals.

use nix::libc;

use super::{Origin, Received};

/// The stage of the wrapper's life at which a signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The child is not started yet.
    Starting,
    /// The child runs, or descendants of it.
    Running,
}

/// The wrapper's reaction to a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Reap exited children, and handle stopped ones.
    Reap,
    /// Begin an orderly stop, in which the child receives it: withdraw first, and kill what remains in the end.
    RequestStop,
    /// Forward it to the child.
    Forward,
    /// Give the child the foreground, and forward it.
    ForwardInForeground,
    /// Keep it until the child is started.
    Defer,
    /// Exit without starting the child.
    Abort,
    /// Suspend the wrapper, as the terminal demands of every process in the foreground.
    Suspend,
    /// Nothing.
    Ignore,
}

/// Decides about a signal. `is_ignored`: the child ignores it (the wrapper was started with the signal ignored), or
/// never receives it. `shares_group`: the child is in the wrapper's process group.
pub(crate) fn decide(stage: Stage, signal: Received, is_ignored: bool, shares_group: bool) -> Action {
    let ends = matches!(signal.number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP);
    let stops = matches!(signal.number, libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU);
    // Signals of the terminal to a whole group. Others from the kernel (a hangup, an alarm) reach the wrapper alone,
    // and are meant for the child.
    let from_keys = signal.origin == Origin::Kernel
        && (stops || matches!(signal.number, libc::SIGINT | libc::SIGQUIT | libc::SIGWINCH));
    match (signal.number, signal.origin, stage) {
        (libc::SIGCHLD, ..) => Action::Reap,
        (_, Origin::Own, _) => Action::Ignore,
        (_, _, Stage::Starting) if from_keys && stops => Action::Suspend,
        (_, _, Stage::Starting) if ends && !is_ignored => Action::Abort,
        (_, _, Stage::Starting) => Action::Defer,
        // A child in the wrapper's group has received it already; one in its own group has not.
        (_, _, Stage::Running) if from_keys && shares_group => Action::Ignore,
        (_, _, Stage::Running) if from_keys => Action::ForwardInForeground,
        (libc::SIGTERM | libc::SIGINT, _, Stage::Running) if !is_ignored => Action::RequestStop,
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
    fn signal_from_another_process_is_forwarded_or_requests_a_stop() {
        for (number, shares) in all().flat_map(|n| [(n, true), (n, false)]) {
            let [action, ignored] = [false, true]
                .map(|is_ignored| decide(Stage::Running, received(number, Origin::Other), is_ignored, shares));
            let stops = [libc::SIGTERM, libc::SIGINT].contains(&number);
            assert_eq!(action, if stops { Action::RequestStop } else { Action::Forward }, "{number}");
            assert_eq!(ignored, Action::Forward, "{number} ignored");
        }
    }

    #[test]
    fn key_reaches_the_child_once_and_other_kernel_signals_are_forwarded() {
        for number in all() {
            let shared = decide(Stage::Running, received(number, Origin::Kernel), false, true);
            let own = decide(Stage::Running, received(number, Origin::Kernel), false, false);
            if KEYS.contains(&number) {
                assert_eq!((shared, own), (Action::Ignore, Action::ForwardInForeground), "{number}");
            } else {
                let expected = if number == libc::SIGTERM { Action::RequestStop } else { Action::Forward };
                assert_eq!((shared, own), (expected, expected), "{number}");
            }
        }
    }

    #[test]
    fn signal_before_the_start_aborts_or_is_deferred() {
        let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];
        for number in all() {
            let at_start = |origin, is_ignored| decide(Stage::Starting, received(number, origin), is_ignored, false);
            let expected = if ends.contains(&number) { Action::Abort } else { Action::Defer };
            assert_eq!(at_start(Origin::Other, false), expected, "{number}");
            assert_eq!(at_start(Origin::Other, true), Action::Defer, "{number} ignored");
        }
        let key = |number| decide(Stage::Starting, received(number, Origin::Kernel), false, false);
        assert_eq!((key(libc::SIGINT), key(libc::SIGTSTP)), (Action::Abort, Action::Suspend));
    }

    #[test]
    fn sigchld_reaps_at_every_stage_from_every_sender() {
        for stage in [Stage::Starting, Stage::Running] {
            for origin in [Origin::Kernel, Origin::Own, Origin::Other] {
                assert_eq!(decide(stage, received(libc::SIGCHLD, origin), false, false), Action::Reap);
            }
        }
    }

    #[test]
    fn sigpipe_of_the_wrapper_is_not_forwarded() {
        assert_eq!(decide(Stage::Running, received(libc::SIGPIPE, Origin::Own), false, false), Action::Ignore);
    }
}

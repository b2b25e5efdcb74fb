//! The life of the child: signals are passed on, the dead are buried, and the end of the child is the end of the wait.
//!
//! What a signal means is decided by a pure function; the loops only do what it says.

use std::future::Future;
use std::process::ExitStatus;

use anyhow::Result;
use nix::libc::{self, pid_t};
use nix::sys::signal::{SigSet, Signal, raise};
use tracing::debug;

use crate::signals::{Origin, Received, Signals};
use crate::{child, inherited, signals};

/// Where the wrapper stands when a signal arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The child is not started yet.
    Starting,
    /// The child runs.
    Running,
}

/// What a signal makes the wrapper do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// Bury the dead.
    Reap,
    /// Pass it on to the child.
    Forward,
    /// Keep it for the child that is about to be started.
    Keep,
    /// End without starting the child.
    GiveUp,
    /// Do what the terminal asks of every process in the foreground: stop.
    Stop,
    /// Nothing.
    Ignore,
}

fn decide(stage: Stage, signal: Received, is_ignored: bool) -> Action {
    match (signal.number, signal.origin, stage) {
        (libc::SIGCHLD, ..) => Action::Reap,
        (_, Origin::Own, _) => Action::Ignore,
        (libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU, Origin::Terminal, _) => Action::Stop,
        (libc::SIGTERM | libc::SIGINT | libc::SIGQUIT | libc::SIGHUP, _, Stage::Starting) if !is_ignored => {
            Action::GiveUp
        }
        (_, Origin::Terminal, _) => Action::Ignore, // the child stands in the same group and got it already
        (_, _, Stage::Starting) => Action::Keep,
        (_, _, Stage::Running) => Action::Forward,
    }
}

/// How waiting for something before the start of the child ended.
pub(crate) enum Start<T> {
    /// It came.
    Ready(T),
    /// A signal asked the wrapper to end.
    Signalled(i32),
}

/// Waits for something before the child is started. Signals for the child are kept in `kept`.
pub(crate) async fn before_start<T>(
    wanted: impl Future<Output = T>,
    signals: &mut Signals,
    kept: &mut Vec<i32>,
) -> Result<Start<T>> {
    tokio::pin!(wanted);
    loop {
        let signal = tokio::select! {
            biased;
            signal = signals.next() => signal?,
            value = &mut wanted => return Ok(Start::Ready(value)),
        };
        match decide(Stage::Starting, signal, inherited::ignored(signal.number)) {
            Action::GiveUp => return Ok(Start::Signalled(signal.number)),
            Action::Keep => kept.push(signal.number),
            Action::Reap => while child::reap().is_some() {},
            Action::Stop => stop_self(signal.number),
            Action::Forward | Action::Ignore => {}
        }
    }
}

/// Runs until the child has ended, and says how.
pub(crate) async fn until_exit(child: pid_t, signals: &mut Signals) -> Result<ExitStatus> {
    loop {
        let signal = signals.next().await?;
        match decide(Stage::Running, signal, false) {
            Action::Reap => {
                if let Some(status) = reap_all(child) {
                    return Ok(status);
                }
            }
            Action::Forward => {
                debug!(signal = signals::name(signal.number), "passed on");
                child::send(child, signal.number);
            }
            Action::Stop => stop_self(signal.number),
            Action::Keep | Action::GiveUp | Action::Ignore => {}
        }
    }
}

/// Buries all who are dead: one SIGCHLD may stand for many. The status of the child, if it is among them.
fn reap_all(child: pid_t) -> Option<ExitStatus> {
    let mut ended = None;
    while let Some((dead, status)) = child::reap() {
        if dead == child {
            ended = Some(status);
        } else {
            debug!(pid = dead, "reaped an orphan");
        }
    }
    ended
}

/// Stops as a program without handlers would, until SIGCONT. The kernel's own rule decides whether it is a stop at
/// all: nobody could continue an orphaned process group, so there these signals do nothing.
fn stop_self(number: i32) {
    let Ok(signal) = Signal::try_from(number) else { return };
    let mut only = SigSet::empty();
    only.add(signal);
    // It waits blocked until it is let through for a moment.
    if raise(signal).is_ok() && only.thread_unblock().is_ok() {
        let _ = only.thread_block();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(number: i32, origin: Origin) -> Received {
        Received { number, origin }
    }

    #[test]
    fn a_running_child_gets_every_signal_that_another_process_sends() {
        for number in (1..=64).filter(|&n| n != libc::SIGCHLD) {
            assert_eq!(decide(Stage::Running, received(number, Origin::Other), false), Action::Forward, "{number}");
        }
    }

    #[test]
    fn no_signal_arrives_twice_from_a_terminal() {
        for number in (1..=64).filter(|&n| n != libc::SIGCHLD) {
            let action = decide(Stage::Running, received(number, Origin::Terminal), false);
            assert!(matches!(action, Action::Ignore | Action::Stop), "{number}: {action:?}");
        }
    }

    #[test]
    fn before_the_start_a_signal_ends_the_wrapper_or_waits() {
        let ends = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];
        for number in (1..=64).filter(|&n| n != libc::SIGCHLD) {
            let expected = if ends.contains(&number) { Action::GiveUp } else { Action::Keep };
            assert_eq!(decide(Stage::Starting, received(number, Origin::Other), false), expected, "{number}");
            assert_eq!(
                decide(Stage::Starting, received(number, Origin::Other), true),
                Action::Keep,
                "{number} ignored"
            );
        }
        assert_eq!(decide(Stage::Starting, received(libc::SIGINT, Origin::Terminal), false), Action::GiveUp);
    }

    #[test]
    fn the_dead_are_buried_at_every_stage_whoever_tells() {
        for stage in [Stage::Starting, Stage::Running] {
            for origin in [Origin::Terminal, Origin::Own, Origin::Other] {
                assert_eq!(decide(stage, received(libc::SIGCHLD, origin), false), Action::Reap);
            }
        }
    }

    #[test]
    fn the_wrappers_own_broken_pipe_is_not_the_childs() {
        assert_eq!(decide(Stage::Running, received(libc::SIGPIPE, Origin::Own), false), Action::Ignore);
    }
}

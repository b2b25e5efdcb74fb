//! Follows the list and runs a job: for the first list, and after each change.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::{Context, anyhow};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::stop::Stop;
use super::super::time::until;
use super::process;
use super::schedule::{Action, Event, Schedule, Timing};
use super::source::{Listed, Source};
use crate::exit::Failure;
use crate::output;

/// What is done for a list. It may start commands, one at a time.
pub(crate) trait Job {
    /// What is logged when a run succeeds after some that have failed.
    const RECOVERED: &str;

    /// Starts a run. Returns whether it has succeeded, if it has ended already.
    fn start(&mut self, list: &Listed) -> Result<Option<bool>, Failure>;

    /// Goes on after SIGCHLD. Returns whether the run has succeeded, once it has ended.
    fn child_ended(&mut self) -> Result<Option<bool>, Failure>;

    /// Returns when its command is to be killed.
    fn limit(&self) -> Option<Instant> {
        None
    }

    /// Kills the command whose time is over.
    fn cut_off(&mut self) {}

    /// Signals its command.
    fn signal(&self, signal: Signal);

    /// Returns the status of a failed run, and what has failed.
    fn failure(&self) -> Option<(u8, String)>;

    /// Returns whether it writes to stdout, so that it ends with the reader.
    fn writes_to_stdout(&self) -> bool;
}

/// Follows until a signal comes, or the registry refuses; with `is_once`, until the first run has ended.
pub(crate) async fn follow(mut source: Source<'_>, timing: Timing, job: &mut impl Job) -> Result<(), Failure> {
    let mut stop = Stop::new()?;
    let mut child = signal(SignalKind::child()).context("watching for signals")?;
    let mut schedule = Schedule::new(timing);
    let (mut stopped, mut refusal) = (None, None);
    loop {
        let (due, limit) = (schedule.due(), job.limit());
        let event = tokio::select! {
            signal = stop.requested() => {
                info!("{}: stopping", signal.as_str());
                stopped = Some(signal);
                Event::Stop
            }
            _ = child.recv() => match job.child_ended()? {
                Some(is_success) => Event::Ended { is_success },
                None => continue,
            },
            () = until(due) => Event::Due,
            () = until(limit) => {
                job.cut_off();
                continue;
            }
            closed = output::reader_closed(), if job.writes_to_stdout() => return Err(closed),
            list = source.next(), if refusal.is_none() => list.map_or_else(
                |failure| {
                    refusal = Some(failure);
                    Event::Last
                },
                Event::List,
            ),
        };
        if handle(&mut schedule, job, event)? {
            break;
        }
    }
    match (stopped, refusal, job.failure()) {
        // What was to be done once was not done.
        (Some(signal), ..) if timing.is_once => Err(Failure {
            code: process::status_of(ExitStatus::from_raw(signal as i32)),
            error: anyhow!("stopped by {} before the run had ended", signal.as_str()),
        }),
        (Some(_), ..) => Ok(()),
        (None, Some(refusal), _) => Err(refusal),
        (None, None, None) => Ok(()),
        (None, None, Some((code, error))) => Err(Failure { code, error: anyhow!(error) }),
    }
}

/// Tells the machine what happened, and does what it says. Returns whether that is the end.
fn handle<J: Job>(schedule: &mut Schedule<Listed>, job: &mut J, event: Event<Listed>) -> Result<bool, Failure> {
    let mut next = Some(event);
    while let Some(event) = next.take() {
        let is_end = matches!(event, Event::Ended { .. });
        if matches!(event, Event::Ended { is_success: true }) && schedule.failures() > 0 {
            info!("{}", J::RECOVERED);
        }
        let action = schedule.handle(event, Instant::now());
        if is_end && !matches!(action, Some(Action::Finish)) {
            tell_failure(schedule, job);
        }
        match action {
            Some(Action::Run(list)) => next = job.start(&list)?.map(|is_success| Event::Ended { is_success }),
            Some(Action::Terminate) => job.signal(Signal::SIGTERM),
            Some(Action::Kill) => job.signal(Signal::SIGKILL),
            Some(Action::Finish) => return Ok(true),
            None => {}
        }
    }
    Ok(false)
}

fn tell_failure(schedule: &Schedule<Listed>, job: &impl Job) {
    let Some((_, failure)) = job.failure() else { return };
    let again = schedule.due().map_or_else(String::new, |due| {
        let pause = due.saturating_duration_since(Instant::now()).as_secs_f64();
        format!("; it is run again in {pause:.1} s, or sooner if the list changes")
    });
    warn!("{failure}{again}");
}

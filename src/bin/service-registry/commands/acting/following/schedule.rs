//! When COMMAND runs: a pure machine. It is told what happened and when, and says what to do.
//!
//! - The first list is run for at once. A later one is run for when the list has been quiet for a while, and at the
//!   latest when the upper bound has passed since the first change that no run has seen.
//! - There is one run at a time. What changes during a run is run for afterwards.
//! - A list that is the same again as that of the last run, if that succeeded, needs no run.
//! - A failed run is repeated after a growing pause, or sooner because of a change.

use std::time::Duration;

use tokio::time::Instant;

/// The pause after the first failed run. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<L> {
    /// The registry's list; not necessarily another one than before.
    List(L),
    /// The run has ended.
    Ended { is_success: bool },
    /// The time of [`Schedule::due`] has come.
    Due,
    /// The user asks for the end; once more, if the command does not end.
    Stop,
    /// No further list will come. A run may end by itself.
    Last,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action<L> {
    /// Start the command with this list.
    Run(L),
    /// Send SIGTERM to the command.
    Terminate,
    /// Send SIGKILL to the command.
    Kill,
    /// End; the command does not run.
    Finish,
}

/// The settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How long the list must be unchanged.
    pub(crate) quiet: Duration,
    /// The longest time from a change to its run, if none is running.
    pub(crate) longest: Duration,
    /// End after the first run.
    pub(crate) is_once: bool,
}

/// Changes that no run has seen.
#[derive(Clone, Copy, Debug)]
struct Changes {
    first: Instant,
    last: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// After the run.
    Awaited,
    /// SIGTERM was sent.
    Terminated,
}

/// The state of the machine. `L` is a list.
#[derive(Clone, Debug)]
pub(crate) struct Schedule<L> {
    timing: Timing,
    latest: Option<L>,
    /// The list of the run.
    running: Option<L>,
    /// The list of the last run, if that succeeded.
    applied: Option<L>,
    changes: Option<Changes>,
    failures: u32,
    /// A run that no change asks for: the first, or the repetition of a failed one.
    planned: Option<Instant>,
    ending: Option<Ending>,
}

impl<L: Clone + PartialEq> Schedule<L> {
    pub(crate) fn new(timing: Timing) -> Self {
        Self {
            timing,
            latest: None,
            running: None,
            applied: None,
            changes: None,
            failures: 0,
            planned: None,
            ending: None,
        }
    }

    /// Returns when the next run is due, unless something happens before.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.running.is_some() || self.ending.is_some() || self.latest == self.applied {
            return None;
        }
        let settled =
            self.changes.map(|Changes { first, last }| (last + self.timing.quiet).min(first + self.timing.longest));
        settled.into_iter().chain(self.planned).min()
    }

    /// Returns the failed runs in a row.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes an event, and returns what to do.
    pub(crate) fn handle(&mut self, event: Event<L>, now: Instant) -> Option<Action<L>> {
        match event {
            Event::List(list) => self.change(list, now),
            Event::Ended { is_success } => self.end(is_success, now),
            Event::Due => {}
            Event::Stop if self.running.is_some() => {
                let is_first = self.ending.replace(Ending::Terminated) != Some(Ending::Terminated);
                return Some(if is_first { Action::Terminate } else { Action::Kill });
            }
            Event::Stop | Event::Last => self.ending = self.ending.or(Some(Ending::Awaited)),
        }
        if self.running.is_none() && self.latest == self.applied {
            self.changes = None; // back to what it was
        }
        if self.ending.is_some() {
            return self.running.is_none().then_some(Action::Finish);
        }
        if self.due().is_some_and(|due| due <= now) {
            (self.changes, self.planned) = (None, None);
            self.running = self.latest.clone();
            return self.latest.clone().map(Action::Run);
        }
        None
    }

    fn change(&mut self, list: L, now: Instant) {
        let Some(latest) = &self.latest else {
            self.latest = Some(list);
            self.planned = Some(now);
            return;
        };
        if *latest != list {
            self.latest = Some(list);
            let first = self.changes.map_or(now, |changes| changes.first);
            self.changes = Some(Changes { first, last: now });
        }
    }

    fn end(&mut self, is_success: bool, now: Instant) {
        let list = self.running.take();
        if is_success {
            (self.applied, self.failures) = (list, 0);
        } else {
            self.applied = None; // it may have done a part
            self.planned = Some(now + FIRST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE));
            self.failures = self.failures.saturating_add(1);
        }
        if self.timing.is_once {
            self.ending = self.ending.or(Some(Ending::Awaited));
        }
    }
}

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
pub(super) enum Event<L> {
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
pub(super) enum Action<L> {
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
pub(super) struct Timing {
    /// How long the list must be unchanged.
    pub(super) quiet: Duration,
    /// The longest time from a change to its run, if none is running.
    pub(super) longest: Duration,
    /// End after the first run.
    pub(super) is_once: bool,
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
pub(super) struct Schedule<L> {
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
    pub(super) fn new(timing: Timing) -> Self {
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
    pub(super) fn due(&self) -> Option<Instant> {
        if self.running.is_some() || self.ending.is_some() || self.latest == self.applied {
            return None;
        }
        let settled =
            self.changes.map(|Changes { first, last }| (last + self.timing.quiet).min(first + self.timing.longest));
        settled.into_iter().chain(self.planned).min()
    }

    /// Returns the failed runs in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes an event, and returns what to do.
    pub(super) fn handle(&mut self, event: Event<L>, now: Instant) -> Option<Action<L>> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: Duration = Duration::from_secs(2);
    const LONGEST: Duration = Duration::from_secs(5);
    const STEP: Duration = Duration::from_secs(1);
    const TIMING: Timing = Timing { quiet: QUIET, longest: LONGEST, is_once: false };

    /// What the outside can see of a machine, and the rules that it must keep.
    #[derive(Clone)]
    struct Observer {
        schedule: Schedule<u8>,
        now: Instant,
        latest: Option<u8>,
        running: Option<u8>,
        /// The last run's list, if it succeeded.
        applied: Option<u8>,
        /// The first change that no run has seen, and the last.
        unseen: Option<(Instant, Instant)>,
        has_failed: bool,
        is_stopping: bool,
        is_finished: bool,
        stops: u32,
    }

    impl Observer {
        fn new() -> Self {
            Self {
                schedule: Schedule::new(TIMING),
                now: Instant::now(),
                latest: None,
                running: None,
                applied: None,
                unseen: None,
                has_failed: false,
                is_stopping: false,
                is_finished: false,
                stops: 0,
            }
        }

        fn tell(&mut self, event: Event<u8>) {
            let is_first = self.latest.is_none();
            match event {
                Event::List(list) => {
                    if !is_first && self.latest != Some(list) {
                        self.unseen = Some((self.unseen.map_or(self.now, |(first, _)| first), self.now));
                    }
                    self.latest = Some(list);
                }
                Event::Ended { is_success } => {
                    self.applied = self.running.take().filter(|_| is_success);
                    self.has_failed = !is_success;
                }
                Event::Stop | Event::Last => self.is_stopping = true,
                Event::Due => {}
            }
            self.stops += u32::from(event == Event::Stop);
            let action = self.schedule.handle(event, self.now);
            self.check(event, action, is_first);
        }

        fn check(&mut self, event: Event<u8>, action: Option<Action<u8>>, is_first: bool) {
            match action {
                Some(Action::Run(list)) => {
                    assert!(self.running.is_none() && !self.is_stopping && !self.is_finished, "two runs, or too late");
                    assert_eq!(Some(list), self.latest, "an old list");
                    assert_ne!(Some(list), self.applied, "a run for nothing");
                    let is_settled = self
                        .unseen
                        .is_some_and(|(first, last)| self.now >= last + QUIET || self.now >= first + LONGEST);
                    assert!(is_first || is_settled || self.has_failed, "too early");
                    (self.running, self.unseen) = (Some(list), None);
                }
                Some(Action::Terminate) => assert!(event == Event::Stop && self.running.is_some() && self.stops == 1),
                Some(Action::Kill) => assert!(event == Event::Stop && self.running.is_some() && self.stops > 1),
                Some(Action::Finish) => {
                    assert!(self.is_stopping && self.running.is_none());
                    self.is_finished = true;
                }
                None => {
                    assert!(!self.is_stopping || self.running.is_some(), "it does not end");
                    let is_late = self.unseen.is_some_and(|(first, _)| self.now >= first + LONGEST);
                    let is_idle = self.running.is_none() && !self.is_stopping;
                    assert!(!is_late || !is_idle || self.latest == self.applied, "too late");
                    assert!(!is_first || self.latest.is_none() || !is_idle, "the first list is not run for");
                    let waits = is_idle && self.latest.is_some() && self.latest != self.applied;
                    assert_eq!(self.schedule.due().is_some(), waits, "it would sleep for ever, or wake up for nothing");
                }
            }
            if self.running.is_none() && self.latest == self.applied {
                self.unseen = None;
            }
        }

        fn advance(&mut self) {
            self.now += STEP;
            if self.schedule.due().is_some_and(|due| due <= self.now) {
                self.tell(Event::Due);
            }
        }

        /// Whatever has happened, the last list is that of a run that succeeds, unless the end was asked for.
        fn settle(mut self) {
            for _ in 0..200 {
                if self.is_stopping {
                    break;
                }
                self.advance();
                if self.running.is_some() {
                    self.tell(Event::Ended { is_success: true });
                }
            }
            assert!(self.is_stopping || self.latest == self.applied);
        }

        /// Tries every sequence of this many events.
        fn explore(&self, depth: u32) {
            self.clone().settle();
            if depth == 0 || self.is_finished {
                return;
            }
            let lists = [0, 1, 2].map(Event::List);
            let ends = [true, false].map(|is_success| Event::Ended { is_success });
            for event in lists.into_iter().chain(ends).chain([Event::Stop, Event::Last]) {
                if matches!(event, Event::Ended { .. }) && self.running.is_none() {
                    continue;
                }
                let mut next = self.clone();
                next.tell(event);
                next.explore(depth - 1);
            }
            let mut later = self.clone();
            later.advance();
            later.explore(depth - 1);
        }
    }

    #[test]
    fn every_sequence_of_events_keeps_the_rules() {
        Observer::new().explore(7);
    }

    #[test]
    fn changes_that_come_together_are_one_run() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut schedule = Schedule::new(TIMING);
        assert_eq!(schedule.handle(Event::List(1), at(0)), Some(Action::Run(1)));
        assert_eq!(schedule.handle(Event::Ended { is_success: true }, at(1)), None);
        for (second, list) in [(10, 2), (11, 3), (12, 4)] {
            assert_eq!(schedule.handle(Event::List(list), at(second)), None);
        }
        assert_eq!(schedule.due(), Some(at(14)), "the quiet time counts from the last change");
        assert_eq!(schedule.handle(Event::List(5), at(13)), None);
        assert_eq!(schedule.handle(Event::List(6), at(14)), None);
        assert_eq!(schedule.due(), Some(at(15)), "the upper bound counts from the first change");
        assert_eq!(schedule.handle(Event::Due, at(15)), Some(Action::Run(6)));
    }

    #[test]
    fn list_that_is_the_same_again_needs_no_run() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TIMING);
        schedule.handle(Event::List(1), start);
        schedule.handle(Event::Ended { is_success: true }, start);
        schedule.handle(Event::List(2), start);
        assert!(schedule.due().is_some());
        schedule.handle(Event::List(1), start);
        assert_eq!(schedule.due(), None);
        // Later changes are not late because of those that were undone.
        schedule.handle(Event::List(2), start + LONGEST * 3);
        assert_eq!(schedule.due(), Some(start + LONGEST * 3 + QUIET));
    }

    #[test]
    fn failed_run_is_repeated_after_a_growing_pause() {
        let mut now = Instant::now();
        let mut schedule = Schedule::new(TIMING);
        schedule.handle(Event::List(1), now);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(schedule.handle(Event::Ended { is_success: false }, now), None);
            assert_eq!(schedule.due(), Some(now + Duration::from_secs(pause)));
            now += Duration::from_secs(pause);
            assert_eq!(schedule.handle(Event::Due, now), Some(Action::Run(1)));
        }
        assert_eq!(schedule.failures(), 8);
        schedule.handle(Event::Ended { is_success: true }, now);
        assert_eq!((schedule.failures(), schedule.due()), (0, None));
        for _ in 0..40 {
            schedule.failures += 1;
            schedule.end(false, now); // no overflow
        }
    }

    #[test]
    fn once_ends_after_the_first_run() {
        for is_success in [true, false] {
            let mut schedule = Schedule::new(Timing { is_once: true, ..TIMING });
            assert_eq!(schedule.handle(Event::List(1), Instant::now()), Some(Action::Run(1)));
            assert_eq!(schedule.handle(Event::List(2), Instant::now()), None);
            assert_eq!(schedule.handle(Event::Ended { is_success }, Instant::now()), Some(Action::Finish));
        }
    }
}

//! Every sequence of events up to a length keeps the rules of `watch`.

use std::time::Duration;

use tokio::time::Instant;

use super::schedule::{Action, Event, Schedule, Timing};

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
                let is_settled =
                    self.unseen.is_some_and(|(first, last)| self.now >= last + QUIET || self.now >= first + LONGEST);
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

//! Every sequence of events up to a length, under every combination of limits, keeps the promises of a stop.

use std::time::Duration;

use nix::libc;
use tokio::time::Instant;

use super::Fence;
use super::shutdown::{Event, Limits, Shutdown, ShutdownAction, Warning};

const SECOND: Duration = Duration::from_secs(1);
const DEPTH: usize = 4;

/// A machine beside a record of what it was told and what it did.
struct Run {
    shutdown: Shutdown,
    limits: Limits,
    now: Instant,
    first_request: Option<Instant>,
    requested: Vec<i32>,
    sent: Vec<i32>,
    withdrawals: usize,
    was_withdrawing: bool,
    is_removed: bool,
    confirmed: Option<Instant>,
    exits: usize,
    stopped_at: Option<Instant>,
    fences: usize,
    kills: Vec<Instant>,
    is_out_of_reach: bool,
    is_finished: bool,
}

impl Run {
    fn new(limits: Limits, start: Instant) -> Self {
        Self {
            shutdown: Shutdown::new(limits),
            limits,
            now: start,
            first_request: None,
            requested: Vec::new(),
            sent: Vec::new(),
            withdrawals: 0,
            was_withdrawing: false,
            is_removed: false,
            confirmed: None,
            exits: 0,
            stopped_at: None,
            fences: 0,
            kills: Vec::new(),
            is_out_of_reach: false,
            is_finished: false,
        }
    }

    /// The events that can happen next.
    fn possible(&self) -> Vec<Event> {
        let request = |has_session, is_failing| Event::StopRequested { signal: libc::SIGTERM, has_session, is_failing };
        let mut events = vec![
            request(true, false),
            request(true, true),
            request(false, false),
            Event::Registration { confirmed: Some(self.now), is_lost: false },
            Event::Registration { confirmed: Some(self.now), is_lost: true },
            Event::Exited { all_gone: false },
            Event::Exited { all_gone: true },
        ];
        if self.shutdown.is_withdrawing() {
            events.extend([Event::Withdrawn { removed: true }, Event::Withdrawn { removed: false }]);
        }
        if self.shutdown.next_timer().is_some() {
            events.push(Event::TimerFired);
        }
        if !self.kills.is_empty() {
            events.push(Event::OutOfReach);
        }
        events
    }

    fn step(&mut self, event: Event) {
        self.now += SECOND / 4;
        if let (Event::TimerFired, Some(due)) = (event, self.shutdown.next_timer()) {
            self.now = self.now.max(due);
        }
        let exited_before = self.exits > 0;
        match event {
            Event::StopRequested { signal, .. } => {
                self.requested.push(signal);
                self.first_request.get_or_insert(self.now);
            }
            Event::Exited { .. } => self.exits += 1,
            Event::Withdrawn { removed } => self.is_removed |= removed,
            Event::OutOfReach => self.is_out_of_reach = true,
            Event::Registration { confirmed, .. } => self.confirmed = confirmed,
            Event::TimerFired => {}
        }
        let actions = self.shutdown.on(event, self.now);
        for action in &actions {
            self.perform(*action, exited_before, &actions);
        }
        if self.shutdown.is_withdrawing() && !self.was_withdrawing {
            let begun_by_exit = self.first_request.is_none();
            let all_gone = matches!(event, Event::Exited { all_gone: true });
            assert!(self.limits.fence.is_none() || !begun_by_exit || all_gone, "a place with living processes");
            self.withdrawals += 1;
        }
        self.was_withdrawing = self.shutdown.is_withdrawing();
        assert!(self.withdrawals <= 1, "the withdrawal begins once");
        if self.exits > 0 && !exited_before {
            assert!(
                actions.contains(&ShutdownAction::StopHeartbeats),
                "an exited child is not listed for longer than its session"
            );
        }
        self.check_timers();
    }

    fn perform(&mut self, action: ShutdownAction, exited_before: bool, all: &[ShutdownAction]) {
        match action {
            ShutdownAction::Signal(signal) => {
                self.sent.push(signal);
                self.stopped_at.get_or_insert(self.now);
            }
            ShutdownAction::TerminateDescendants(signal) => {
                assert!(self.exits > 0);
                assert_eq!(signal == libc::SIGKILL, !self.kills.is_empty(), "SIGKILL follows the kill, not before");
                self.stopped_at.get_or_insert(self.now);
            }
            ShutdownAction::Kill => {
                let is_over = |from: Option<Instant>, limit: Option<Duration>| {
                    from.zip(limit).is_some_and(|(from, limit)| self.now >= from + limit)
                };
                assert!(
                    is_over(self.stopped_at, self.limits.stop_timeout)
                        || is_over(self.first_request, self.limits.stop_budget)
                        || self.fences > 0
                        || self.fence_kill_at().is_some_and(|at| self.now >= at),
                    "killed before any bound"
                );
                self.kills.push(self.now);
                assert_eq!(self.kills.len(), 1);
            }
            ShutdownAction::Warn(Warning::PlaceLost | Warning::PlaceUnconfirmed) => {
                self.fences += 1;
                assert!(self.limits.fence.is_some() && !exited_before && !self.is_removed);
                assert!(
                    all.contains(&ShutdownAction::Signal(libc::SIGTERM))
                        && all.contains(&ShutdownAction::StopHeartbeats)
                );
                assert_eq!(self.fences, 1);
                self.requested.push(libc::SIGTERM); // which the fence sends itself
            }
            ShutdownAction::Warn(Warning::Unkillable) => assert!(!self.kills.is_empty() && self.exits > 0),
            ShutdownAction::Finish => {
                let budget_end = self.first_request.zip(self.limits.stop_budget).map(|(from, budget)| from + budget);
                let is_left = self.is_out_of_reach && budget_end.is_some_and(|end| end <= self.now);
                assert!(self.exits > 0 || is_left, "finished without the child's status");
                self.is_finished = true;
            }
            ShutdownAction::Warn(Warning::OutOfReach) => {
                assert!(self.is_out_of_reach && all.contains(&ShutdownAction::Finish))
            }
            ShutdownAction::StopHeartbeats | ShutdownAction::Warn(Warning::OutOfTime) => {}
        }
    }

    /// When the fence allows nothing of the child to live any longer.
    fn fence_kill_at(&self) -> Option<Instant> {
        let fence = self.limits.fence.filter(|_| !self.is_removed)?;
        Some(fence.sigkill_at(self.confirmed?))
    }

    fn check_timers(&self) {
        if let Some(at) = self.fence_kill_at().filter(|_| self.kills.is_empty() && !self.is_finished) {
            assert!(
                self.shutdown.watchdog_deadline().is_some_and(|armed| armed <= at),
                "the watchdog would be too late"
            );
            let is_timed = self.shutdown.next_timer().is_some_and(|timer| timer <= at.max(self.now));
            assert!(is_timed, "nothing stops what is left of the child in time");
        }
        if let Some((request, budget)) = self.first_request.zip(self.limits.stop_budget)
            && self.kills.is_empty()
            && !self.is_finished
        {
            let bound = (request + budget).max(self.now);
            assert!(
                self.shutdown.next_timer().is_some_and(|at| at <= bound),
                "nothing ends the stop within its budget"
            );
        }
    }

    /// Lets time pass without any answer, until no timer is left: all that was asked for has been done by then.
    fn settle(&mut self) {
        if self.shutdown.is_withdrawing() {
            self.step(Event::Withdrawn { removed: false });
        }
        for _ in 0..10 {
            if self.is_finished || self.shutdown.next_timer().is_none() {
                break;
            }
            self.step(Event::TimerFired);
        }
        if !self.is_finished {
            assert_eq!(self.shutdown.next_timer(), None, "timers never end");
            assert_eq!(self.sent.len(), self.requested.len(), "a signal was lost");
        }
        let bounded = self.limits.stop_timeout.is_some() || self.limits.stop_budget.is_some();
        if !self.is_finished && bounded && self.exits == 0 && !self.requested.is_empty() {
            assert!(!self.kills.is_empty(), "a child that does not exit is killed");
        }
    }
}

fn explore(limits: Limits, start: Instant, events: &mut Vec<Event>, count: &mut usize) {
    let replay = |events: &[Event]| {
        let mut run = Run::new(limits, start);
        events.iter().for_each(|event| run.step(*event));
        run
    };
    let run = replay(events);
    *count += 1;
    if run.is_finished {
        return;
    }
    let possible = run.possible();
    let mut settled = run;
    settled.settle();
    if events.len() == DEPTH {
        return;
    }
    for event in possible {
        events.push(event);
        explore(limits, start, events, count);
        events.pop();
    }
}

#[test]
fn every_sequence_of_events_keeps_the_order_of_a_stop() {
    let start = Instant::now();
    let fence = Fence { timeout: 10 * SECOND };
    let mut count = 0;
    for number in 0..32 {
        let limits = Limits {
            drain_delay: if number & 1 == 0 { Duration::ZERO } else { 3 * SECOND },
            stop_timeout: (number & 2 != 0).then_some(5 * SECOND),
            stop_budget: (number & 4 != 0).then_some(4 * SECOND),
            deregister_on_exit: number & 8 != 0,
            fence: (number & 16 != 0).then_some(fence),
        };
        explore(limits, start, &mut Vec::new(), &mut count);
    }
    assert!(count > 100_000, "only {count} sequences");
}

#[test]
fn drain_delay_is_at_most_half_the_budget() {
    let start = Instant::now();
    let limits = Limits { drain_delay: 60 * SECOND, stop_budget: Some(8 * SECOND), ..Limits::default() };
    let mut shutdown = Shutdown::new(limits);
    let request = Event::StopRequested { signal: libc::SIGTERM, has_session: true, is_failing: false };
    assert_eq!(shutdown.on(request, start), []);
    assert_eq!(shutdown.on(Event::Withdrawn { removed: true }, start), []);
    assert_eq!(shutdown.next_timer(), Some(start + 4 * SECOND));
    assert_eq!(shutdown.on(Event::TimerFired, start + 4 * SECOND), [ShutdownAction::Signal(libc::SIGTERM)]);
    assert_eq!(shutdown.next_timer(), Some(start + 8 * SECOND));
}

#[test]
fn signal_waits_for_the_withdrawal_only_if_the_registry_answers() {
    let start = Instant::now();
    for (has_session, is_failing, drains, waits) in
        [(true, false, false, true), (true, true, false, false), (true, true, true, true), (false, false, true, false)]
    {
        let drain_delay = if drains { SECOND } else { Duration::ZERO };
        let mut shutdown = Shutdown::new(Limits { drain_delay, ..Limits::default() });
        let actions = shutdown.on(Event::StopRequested { signal: libc::SIGINT, has_session, is_failing }, start);
        assert_eq!(actions.is_empty(), waits, "{has_session} {is_failing} {drains}");
        assert!(shutdown.is_withdrawing());
    }
}

#[test]
fn withdrawal_at_the_end_has_the_rest_of_the_budget() {
    let start = Instant::now();
    let limits = Limits { stop_budget: Some(4 * SECOND), ..Limits::default() };
    let mut shutdown = Shutdown::new(limits);
    assert_eq!(shutdown.withdrawal_bound(start, 2 * SECOND), None);
    shutdown.on(Event::StopRequested { signal: libc::SIGTERM, has_session: true, is_failing: false }, start);
    assert_eq!(shutdown.withdrawal_bound(start, 2 * SECOND), Some(start + 4 * SECOND));
    shutdown.on(Event::TimerFired, start + 4 * SECOND);
    assert_eq!(shutdown.withdrawal_bound(start, 2 * SECOND), None, "the budget is spent");
}

#[test]
fn withdrawal_after_the_exit_takes_at_most_half_a_second() {
    let start = Instant::now();
    let limits = Limits { deregister_on_exit: true, ..Limits::default() };
    let mut shutdown = Shutdown::new(limits);
    let actions = shutdown.on(Event::Exited { all_gone: true }, start);
    assert_eq!(actions, [ShutdownAction::StopHeartbeats, ShutdownAction::Finish]);
    assert_eq!(shutdown.withdrawal_bound(start, 2 * SECOND), Some(start + SECOND / 2));
}

#[test]
fn watchdog_keeps_the_bound_of_a_stop_that_gave_the_place_up() {
    let start = Instant::now();
    let limits =
        Limits { stop_timeout: Some(5 * SECOND), fence: Some(Fence { timeout: 30 * SECOND }), ..Limits::default() };
    let mut shutdown = Shutdown::new(limits);
    shutdown.on(Event::Registration { confirmed: Some(start), is_lost: false }, start);
    assert_eq!(shutdown.watchdog_deadline(), Some(start + SECOND.mul_f64(28.5)));
    shutdown.on(Event::StopRequested { signal: libc::SIGTERM, has_session: true, is_failing: false }, start);
    shutdown.on(Event::Withdrawn { removed: true }, start);
    assert_eq!(shutdown.on(Event::TimerFired, start), [ShutdownAction::Signal(libc::SIGTERM)]);
    assert_eq!(shutdown.watchdog_deadline(), Some(start + 5 * SECOND));
}

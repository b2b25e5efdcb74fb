//! The order of a stop, as a pure machine: an event and the time go in, actions come out, and the supervisor performs
//! them.
//!
//! A stop withdraws the service first and signals the child afterwards, so that no client is sent to a child that is
//! about to end. It does not wait for a registry that has no session or, without a drain delay, fails at present; the
//! withdrawal then runs beside the signal, since one failed heartbeat says little about the next request. A second
//! signal waits for nothing.

use std::time::Duration;

use nix::libc;
use tokio::time::Instant;

use super::Fence;

/// What a stop may take beyond its budget, for the kernel to remove processes that were killed at its end.
const AFTER_KILL: Duration = Duration::from_secs(1);

/// The longest time that the withdrawal after the child's exit takes.
const AFTER_EXIT: Duration = Duration::from_millis(500);

/// The bounds that the options give.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    /// Between the withdrawal and the child's signal.
    pub drain_delay: Duration,
    /// Between the child's signal and SIGKILL; none for never.
    pub stop_timeout: Option<Duration>,
    /// For the whole stop, from the first signal on.
    pub stop_budget: Option<Duration>,
    /// The service is withdrawn when the child has exited.
    pub deregister_on_exit: bool,
    /// Present with `--on-lost=stop`.
    pub fence: Option<Fence>,
}

/// An event that may matter to a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A signal came that asks the child to end.
    StopRequested { signal: i32, has_session: bool, is_failing: bool },
    /// The withdrawal ended. `removed`: the registry has confirmed that the session is gone.
    Withdrawn { removed: bool },
    /// The registration changed. `confirmed`: the last moment at which the place was certainly the child's.
    Registration { confirmed: Option<Instant>, is_lost: bool },
    /// The child has exited, or a descendant after it.
    Exited { all_gone: bool },
    /// SIGKILL was sent, and only processes are left that the wrapper may not signal.
    OutOfReach,
    /// The time of [`Shutdown::next_timer`] has come.
    TimerFired,
}

/// An action for the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ShutdownAction {
    StopHeartbeats,
    /// Sends a signal that asks the child to end, and continues what is stopped.
    Signal(i32),
    /// Sends a signal to the descendants of a child that has exited.
    TerminateDescendants(i32),
    /// Sends SIGKILL to the child and its descendants.
    Kill,
    Warn(Warning),
    /// Nothing is left to wait for, except a withdrawal (see [`Shutdown::withdrawal_bound`]).
    Finish,
}

/// A line for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warning {
    PlaceLost,
    PlaceUnconfirmed,
    OutOfTime,
    OutOfReach,
    Unkillable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withdrawal {
    NotBegun,
    Running,
    Done,
}

/// The phase of the stop.
#[derive(Debug)]
pub(super) struct Shutdown {
    limits: Limits,
    withdrawal: Withdrawal,
    /// Signals that wait for the withdrawal and the drain delay.
    deferred_signals: Vec<i32>,
    drain_until: Option<Instant>,
    /// When a withdrawal that the child's exit began is abandoned.
    withdrawal_end: Option<Instant>,
    /// When the stop budget ends.
    budget_end: Option<Instant>,
    /// When the remaining processes are killed, or given up after that.
    deadline: Option<Instant>,
    is_killing: bool,
    /// The wrapper may not signal what is left.
    is_out_of_reach: bool,
    has_exited: bool,
    confirmed: Option<Instant>,
    is_fenced: bool,
    has_given_up_place: bool,
    kill_decided: Option<Instant>,
}

impl Shutdown {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            withdrawal: Withdrawal::NotBegun,
            deferred_signals: Vec::new(),
            drain_until: None,
            withdrawal_end: None,
            budget_end: None,
            deadline: None,
            is_killing: false,
            is_out_of_reach: false,
            has_exited: false,
            confirmed: None,
            is_fenced: false,
            has_given_up_place: false,
            kill_decided: None,
        }
    }

    /// The supervisor runs the withdrawal while this is true.
    pub(super) fn is_withdrawing(&self) -> bool {
        self.withdrawal == Withdrawal::Running
    }

    /// SIGKILL was sent.
    pub(super) fn is_killing(&self) -> bool {
        self.is_killing
    }

    /// The fence has stopped the child.
    pub(super) fn is_fenced(&self) -> bool {
        self.is_fenced
    }

    /// A stop has withdrawn the service, so that its place is not the child's any more.
    pub(super) fn has_given_up_place(&self) -> bool {
        self.has_given_up_place
    }

    /// A stop is under way, or the child has exited.
    pub(super) fn has_begun(&self) -> bool {
        self.withdrawal != Withdrawal::NotBegun || self.has_exited || self.is_fenced
    }

    /// When the next [`Event::TimerFired`] is due.
    pub(super) fn next_timer(&self) -> Option<Instant> {
        [self.drain_until, self.kill_at(), self.fence_at()].into_iter().flatten().min()
    }

    /// When a withdrawal that still runs at the end is abandoned; none if no withdrawal is under way. The withdrawal
    /// has a bound of its own, `longest`.
    pub(super) fn withdrawal_bound(&self, now: Instant, longest: Duration) -> Option<Instant> {
        let is_out_of_time = self.is_killing && self.limits.stop_budget.is_some();
        let bound = self.withdrawal_end.into_iter().chain(self.budget_end).min();
        (self.is_withdrawing() && !is_out_of_time).then(|| bound.unwrap_or(now + longest))
    }

    /// When the watchdog kills the child and its descendants if the wrapper cannot: at the fence, or at the bound of a
    /// stop that has given the place up.
    pub(super) fn watchdog_deadline(&self) -> Option<Instant> {
        let is_watched = self.has_given_up_place || self.limits.fence.is_some();
        match self.kill_decided.filter(|_| is_watched) {
            Some(decided) => Some(decided), // the wrapper may be stopped before it has killed anything
            None if self.has_given_up_place => self.deadline,
            None => self.fence_kill_at(),
        }
    }

    /// When the fence has the child and its descendants killed.
    fn fence_kill_at(&self) -> Option<Instant> {
        let fence = self.limits.fence?;
        if self.is_fenced { self.deadline } else { Some(fence.sigkill_at(self.confirmed?)) }
    }

    /// Takes an event; returns what is to be done, in order.
    pub(super) fn on(&mut self, event: Event, now: Instant) -> Vec<ShutdownAction> {
        match event {
            Event::StopRequested { signal, has_session, is_failing } => {
                let can_wait = has_session && !(is_failing && self.limits.drain_delay.is_zero());
                self.stop_requested(signal, can_wait, now)
            }
            Event::Withdrawn { removed } => self.withdrawn(removed, now),
            Event::Registration { confirmed, is_lost } => {
                self.confirmed = confirmed;
                if is_lost { self.place_lost(now) } else { Vec::new() }
            }
            Event::Exited { all_gone } => self.exited(all_gone, now),
            Event::OutOfReach => self.out_of_reach(now),
            Event::TimerFired => self.timer_fired(now),
        }
    }

    fn stop_requested(&mut self, signal: i32, can_wait: bool, now: Instant) -> Vec<ShutdownAction> {
        if self.budget_end.is_none() {
            self.budget_end = self.limits.stop_budget.map(|budget| now + budget);
        }
        self.deferred_signals.push(signal);
        if self.withdrawal == Withdrawal::NotBegun && !self.has_exited {
            self.withdrawal = Withdrawal::Running;
            self.deadline = [self.deadline, self.budget_end].into_iter().flatten().min();
            if can_wait {
                return Vec::new();
            }
        }
        self.send_deferred(now)
    }

    fn withdrawn(&mut self, removed: bool, now: Instant) -> Vec<ShutdownAction> {
        self.withdrawal = Withdrawal::Done;
        if removed {
            // The stop has given the place up itself, and has bounds of its own.
            self.has_given_up_place = self.limits.fence.take().is_some();
        }
        if !self.deferred_signals.is_empty() {
            // A short budget shortens the delay: the child must have time between its signal and SIGKILL.
            let longest = self.limits.stop_budget.map_or(Duration::MAX, |budget| budget / 2);
            self.drain_until = Some(now + self.limits.drain_delay.min(longest));
        }
        Vec::new()
    }

    fn exited(&mut self, all_gone: bool, now: Instant) -> Vec<ShutdownAction> {
        let mut actions = Vec::new();
        if !all_gone {
            let signal = if self.is_killing { libc::SIGKILL } else { libc::SIGTERM };
            actions.push(ShutdownAction::TerminateDescendants(signal));
            self.ensure_kill_deadline(now);
        }
        if !self.has_exited {
            self.has_exited = true;
            actions.push(ShutdownAction::StopHeartbeats);
        }
        // With the fence, no place is given away while a descendant lives.
        let is_free = all_gone || self.limits.fence.is_none();
        if self.limits.deregister_on_exit && self.withdrawal == Withdrawal::NotBegun && is_free {
            self.withdrawal = Withdrawal::Running;
            self.withdrawal_end = Some(now + AFTER_EXIT);
        }
        if all_gone {
            actions.push(ShutdownAction::Finish);
        }
        actions
    }

    fn timer_fired(&mut self, now: Instant) -> Vec<ShutdownAction> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut actions = Vec::new();
        if is_due(self.drain_until) {
            actions.extend(self.send_deferred(now));
        }
        if is_due(self.kill_at()) {
            actions.extend(self.out_of_time(now));
        }
        if is_due(self.fence_at()) {
            actions.extend(self.place_unconfirmed());
        }
        actions
    }

    fn send_deferred(&mut self, now: Instant) -> Vec<ShutdownAction> {
        self.drain_until = None;
        let signals = std::mem::take(&mut self.deferred_signals);
        if !signals.is_empty() {
            self.ensure_kill_deadline(now);
        }
        signals.into_iter().map(ShutdownAction::Signal).collect()
    }

    fn out_of_time(&mut self, now: Instant) -> Vec<ShutdownAction> {
        self.deadline = None;
        if !self.is_killing {
            self.is_killing = true;
            self.kill_decided = Some(now);
            self.ensure_kill_deadline(now);
            return vec![ShutdownAction::Warn(Warning::OutOfTime), ShutdownAction::Kill];
        }
        if self.is_out_of_reach {
            return self.out_of_reach(now);
        }
        if self.has_exited {
            return vec![ShutdownAction::Warn(Warning::Unkillable), ShutdownAction::Finish];
        }
        Vec::new() // the child's exit status is not there yet
    }

    /// Waiting does not help against processes of other users. But a child that runs has its wrapper, until the budget
    /// is over.
    fn out_of_reach(&mut self, now: Instant) -> Vec<ShutdownAction> {
        self.is_out_of_reach = true;
        if self.has_exited || self.budget_end.is_some_and(|end| end <= now) {
            return vec![ShutdownAction::Warn(Warning::OutOfReach), ShutdownAction::Finish];
        }
        self.deadline = self.budget_end;
        Vec::new()
    }

    /// When the remaining processes are killed, or given up after that. The fence holds for descendants as well, but
    /// lets the child end first.
    fn kill_at(&self) -> Option<Instant> {
        let by_fence = self.fence_kill_at().filter(|_| self.has_exited && !self.is_killing);
        self.deadline.into_iter().chain(by_fence).min()
    }

    /// The first reason to stop sets the deadline; the budget bounds it in any case. What was killed gets as much time
    /// again to be gone, and a moment of it even if the budget is over.
    fn ensure_kill_deadline(&mut self, now: Instant) {
        if self.is_killing {
            let again = self.limits.stop_timeout.map(|timeout| now + timeout);
            let budget_end = self.budget_end.map(|end| end.max(now + AFTER_KILL));
            self.deadline = self.deadline.or_else(|| again.into_iter().chain(budget_end).min());
            return;
        }
        let has_own = self.deadline.is_some() && self.deadline != self.budget_end;
        let own = if has_own { self.deadline } else { self.limits.stop_timeout.map(|timeout| now + timeout) };
        self.deadline = own.into_iter().chain(self.budget_end).min();
    }

    /// The fence, while there is a child to stop.
    fn fence(&self) -> Option<Fence> {
        self.limits.fence.filter(|_| !self.has_exited && !self.is_fenced)
    }

    fn fence_at(&self) -> Option<Instant> {
        Some(self.fence()?.sigterm_at(self.confirmed?))
    }

    fn place_lost(&mut self, now: Instant) -> Vec<ShutdownAction> {
        let Some(fence) = self.fence() else { return Vec::new() };
        self.stop_by_fence(Warning::PlaceLost, now + fence.grace())
    }

    fn place_unconfirmed(&mut self) -> Vec<ShutdownAction> {
        let Some((fence, confirmed)) = self.fence().zip(self.confirmed) else { return Vec::new() };
        self.stop_by_fence(Warning::PlaceUnconfirmed, fence.sigkill_at(confirmed))
    }

    fn stop_by_fence(&mut self, warning: Warning, kill_at: Instant) -> Vec<ShutdownAction> {
        self.is_fenced = true;
        self.deadline = Some(self.deadline.map_or(kill_at, |deadline| deadline.min(kill_at)));
        vec![ShutdownAction::Warn(warning), ShutdownAction::StopHeartbeats, ShutdownAction::Signal(libc::SIGTERM)]
    }
}

//! The life of the child and of all that descends from it, until nobody is left: what a signal asks for is done, a stop keeps
//! its order and its times.
//!
//! What a signal means is decided in `decide`; this only does what it says.

mod fence;
pub(crate) mod startup;

pub(crate) use fence::Fence;

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use nix::libc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use crate::options::{OnExit, OnLost};
use crate::process::Family;
use crate::signals::action::decide;
use crate::signals::{Action, Stage};

use crate::options::Parenting;
use crate::options::Plan;
use crate::registration::Standing;
use crate::registration::{Leave, Registration};
use crate::rest::rest;
use crate::signals::disposition;
use crate::signals::{Received, Signals};

/// How the wrapper and the registry part.
pub(crate) struct Parting {
    leave: Leave,
    standing: watch::Receiver<Standing>,
    /// Between the withdrawal and passing SIGTERM on.
    drain_delay: Duration,
    on_exit: OnExit,
    /// If the child is to be stopped before the registry can give its place away.
    fence: Option<Fence>,
}

impl Parting {
    pub(crate) fn of(plan: &Plan, registration: &Registration) -> Self {
        let fence = Fence { timeout: Duration::from_secs(plan.service.interval.into()) };
        Self {
            leave: registration.leave.clone(),
            standing: registration.standing.clone(),
            drain_delay: plan.drain_delay,
            on_exit: plan.on_exit,
            fence: (plan.on_lost == OnLost::Stop).then_some(fence),
        }
    }
}

/// How far the withdrawal is that a stop begins with, or with `--on-exit=deregister` the end of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withdrawal {
    NotAsked,
    UnderWay,
    Done,
}

/// Sees a family through to its end.
pub(crate) struct Supervisor<'a> {
    pub family: Family<'a>,
    parenting: &'a Parenting,
    withdrawal: Withdrawal,
    /// Signals that wait for the withdrawal, and for the end of the drain.
    held: Vec<i32>,
    drained: Option<Instant>,
    /// The end of the stop budget.
    budget: Option<Instant>,
    /// When what is left is killed.
    deadline: Option<Instant>,
    killing: bool,
    /// Whether the child was stopped because its place could be given away.
    pub fenced: bool,
}

/// What comes next.
enum Next {
    Signal(Received),
    /// Whether the registry has taken it.
    Withdrawn(bool),
    Drained,
    TimeIsUp,
    Fence,
    /// The registration stands differently.
    Standing,
}

impl<'a> Supervisor<'a> {
    pub(crate) fn new(family: Family<'a>, parenting: &'a Parenting) -> Self {
        Self {
            family,
            parenting,
            withdrawal: Withdrawal::NotAsked,
            held: Vec::new(),
            drained: None,
            budget: None,
            deadline: None,
            killing: false,
            fenced: false,
        }
    }

    /// Runs until the child has ended and, unless orphans are to be left, nothing of it is left; says how it ended.
    pub(crate) async fn until_gone(&mut self, signals: &mut Signals, mut parting: Parting) -> Result<ExitStatus> {
        let leave = parting.leave.clone();
        let withdrawn = async move { leave.withdraw().await };
        tokio::pin!(withdrawn);
        let mut stopped = false;
        let gone = loop {
            let fence = parting.fence.filter(|_| self.family.ended().is_none() && !self.fenced);
            let is_fenced_in = fence.is_some();
            let fence = fence.and_then(|fence| parting.standing.borrow().stop_at(fence));
            let at_fence = async {
                match fence {
                    Some(at) => rest(at.duration_since(Instant::now())).await,
                    None => std::future::pending().await, // there is none, or nothing was accepted yet
                }
            };
            let next = tokio::select! {
                signal = signals.next() => Next::Signal(signal?),
                removed = &mut withdrawn, if self.withdrawal == Withdrawal::UnderWay => Next::Withdrawn(removed),
                () = sleep_until(self.drained.unwrap_or_else(Instant::now)), if self.drained.is_some() => Next::Drained,
                () = sleep_until(self.deadline.unwrap_or_else(Instant::now)), if self.deadline.is_some() => Next::TimeIsUp,
                () = at_fence => Next::Fence,
                Ok(()) = parting.standing.changed(), if is_fenced_in => Next::Standing,
            };
            let gone = match next {
                Next::Signal(signal) => self.take(signal, &parting),
                Next::Withdrawn(removed) => self.withdrawn(removed, &mut parting),
                Next::Drained => self.stop(),
                Next::TimeIsUp => self.time_is_up(),
                Next::Fence => self.fence(&parting),
                Next::Standing => None,
            };
            if self.family.ended().is_some() && !std::mem::replace(&mut stopped, true) {
                parting.leave.stop_heartbeats();
                if parting.on_exit == OnExit::Deregister && self.withdrawal == Withdrawal::NotAsked {
                    self.withdrawal = Withdrawal::UnderWay;
                }
            }
            if let Some(status) = gone {
                break status;
            }
            tokio::task::yield_now().await; // to heartbeats and clocks, however many signals come in
        };
        let out_of_time = self.killing && self.parenting.stop_budget.is_some();
        if self.withdrawal == Withdrawal::UnderWay && !out_of_time {
            match self.budget {
                Some(budget) => drop(timeout_at(budget, withdrawn).await),
                None => drop(withdrawn.await),
            }
        }
        self.family.take_back_foreground();
        Ok(gone)
    }

    /// Does what a signal asks for. The child's status when all is over.
    fn take(&mut self, signal: Received, parting: &Parting) -> Option<ExitStatus> {
        self.family.hear(signal);
        match decide(Stage::Running, signal, false, self.family.shares_group()) {
            Action::Reap => return self.look_after_all(),
            Action::HandOver => self.family.hand_over(signal.number),
            Action::Forward if matches!(signal.number, libc::SIGTERM | libc::SIGINT) => {
                self.begin_to_stop(signal.number, parting);
            }
            Action::Forward => self.family.pass_on(signal.number),
            Action::Stop | Action::Keep | Action::GiveUp | Action::Ignore => {}
        }
        None
    }

    /// The child's status when all is over.
    fn look_after_all(&mut self) -> Option<ExitStatus> {
        if self.family.look_after_all() {
            return self.family.ended();
        }
        if self.family.ended().is_some() {
            self.family.end_the_rest(if self.killing { libc::SIGKILL } else { libc::SIGTERM });
            self.set_deadline();
        }
        None
    }

    /// First out of the registry, then the signal: so nobody is sent to a child that is about to end. A second signal
    /// waits for nothing, and neither does the first when the registry does not answer at present. The withdrawal goes on
    /// behind it: one heartbeat that failed says little about the next request.
    fn begin_to_stop(&mut self, signal: i32, parting: &Parting) {
        if disposition::ignored(signal) || self.parenting.rewritten(signal) == 0 {
            return self.family.pass_on(signal); // the child will not hear it: it is no request to stop
        }
        if self.budget.is_none() {
            self.budget = self.parenting.stop_budget.map(|budget| Instant::now() + budget);
        }
        let (is_open, is_silent) = {
            let standing = parting.standing.borrow();
            (standing.session.is_some(), standing.last_error.is_some())
        };
        let nothing_to_wait_for = !is_open || (is_silent && parting.drain_delay.is_zero());
        self.held.push(signal);
        if self.withdrawal == Withdrawal::NotAsked && self.family.ended().is_none() {
            self.withdrawal = Withdrawal::UnderWay;
            // The end of the budget is also the end of the waiting.
            self.deadline = self.deadline.or(self.budget);
            if !nothing_to_wait_for {
                return;
            }
        }
        self.stop();
    }

    fn withdrawn(&mut self, removed: bool, parting: &mut Parting) -> Option<ExitStatus> {
        self.withdrawal = Withdrawal::Done;
        if removed {
            parting.fence = None; // its place is given up already, and the stop has bounds of its own
        }
        if !self.held.is_empty() {
            // A short budget shortens the delay: the child must have time to hear SIGTERM before it is killed.
            let most = self.parenting.stop_budget.map_or(Duration::MAX, |budget| budget / 2);
            self.drained = Some(Instant::now() + parting.drain_delay.min(most));
        }
        None
    }

    /// Passes on what waited for the withdrawal.
    fn stop(&mut self) -> Option<ExitStatus> {
        self.drained = None;
        for signal in std::mem::take(&mut self.held) {
            self.family.ask_to_end(signal);
            self.set_deadline();
        }
        None
    }

    /// The place is given away, or was certain so long ago that the registry may soon give it away.
    fn fence(&mut self, parting: &Parting) -> Option<ExitStatus> {
        let (lost, certain) = {
            let standing = parting.standing.borrow();
            (standing.lost.clone(), standing.certain())
        };
        let last = match &lost {
            Some(lost) => {
                warn!("{lost}; stopping the command, whose place is lost");
                parting.fence.map(|fence| Instant::now() + fence.grace())
            }
            None => {
                warn!(
                    "the registration has not been confirmed for too long; stopping the command before its place can be given away"
                );
                parting.fence.zip(certain).map(|(fence, certain)| fence.kills(certain))
            }
        };
        self.fenced = true;
        parting.leave.stop_heartbeats();
        self.family.ask_to_end(libc::SIGTERM);
        self.deadline = self.deadline.into_iter().chain(last).min();
        None
    }

    /// The first reason to stop counts, and the budget in any case.
    fn set_deadline(&mut self) {
        let timeout = self.parenting.stop_timeout.map(|timeout| Instant::now() + timeout);
        if self.deadline.is_none() || self.deadline == self.budget {
            self.deadline = timeout.into_iter().chain(self.budget).min();
        }
    }

    fn time_is_up(&mut self) -> Option<ExitStatus> {
        self.deadline = None;
        self.budget = None;
        if self.killing {
            let status = self.family.ended()?;
            warn!("leaving processes that cannot be killed (they wait inside the kernel) or found (there is no /proc)");
            return Some(status);
        }
        warn!("the time to stop is up; killing what is left");
        self.killing = true;
        self.family.kill();
        self.set_deadline();
        None
    }
}

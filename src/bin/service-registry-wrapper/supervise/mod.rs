//! The life of the child and of all that descends from it, until nobody is left: what a signal asks for is done, a stop keeps
//! its order and its times.
//!
//! What a signal means is decided in `decide`; this only does what it says.

mod fence;
pub(super) mod startup;

pub(crate) use fence::Fence;

use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use nix::libc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::warn;

use crate::options::{OnExit, OnLost};
use crate::process::ProcessTree;
use crate::signals::action::decide;
use crate::signals::{Action, Stage};

use crate::options::ChildConfig;
use crate::options::WrapperConfig;
use crate::registration::RegistrationStatus;
use crate::registration::{Registration, Withdrawer};
use crate::rest::rest;
use crate::signals::disposition;
use crate::signals::{Received, Signals};

/// How the wrapper and the registry part.
pub(super) struct ShutdownPolicy {
    leave: Withdrawer,
    status_now: watch::Receiver<RegistrationStatus>,
    /// Between the withdrawal and passing SIGTERM on.
    drain_delay: Duration,
    on_exit: OnExit,
    /// If the child is to be stopped before the registry can give its place away.
    fence: Option<Fence>,
}

impl ShutdownPolicy {
    pub(super) fn of(config: &WrapperConfig, registration: &Registration) -> Self {
        let fence = Fence { timeout: Duration::from_secs(config.service.interval.into()) };
        Self {
            leave: registration.leave.clone(),
            status_now: registration.status_now.clone(),
            drain_delay: config.drain_delay,
            on_exit: config.on_exit,
            fence: (config.on_lost == OnLost::Stop).then_some(fence),
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
pub(super) struct Supervisor<'a> {
    pub tree: ProcessTree<'a>,
    child_config: &'a ChildConfig,
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
    RegistrationStatus,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(tree: ProcessTree<'a>, child_config: &'a ChildConfig) -> Self {
        Self {
            tree,
            child_config,
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
    pub(super) async fn until_gone(&mut self, signals: &mut Signals, mut policy: ShutdownPolicy) -> Result<ExitStatus> {
        let leave = policy.leave.clone();
        let withdrawn = async move { leave.withdraw().await };
        tokio::pin!(withdrawn);
        let mut stopped = false;
        let gone = loop {
            let fence = policy.fence.filter(|_| self.tree.ended().is_none() && !self.fenced);
            let is_fenced_in = fence.is_some();
            let fence = fence.and_then(|fence| policy.status_now.borrow().stop_at(fence));
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
                Ok(()) = policy.status_now.changed(), if is_fenced_in => Next::RegistrationStatus,
            };
            let gone = match next {
                Next::Signal(signal) => self.take(signal, &policy),
                Next::Withdrawn(removed) => self.withdrawn(removed, &mut policy),
                Next::Drained => self.stop(),
                Next::TimeIsUp => self.time_is_up(),
                Next::Fence => self.fence(&policy),
                Next::RegistrationStatus => None,
            };
            if self.tree.ended().is_some() && !std::mem::replace(&mut stopped, true) {
                policy.leave.stop_heartbeats();
                if policy.on_exit == OnExit::Deregister && self.withdrawal == Withdrawal::NotAsked {
                    self.withdrawal = Withdrawal::UnderWay;
                }
            }
            if let Some(status) = gone {
                break status;
            }
            tokio::task::yield_now().await; // to heartbeats and clocks, however many signals come in
        };
        let out_of_time = self.killing && self.child_config.stop_budget.is_some();
        if self.withdrawal == Withdrawal::UnderWay && !out_of_time {
            match self.budget {
                Some(budget) => drop(timeout_at(budget, withdrawn).await),
                None => drop(withdrawn.await),
            }
        }
        self.tree.take_back_foreground();
        Ok(gone)
    }

    /// Does what a signal asks for. The child's status when all is over.
    fn take(&mut self, signal: Received, policy: &ShutdownPolicy) -> Option<ExitStatus> {
        self.tree.hear(signal);
        match decide(Stage::Running, signal, false, self.tree.shares_group()) {
            Action::Reap => return self.reap_all(),
            Action::HandOver => self.tree.give_foreground(signal.number),
            Action::Forward if matches!(signal.number, libc::SIGTERM | libc::SIGINT) => {
                self.begin_to_stop(signal.number, policy);
            }
            Action::Forward => self.tree.forward(signal.number),
            Action::Stop | Action::Defer | Action::Abort | Action::Ignore => {}
        }
        None
    }

    /// The child's status when all is over.
    fn reap_all(&mut self) -> Option<ExitStatus> {
        if self.tree.reap_all() {
            return self.tree.ended();
        }
        if self.tree.ended().is_some() {
            self.tree.terminate_descendants(if self.killing { libc::SIGKILL } else { libc::SIGTERM });
            self.set_deadline();
        }
        None
    }

    /// First out of the registry, then the signal: so nobody is sent to a child that is about to end. A second signal
    /// waits for nothing, and neither does the first when the registry does not answer at present. The withdrawal goes on
    /// behind it: one heartbeat that failed says little about the next request.
    fn begin_to_stop(&mut self, signal: i32, policy: &ShutdownPolicy) {
        if disposition::ignored(signal) || self.child_config.rewritten(signal) == 0 {
            return self.tree.forward(signal); // the child will not hear it: it is no request to stop
        }
        if self.budget.is_none() {
            self.budget = self.child_config.stop_budget.map(|budget| Instant::now() + budget);
        }
        let (is_open, is_silent) = {
            let status_now = policy.status_now.borrow();
            (status_now.session.is_some(), status_now.last_error.is_some())
        };
        let nothing_to_wait_for = !is_open || (is_silent && policy.drain_delay.is_zero());
        self.held.push(signal);
        if self.withdrawal == Withdrawal::NotAsked && self.tree.ended().is_none() {
            self.withdrawal = Withdrawal::UnderWay;
            // The end of the budget is also the end of the waiting.
            self.deadline = self.deadline.or(self.budget);
            if !nothing_to_wait_for {
                return;
            }
        }
        self.stop();
    }

    fn withdrawn(&mut self, removed: bool, policy: &mut ShutdownPolicy) -> Option<ExitStatus> {
        self.withdrawal = Withdrawal::Done;
        if removed {
            policy.fence = None; // its place is given up already, and the stop has bounds of its own
        }
        if !self.held.is_empty() {
            // A short budget shortens the delay: the child must have time to hear SIGTERM before it is killed.
            let most = self.child_config.stop_budget.map_or(Duration::MAX, |budget| budget / 2);
            self.drained = Some(Instant::now() + policy.drain_delay.min(most));
        }
        None
    }

    /// Passes on what waited for the withdrawal.
    fn stop(&mut self) -> Option<ExitStatus> {
        self.drained = None;
        for signal in std::mem::take(&mut self.held) {
            self.tree.ask_to_end(signal);
            self.set_deadline();
        }
        None
    }

    /// The place is given away, or was certain so long ago that the registry may soon give it away.
    fn fence(&mut self, policy: &ShutdownPolicy) -> Option<ExitStatus> {
        let (lost, certain) = {
            let status_now = policy.status_now.borrow();
            (status_now.lost.clone(), status_now.certain())
        };
        let last = match &lost {
            Some(lost) => {
                warn!("{lost}; stopping the command, whose place is lost");
                policy.fence.map(|fence| Instant::now() + fence.grace())
            }
            None => {
                warn!(
                    "the registration has not been confirmed for too long; stopping the command before its place can be given away"
                );
                policy.fence.zip(certain).map(|(fence, certain)| fence.kills(certain))
            }
        };
        self.fenced = true;
        policy.leave.stop_heartbeats();
        self.tree.ask_to_end(libc::SIGTERM);
        self.deadline = self.deadline.into_iter().chain(last).min();
        None
    }

    /// The first reason to stop counts, and the budget in any case.
    fn set_deadline(&mut self) {
        let timeout = self.child_config.stop_timeout.map(|timeout| Instant::now() + timeout);
        if self.deadline.is_none() || self.deadline == self.budget {
            self.deadline = timeout.into_iter().chain(self.budget).min();
        }
    }

    fn time_is_up(&mut self) -> Option<ExitStatus> {
        self.deadline = None;
        self.budget = None;
        if self.killing {
            let status = self.tree.ended()?;
            warn!("leaving processes that cannot be killed (they wait inside the kernel) or found (there is no /proc)");
            return Some(status);
        }
        warn!("the time to stop is up; killing what is left");
        self.killing = true;
        self.tree.kill();
        self.set_deadline();
        None
    }
}

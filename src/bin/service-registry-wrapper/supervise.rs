//! The life of the child and of all that descends from it: signals are passed on, the dead are buried, what is left over
//! is ended.
//!
//! What a signal means is decided in `decide`; the loops only do what it says.

use std::collections::HashSet;
use std::future::Future;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Result;
use nix::libc::{self, pid_t};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{debug, info, warn};

use crate::child::{self, Change};
use crate::cli::{OnExit, Scope};
use crate::decide::{Action, Stage, decide};
use crate::fence::Fence;
use crate::foreground::Foreground;
use crate::parenting::Parenting;
use crate::register::Leave;
use crate::signals::{self, Received, Signals};
use crate::standing::Standing;
use crate::terminal::{Stop, stop_by};
use crate::{inherited, tree};

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
        match decide(Stage::Starting, signal, inherited::ignored(signal.number), false) {
            Action::GiveUp => return Ok(Start::Signalled(signal.number)),
            Action::Keep => kept.push(signal.number),
            Action::Reap => while matches!(child::next_change(), Change::Ended(..) | Change::Stopped(..)) {},
            Action::Stop => drop(stop_by(signal.number, Stop::Wrapper)),
            Action::Forward | Action::HandOver | Action::Ignore => {}
        }
    }
}

/// How the wrapper and the registry part.
pub(crate) struct Parting {
    pub leave: Leave,
    pub standing: watch::Receiver<Standing>,
    /// Between the withdrawal and passing SIGTERM on.
    pub drain_delay: Duration,
    pub on_exit: OnExit,
    /// If the child is to be stopped before the registry can give its place away.
    pub fence: Option<Fence>,
}

/// How far the withdrawal is that a stop begins with, or with `--on-exit=deregister` the end of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Withdrawal {
    NotAsked,
    UnderWay,
    Done,
}

/// A running child and what descends from it.
pub(crate) struct Family<'a> {
    child: pid_t,
    parenting: &'a Parenting,
    foreground: Foreground<'a>,
    withdrawal: Withdrawal,
    /// Signals that wait for the withdrawal, and for the end of the drain.
    held: Vec<i32>,
    drained: Option<Instant>,
    /// The end of the stop budget.
    budget: Option<Instant>,
    /// How the child ended.
    ended: Option<ExitStatus>,
    /// When what is left is killed.
    deadline: Option<Instant>,
    killing: bool,
    /// Who was told to end since the child did.
    told: HashSet<pid_t>,
    /// Whether the log says that they are.
    said: bool,
    /// Whether the child was stopped because its place could be given away.
    pub fenced: bool,
    /// Children that the wrapper was born with: a shell that became the wrapper had started them. They are not the child's.
    strangers: HashSet<pid_t>,
    /// What the child was sent.
    forwarded: HashSet<i32>,
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

impl<'a> Family<'a> {
    pub(crate) fn new(
        child: pid_t,
        parenting: &'a Parenting,
        foreground: Foreground<'a>,
        strangers: HashSet<pid_t>,
    ) -> Self {
        Self {
            child,
            parenting,
            foreground,
            withdrawal: Withdrawal::NotAsked,
            held: Vec::new(),
            drained: None,
            budget: None,
            ended: None,
            deadline: None,
            killing: false,
            told: HashSet::new(),
            said: false,
            fenced: false,
            strangers,
            forwarded: HashSet::new(),
        }
    }

    /// Runs until the child has ended and, unless orphans are to be left, nothing of it is left; says how it ended.
    pub(crate) async fn until_gone(&mut self, signals: &mut Signals, mut parting: Parting) -> Result<ExitStatus> {
        let leave = parting.leave.clone();
        let withdrawn = async move { leave.withdraw().await };
        tokio::pin!(withdrawn);
        let mut stopped = false;
        let gone = loop {
            let fence = parting.fence.filter(|_| self.ended.is_none() && !self.fenced);
            let fence = fence.and_then(|fence| Some(fence.asks(parting.standing.borrow().accepted?)));
            let next = tokio::select! {
                biased;
                signal = signals.next() => Next::Signal(signal?),
                removed = &mut withdrawn, if self.withdrawal == Withdrawal::UnderWay => Next::Withdrawn(removed),
                () = sleep_until(self.drained.unwrap_or_else(Instant::now)), if self.drained.is_some() => Next::Drained,
                () = sleep_until(self.deadline.unwrap_or_else(Instant::now)), if self.deadline.is_some() => Next::TimeIsUp,
                () = sleep_until(fence.unwrap_or_else(Instant::now)), if fence.is_some() => Next::Fence,
                Ok(()) = parting.standing.changed(), if fence.is_some() => Next::Standing,
            };
            let gone = match next {
                Next::Signal(signal) => self.take(signal, &parting),
                Next::Withdrawn(removed) => self.withdrawn(removed, &mut parting),
                Next::Drained => self.stop(),
                Next::TimeIsUp => self.time_is_up(),
                Next::Fence => self.fence(&parting),
                Next::Standing => None,
            };
            if self.ended.is_some() && !std::mem::replace(&mut stopped, true) {
                parting.leave.stop_heartbeats();
                if parting.on_exit == OnExit::Deregister && self.withdrawal == Withdrawal::NotAsked {
                    self.withdrawal = Withdrawal::UnderWay;
                }
            }
            if let Some(status) = gone {
                break status;
            }
        };
        let out_of_time = self.killing && self.parenting.stop_budget.is_some();
        if self.withdrawal == Withdrawal::UnderWay && !out_of_time {
            match self.budget {
                Some(budget) => drop(timeout_at(budget, withdrawn).await),
                None => drop(withdrawn.await),
            }
        }
        self.foreground.take_back();
        Ok(gone)
    }

    /// Whether a key (Ctrl-C) ended the child.
    pub(crate) fn was_interrupted(&self, status: ExitStatus) -> bool {
        self.foreground.was_interrupted(status, &self.forwarded)
    }

    /// Does what a signal asks for. The child's status when all is over.
    fn take(&mut self, signal: Received, parting: &Parting) -> Option<ExitStatus> {
        self.foreground.hear(signal);
        match decide(Stage::Running, signal, false, self.parenting.scope == Scope::Child) {
            Action::Reap => return self.look_after_all(),
            Action::HandOver => {
                self.foreground.hand_over();
                self.pass_on(signal.number);
            }
            Action::Forward if matches!(signal.number, libc::SIGTERM | libc::SIGINT) => {
                self.begin_to_stop(signal.number, parting);
            }
            Action::Forward => self.pass_on(signal.number),
            Action::Stop | Action::Keep | Action::GiveUp | Action::Ignore => {}
        }
        None
    }

    /// First out of the registry, then the signal: so nobody is sent to a child that is about to end. A second signal
    /// waits for nothing, and neither does the first when the registry does not answer at present. The withdrawal goes on
    /// behind it: one heartbeat that failed says little about the next request.
    fn begin_to_stop(&mut self, signal: i32, parting: &Parting) {
        if inherited::ignored(signal) {
            return self.pass_on(signal); // so does the child; it is no request to stop
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
        if self.withdrawal == Withdrawal::NotAsked && self.ended.is_none() && self.parenting.rewritten(signal) != 0 {
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
            self.pass_on(signal);
            self.set_deadline();
        }
        None
    }

    /// The last heartbeat that was certainly accepted is so old that the registry may soon give the place away.
    fn fence(&mut self, parting: &Parting) -> Option<ExitStatus> {
        warn!("no heartbeat has been accepted for too long; stopping the command before its place can be given away");
        self.fenced = true;
        parting.leave.stop_heartbeats();
        self.pass_on(libc::SIGTERM);
        let last = parting.fence.zip(parting.standing.borrow().accepted);
        let last = last.map(|(fence, accepted)| fence.kills(accepted));
        self.deadline = self.deadline.into_iter().chain(last).min();
        None
    }

    /// Whom signals are sent to.
    fn whole(&self) -> pid_t {
        if self.parenting.scope == Scope::Group { -self.child } else { self.child }
    }

    pub(crate) fn pass_on(&mut self, signal: i32) {
        let rewritten = self.parenting.rewritten(signal);
        if rewritten == 0 {
            debug!(signal = signals::name(signal), "dropped");
            return;
        }
        debug!(signal = signals::name(signal), as_signal = signals::name(rewritten), "passed on");
        if self.ended.is_some() {
            tree::signal_all(rewritten, &mut HashSet::new(), &self.strangers);
        } else if rewritten == libc::SIGCONT {
            if !self.foreground.went_on_together() {
                self.go_on();
            }
        } else {
            self.forwarded.insert(rewritten);
            self.send(rewritten);
        }
    }

    /// The first reason to stop counts, and the budget in any case.
    fn set_deadline(&mut self) {
        let timeout = self.parenting.stop_timeout.map(|timeout| Instant::now() + timeout);
        if self.deadline.is_none() || self.deadline == self.budget {
            self.deadline = timeout.into_iter().chain(self.budget).min();
        }
    }

    /// What `fg` and `bg` do: the child goes on, in the foreground if the wrapper was put there.
    fn go_on(&self) {
        self.foreground.hand_over();
        self.send(libc::SIGCONT);
    }

    /// A child that has left its group for another one is still the child.
    fn send(&self, signal: i32) {
        if !child::send(self.whole(), signal) {
            child::send(self.child, signal);
        }
    }

    /// One SIGCHLD may stand for many. The child's status when all is over.
    fn look_after_all(&mut self) -> Option<ExitStatus> {
        let mut childless = false;
        loop {
            match child::next_change() {
                Change::Ended(process, status) if process == self.child => self.ended = Some(status),
                Change::Ended(process, _) => self.buried(process),
                Change::Stopped(process, signal) if process == self.child => {
                    // What ended a stop is read like any other signal; without one it is on us.
                    if !self.foreground.stopped_by(signal) {
                        self.go_on();
                    }
                }
                Change::Stopped(..) => {}
                Change::None => break,
                Change::Childless => {
                    childless = true;
                    break;
                }
            }
        }
        let status = self.ended?;
        if childless || self.parenting.leave_orphans || tree::descendants(&self.strangers).is_empty() {
            return Some(status);
        }
        self.end_the_rest();
        None
    }

    fn buried(&mut self, process: pid_t) {
        self.told.remove(&process);
        if self.strangers.remove(&process) {
            return;
        }
        if self.parenting.warn_on_reap {
            warn!("buried process {process}, whose parent did not wait for it");
        } else {
            debug!(pid = process, "buried an orphan");
        }
    }

    /// What the child left behind is asked to end, and those who were adopted since the last time.
    fn end_the_rest(&mut self) {
        if !std::mem::replace(&mut self.said, true) {
            info!("the command has ended; ending what it left behind");
        }
        let signal = if self.killing { libc::SIGKILL } else { libc::SIGTERM };
        tree::signal_all(signal, &mut self.told, &self.strangers);
        self.set_deadline();
    }

    fn time_is_up(&mut self) -> Option<ExitStatus> {
        self.deadline = None;
        self.budget = None;
        if self.killing {
            let status = self.ended?;
            warn!("some processes cannot even be killed (they wait inside the kernel); leaving them");
            return Some(status);
        }
        warn!("the time to stop is up; killing what is left");
        self.killing = true;
        self.told.clear();
        tree::signal_all(libc::SIGKILL, &mut self.told, &self.strangers);
        self.set_deadline();
        None
    }
}

//! The child's life, until it and its descendants are gone: performs what signals ask for, and keeps the order and the
//! bounds of a stop.
//!
//! In reading order: `startup` is the time before there is a child; this file is the loop; `shutdown` decides, as a
//! pure machine, what a stop does next; `fence` says when a child that cannot be kept registered is stopped; `panic`
//! keeps a defect of the wrapper from the child.

mod fence;
mod panic;
mod shutdown;
#[cfg(test)]
mod shutdown_test;
pub(super) mod startup;

pub(crate) use fence::Fence;
pub(crate) use panic::catch;

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::{Result, anyhow};
use nix::libc;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::{info, warn};

use crate::boot_time::{BootSleep, BootTime};
use crate::exit::{self, Ending, Failure};
use crate::options::{ChildConfig, OnExit, OnNotReady, OnUnhealthy, WrapperConfig};
use crate::process::{ProcessTree, Watchdog};
use crate::registration::{Desired, Registration, RegistrationStatus, WITHDRAWAL, Withdrawer};
use crate::signals::action::decide;
use crate::signals::{self, Action as SignalAction, Received, Signals, Stage};
use shutdown::{Event, Limits, Shutdown, ShutdownAction, Warning};

/// Supervises the process tree of the child.
pub(super) struct Supervisor<'a> {
    tree: ProcessTree<'a>,
    config: &'a WrapperConfig,
    shutdown: Shutdown,
    withdrawer: Withdrawer,
    watchdog: Option<&'a mut Watchdog>,
    status: watch::Receiver<RegistrationStatus>,
    desired: Desired,
    started: Instant,
    /// An option may ask for a stop that no signal asks for.
    may_stop: bool,
    /// Why such a stop was begun.
    stop_reason: Option<String>,
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(tree: ProcessTree<'a>, config: &'a WrapperConfig, registration: &Registration) -> Self {
        let (withdrawer, status) = (registration.withdrawer.clone(), registration.status.clone());
        let (id, pid) = (&config.service.id, tree.child());
        info!(id, pid, "{id}: started, pid {pid}");
        Self {
            tree,
            config,
            shutdown: Shutdown::new(limits(config)),
            withdrawer,
            watchdog: None,
            status,
            desired: registration.desired.clone(),
            started: Instant::now(),
            may_stop: config.readiness.on_not_ready == OnNotReady::Stop
                || config.health.as_ref().is_some_and(|health| health.on_unhealthy == OnUnhealthy::Stop),
            stop_reason: None,
        }
    }

    /// Forwards signals that came before there was a child.
    pub(super) fn forward_deferred(&mut self, signals: &[i32]) {
        signals.iter().for_each(|signal| self.tree.forward(*signal));
    }

    /// Runs until the child has exited and, unless orphans are to be left, none of its descendants is left. Returns its
    /// status.
    pub(super) async fn until_gone(&mut self, signals: &mut Signals) -> Result<ExitStatus> {
        let withdrawer = self.withdrawer.clone();
        let withdrawal = async move { withdrawer.withdraw().await };
        tokio::pin!(withdrawal);
        let fence = Fence::of(self.config);
        // tokio's timers stand still while the machine is suspended.
        let mut fence_timer = fence.map(|_| BootSleep::new()).transpose()?;
        self.status.mark_changed();
        let status = loop {
            let event = tokio::select! {
                signal = signals.next() => self.signal_event(signal?),
                removed = &mut withdrawal, if self.shutdown.is_withdrawing() => Some(Event::Withdrawn { removed }),
                () = at(self.shutdown.next_timer()) => Some(Event::TimerFired),
                Ok(()) = self.status.changed(), if fence.is_some() => Some(self.registration_event()),
                () = fired(&mut fence_timer) => Some(self.registration_event()),
                why = self.desired.stop_requested(), if self.may_stop => self.stop_for(why),
            };
            if let Some(event) = event
                && let Some(status) = self.perform(event)
            {
                break status;
            }
            if let Some((fence, timer)) = fence.zip(fence_timer.as_mut()) {
                timer.set(self.status.borrow().confirmed().map(|confirmed| fence.sigterm_at(confirmed)))?;
            }
            tokio::task::yield_now().await; // to heartbeats and timers, however many signals arrive
        };
        if let Some(bound) = self.shutdown.withdrawal_bound(Instant::now(), WITHDRAWAL)
            && timeout_at(bound, withdrawal).await.is_err()
        {
            info!("the registry has not confirmed the withdrawal in time; the session is left to expire");
        }
        self.tree.take_back_foreground();
        Ok(status)
    }

    /// Ends the child as a SIGTERM to the wrapper does, after the wrapper itself has failed.
    pub(super) async fn shut_down(&mut self, signals: &mut Signals) -> Result<ExitStatus, Failure> {
        self.shutdown = Shutdown::new(limits(self.config));
        self.withdrawer.because("the wrapper failed");
        let request = self.stop_request(libc::SIGTERM);
        if let Some(status) = self.perform(request) {
            return Ok(status);
        }
        Ok(self.until_gone(signals).await?)
    }

    /// Turns the child's status into the wrapper's, and logs how the child has ended.
    pub(super) fn ending(&self, status: ExitStatus) -> Result<Ending, Failure> {
        self.log_end(status);
        let was_killed = status.signal() == Some(libc::SIGKILL) && !self.shutdown.has_given_up_place();
        let has_fired = was_killed && self.watchdog.as_ref().is_some_and(|watchdog| watchdog.has_fired());
        if has_fired && !self.shutdown.is_fenced() {
            warn!(
                "the wrapper did not run for too long; its watchdog has killed the command before another process \
                 could take its place"
            );
        }
        if self.shutdown.is_fenced() || has_fired {
            let id = &self.config.service.id;
            let why = anyhow!("{id} could not be kept registered, and --on-lost=stop is in force");
            return Err(Failure::new(exit::NOT_REGISTERED, why));
        }
        if let Some(why) = &self.stop_reason {
            let why = anyhow!("{}: the command was stopped: {why}", self.config.service.id);
            return Err(Failure::new(exit::NOT_REGISTERED, why));
        }
        Ok(Ending::of_child(status, self.tree.was_interrupted(status), &self.config.child_config))
    }

    /// Performs what a signal asks for; returns the event for the stop if it matters there.
    fn signal_event(&mut self, signal: Received) -> Option<Event> {
        #[cfg(debug_assertions)]
        if signal.number == libc::SIGUSR1 {
            panic::panic_point("signal");
        }
        self.tree.record_key(signal);
        let is_ignored = signals::is_ignored(signal.number) || self.child_config().rewritten(signal.number) == 0;
        match decide(Stage::Running, signal, is_ignored, self.tree.shares_group()) {
            SignalAction::Reap => {
                let all_gone = self.tree.reap_all();
                let status = self.tree.exit_status()?;
                let is_fenced = self.shutdown.is_fenced();
                self.withdrawer.because(&if is_fenced { FENCED.to_owned() } else { describe(status) });
                return Some(Event::Exited { all_gone });
            }
            SignalAction::RequestStop => {
                self.withdrawer.because(&format!("stopped by {}", signals::name(signal.number)));
                return Some(self.stop_request(signal.number));
            }
            SignalAction::ForwardInForeground => self.tree.give_foreground(signal.number),
            SignalAction::Forward => self.tree.forward(signal.number),
            SignalAction::Suspend | SignalAction::Defer | SignalAction::Abort | SignalAction::Ignore => {}
        }
        None
    }

    /// Begins a stop as SIGTERM does, unless one is under way.
    fn stop_for(&mut self, why: String) -> Option<Event> {
        self.may_stop = false;
        if self.shutdown.has_begun() {
            return None;
        }
        warn!("{why}; stopping the command");
        self.withdrawer.because(&why);
        self.stop_reason = Some(why);
        Some(self.stop_request(libc::SIGTERM))
    }

    fn stop_request(&self, signal: i32) -> Event {
        let status = self.status.borrow();
        let (has_session, is_failing) = (status.session.is_some(), status.last_error.is_some());
        Event::StopRequested { signal, has_session, is_failing }
    }

    fn registration_event(&mut self) -> Event {
        let status = self.status.borrow_and_update();
        Event::Registration { confirmed: status.confirmed().map(BootTime::to_instant), is_lost: status.lost.is_some() }
    }

    fn arm_watchdog(&mut self) {
        let deadline = self.shutdown.watchdog_deadline().map(BootTime::of);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.arm(deadline);
        }
    }

    /// Performs what the shutdown decides. Returns the child's status once all is over.
    fn perform(&mut self, event: Event) -> Option<ExitStatus> {
        let mut is_finished = false;
        let actions = self.shutdown.on(event, Instant::now());
        self.arm_watchdog(); // first: the wrapper may be stopped at any moment
        for action in actions {
            match action {
                ShutdownAction::StopHeartbeats => self.withdrawer.stop_heartbeats(),
                ShutdownAction::Signal(signal) => self.tree.ask_to_end(signal),
                ShutdownAction::TerminateDescendants(signal) => self.tree.terminate_descendants(signal),
                ShutdownAction::Kill => self.tree.kill(),
                ShutdownAction::Warn(warning) => self.warn(warning),
                ShutdownAction::Finish => is_finished = true,
            }
        }
        self.tree.exit_status().filter(|_| is_finished)
    }

    fn warn(&self, warning: Warning) {
        match warning {
            Warning::PlaceLost => {
                let lost = self.status.borrow().lost.clone().unwrap_or_default();
                warn!("{lost}; stopping the command, because another process may take its place");
            }
            Warning::PlaceUnconfirmed => warn!(
                "the registry has not confirmed the registration for too long; stopping the command before another \
                 process can take its place"
            ),
            Warning::OutOfTime => warn!("the time to stop is over; killing the remaining processes"),
            Warning::Unkillable => warn!(
                "leaving processes that cannot be killed (they wait inside the kernel) or found (there is no /proc)"
            ),
        }
    }

    fn log_end(&self, status: ExitStatus) {
        let (id, pid) = (&self.config.service.id, self.tree.child());
        let seconds = self.started.elapsed().as_secs();
        let Some(number) = status.signal() else {
            let code = status.code().unwrap_or_default();
            return info!(id, pid, status = code, seconds, "{id}: exited with status {code} after {seconds} s");
        };
        let signal = signals::name(number);
        let how = match (status.core_dumped(), self.tree.was_sent(number)) {
            (true, _) => " (core dumped)",
            (false, true) => ", which the wrapper forwarded",
            (false, false) => "",
        };
        info!(id, pid, signal = %signal, seconds, "{id}: killed by {signal}{how} after {seconds} s");
    }

    fn child_config(&self) -> &ChildConfig {
        &self.config.child_config
    }
}

fn limits(config: &WrapperConfig) -> Limits {
    Limits {
        drain_delay: config.drain_delay,
        stop_timeout: config.child_config.stop_timeout,
        stop_budget: config.child_config.stop_budget,
        deregister_on_exit: config.on_exit == OnExit::Deregister,
        fence: Fence::of(config),
    }
}

/// Why a service is withdrawn whose child the fence has stopped.
const FENCED: &str = "stopped by --on-lost=stop";

/// Why a service is withdrawn whose child has ended.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited {code}"),
        (None, signal) => format!("killed by {}", signals::name(signal.unwrap_or_default())),
    }
}

async fn fired(timer: &mut Option<BootSleep>) {
    match timer {
        Some(timer) => timer.fired().await,
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

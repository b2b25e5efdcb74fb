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

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use nix::libc::{self, pid_t};
use tokio::sync::watch;
use tokio::task::JoinHandle;
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

/// A command that exits within this time has not done its work in the foreground.
const AT_ONCE: Duration = Duration::from_secs(5);

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
    has_warned_of_fence: bool,
    /// The search for the process that follows the child, with `--pid-file`.
    search: Option<JoinHandle<Result<pid_t, String>>>,
    /// Shown by the metrics.
    pub(super) life: Rc<ChildLife>,
}

/// The starts and the end of the child.
#[derive(Debug, Default)]
pub(super) struct ChildLife {
    /// When it was started, in seconds since 1970.
    pub started: Cell<f64>,
    /// How many processes have been the child.
    pub starts: Cell<u64>,
    pub end: Cell<Option<ExitStatus>>,
}

impl ChildLife {
    fn begins(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.started.set(now.as_secs_f64());
        self.starts.set(self.starts.get() + 1);
        self.end.set(None);
    }
}

impl<'a> Supervisor<'a> {
    pub(super) fn new(tree: ProcessTree<'a>, config: &'a WrapperConfig, registration: &Registration) -> Self {
        let (withdrawer, status) = (registration.withdrawer.clone(), registration.status.clone());
        let (id, pid) = (&config.service.id, tree.child());
        info!(id, pid, "{id}: started, pid {pid}");
        let life = Rc::<ChildLife>::default();
        life.begins();
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
            has_warned_of_fence: false,
            search: None,
            life,
        }
    }

    /// Forwards signals that came before there was a child.
    pub(super) fn forward_deferred(&mut self, signals: &[i32]) {
        signals.iter().for_each(|signal| self.tree.forward(*signal));
    }

    /// Runs until the child has exited and, unless orphans are to be left, none of its descendants is left. Returns its
    /// status; nothing if it runs on as another user, and the stop budget is over.
    pub(super) async fn until_gone(&mut self, signals: &mut Signals) -> Result<Option<ExitStatus>> {
        let withdrawer = self.withdrawer.clone();
        let withdrawal = async move { withdrawer.withdraw().await };
        tokio::pin!(withdrawal);
        let fence = Fence::of(self.config);
        // tokio's timers stand still while the machine is suspended.
        let mut fence_timer = fence.map(|_| BootSleep::new()).transpose()?;
        self.status.mark_changed();
        loop {
            let event = tokio::select! {
                signal = signals.next() => self.signal_event(signal?),
                removed = &mut withdrawal, if self.shutdown.is_withdrawing() => Some(Event::Withdrawn { removed }),
                () = at(self.shutdown.next_timer()) => Some(Event::TimerFired),
                Ok(()) = self.status.changed(), if fence.is_some() => Some(self.registration_event()),
                () = fired(&mut fence_timer) => Some(self.registration_event()),
                why = self.desired.stop_requested(), if self.may_stop => self.stop_for(why),
                next = found(&mut self.search), if self.search.is_some() => self.succession_event(next),
            };
            if event.is_some_and(|event| self.perform(event)) {
                break;
            }
            if let Some((fence, timer)) = fence.zip(fence_timer.as_mut()) {
                timer.set(self.status.borrow().confirmed().map(|confirmed| fence.sigterm_at(confirmed)))?;
            }
            tokio::task::yield_now().await; // to heartbeats and timers, however many signals arrive
        }
        if let Some(bound) = self.shutdown.withdrawal_bound(Instant::now(), WITHDRAWAL)
            && timeout_at(bound, withdrawal).await.is_err()
        {
            info!("the registry has not confirmed the withdrawal in time; the session is left to expire");
        }
        self.tree.take_back_foreground();
        Ok(self.tree.exit_status())
    }

    /// Ends the child as a SIGTERM to the wrapper does, after the wrapper itself has failed.
    pub(super) async fn shut_down(&mut self, signals: &mut Signals) -> Result<(), Failure> {
        self.shutdown = Shutdown::new(limits(self.config));
        self.withdrawer.because("the wrapper failed");
        let request = self.stop_request(libc::SIGTERM);
        if !self.perform(request) {
            self.until_gone(signals).await?;
        }
        Ok(())
    }

    /// Turns the child's status into the wrapper's, and logs how the child has ended.
    pub(super) fn ending(&self, status: Option<ExitStatus>) -> Result<Ending, Failure> {
        status.into_iter().for_each(|status| self.log_end(status));
        let was_killed = status.and_then(|status| status.signal()) == Some(libc::SIGKILL);
        let was_killed = was_killed && !self.shutdown.has_given_up_place();
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
        let status = status.context("the command runs on as another user, and the stop budget is over")?;
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
                let had_exited = self.tree.exit_status().is_some();
                let all_gone = self.tree.reap_all(self.shutdown.has_begun());
                if self.search.is_none() {
                    self.search = self.tree.search().map(tokio::spawn);
                }
                let Some(status) = self.tree.exit_status() else {
                    return self.is_out_of_reach().then_some(Event::OutOfReach);
                };
                if !had_exited {
                    self.explain_background(status);
                }
                return Some(self.exited(status, all_gone));
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

    /// The child has exited, or a descendant after it.
    fn exited(&self, status: ExitStatus, all_gone: bool) -> Event {
        self.life.end.set(Some(status));
        let is_fenced = self.shutdown.is_fenced();
        self.withdrawer.because(&if is_fenced { FENCED.to_owned() } else { describe(status) });
        Event::Exited { all_gone }
    }

    /// A command that has gone into the background has exited, as far as the wrapper can tell.
    fn explain_background(&self, status: ExitStatus) {
        let is_at_once = self.started.elapsed() < AT_ONCE && !self.shutdown.has_begun();
        if is_at_once && status.success() && self.tree.has_descendants() {
            warn!(
                "{}: the command has exited at once, but processes that it has started run on: if it goes into the \
                 background, run it in the foreground, or name its pid file with --pid-file",
                self.config.service.id
            );
        }
    }

    /// Takes the process that the pid file names for the child, or the exit of the last one for the child's.
    fn succession_event(&mut self, next: Result<pid_t, String>) -> Option<Event> {
        self.search = None;
        if !self.tree.awaits_successor() {
            return None; // all have exited in the meantime
        }
        let id = &self.config.service.id;
        match next {
            Ok(pid) => {
                if let Some((before, status)) = self.tree.succeed(pid) {
                    self.life.begins();
                    info!(id, pid, "{id}: process {before} has exited ({status}); process {pid} follows it");
                }
                None
            }
            Err(error) => {
                let file = self.child_config().pid_file.as_deref().unwrap_or(Path::new("")).display();
                warn!("{id}: no process follows the one that has exited: --pid-file {file}: {error}");
                self.tree.end_succession();
                let all_gone = self.child_config().leave_orphans || self.tree.has_no_descendants();
                self.tree.exit_status().map(|status| self.exited(status, all_gone))
            }
        }
    }

    /// Returns whether only processes are left that SIGKILL has not reached.
    fn is_out_of_reach(&self) -> bool {
        self.shutdown.is_killing() && self.tree.is_out_of_reach()
    }

    fn registration_event(&mut self) -> Event {
        if !self.has_warned_of_fence && self.tree.is_child_out_of_reach() {
            self.has_warned_of_fence = true;
            warn!(
                "--on-lost=stop cannot hold: the wrapper may not signal {}, so the command runs on when another process \
                 takes its place",
                self.tree.describe_child()
            );
        }
        let status = self.status.borrow_and_update();
        Event::Registration { confirmed: status.confirmed().map(BootTime::to_instant), is_lost: status.lost.is_some() }
    }

    fn arm_watchdog(&mut self) {
        let deadline = self.shutdown.watchdog_deadline().map(BootTime::of);
        if let Some(watchdog) = &mut self.watchdog {
            watchdog.arm(deadline);
        }
    }

    /// Performs what the shutdown decides. Returns whether all is over.
    fn perform(&mut self, event: Event) -> bool {
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
        if !is_finished && event != Event::OutOfReach && self.is_out_of_reach() {
            return self.perform(Event::OutOfReach);
        }
        is_finished
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
            Warning::Unkillable => match self.tree.describe_remaining() {
                Some(all) => warn!("leaving what cannot be killed, since it waits inside the kernel: {all}"),
                None => warn!("leaving processes that cannot be found: there is no /proc"),
            },
            Warning::OutOfReach => {
                let all = self.tree.describe_remaining().unwrap_or_else(|| self.tree.describe_child());
                warn!("leaving what the wrapper may not kill: {all}");
            }
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

async fn found(search: &mut Option<JoinHandle<Result<pid_t, String>>>) -> Result<pid_t, String> {
    match search {
        Some(search) => search.await.unwrap_or_else(|error| Err(error.to_string())),
        None => std::future::pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

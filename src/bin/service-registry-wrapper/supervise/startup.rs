//! The time before the child: the wrapper waits for files and for the registry, while signals end it or are deferred.

use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::warn;

use super::{Fence, Supervisor};
use crate::event_loop::EventLoop;
use crate::exit::{self, Ending, Failure};
use crate::options::{OnRegistryDown, Options, WrapperConfig};
use crate::process::{self, Change, Inherited, ProcessTree, SpawnContext, Watchdog, wait};
use crate::registration::{Preparation, Prepared, Preparing, Registration, RegistrationEvent, WrongOption};
use crate::signals::action::decide;
use crate::signals::terminal::{Terminal, suspend_self};
use crate::signals::{self, Action, Foreground, Origin, Received, Signals, Stage, Suspend};
use crate::systemd::NotifyProxy;

/// The longest time that a registry, or a file system, that does not answer may delay the start of the child.
const START_DELAY: Duration = Duration::from_secs(2);

/// There are 64 signals; a process that sends more between two steps of the start floods the wrapper.
const SIGNALS: usize = 64;

/// The start, as far as it has come.
pub(crate) struct Startup<'a> {
    signals: Signals,
    watchdog: Option<&'a mut Watchdog>,
    /// Signals for the child that is about to be started.
    deferred: Vec<i32>,
    begun: Instant,
}

/// Why the child is not started.
pub(crate) enum NotStarted {
    /// This signal asked the wrapper to end.
    Signal(Received),
    Failure(Failure),
}

impl<E: Into<Failure>> From<E> for NotStarted {
    fn from(error: E) -> Self {
        Self::Failure(error.into())
    }
}

impl NotStarted {
    /// Withdraws what is registered. A signal counts as if it had ended the command, so that a shell sees from Ctrl-C
    /// that its script is to end.
    pub(crate) async fn ending(
        self,
        config: &WrapperConfig,
        registration: Option<&Registration>,
    ) -> Result<Ending, Failure> {
        if let Self::Signal(signal) = &self {
            warn!("{} came before the start: the command is not run", signals::name(signal.number));
        }
        if let Some(registration) = registration {
            let reason = match &self {
                Self::Signal(signal) => format!("stopped by {}", signals::name(signal.number)),
                Self::Failure(_) => "not started".to_owned(),
            };
            registration.withdrawer.because(&reason);
            registration.withdrawer.withdraw().await;
        }
        match self {
            Self::Failure(failure) => Err(failure),
            Self::Signal(signal) => {
                let status = ExitStatus::from_raw(signal.number);
                Ok(Ending::of_child(status, signal.origin == Origin::Kernel, &config.child_config))
            }
        }
    }
}

impl<'a> Startup<'a> {
    pub(crate) fn new(signals: Signals, watchdog: Option<&'a mut Watchdog>) -> Self {
        Self { signals, watchdog, deferred: Vec::new(), begun: Instant::now() }
    }

    /// Reads the files that options name, and begins to register.
    pub(crate) async fn register(
        &mut self,
        options: &Options,
        config: &WrapperConfig,
    ) -> Result<Registration, NotStarted> {
        let mut preparing = Preparation::of(config).begin();
        let prepared = self.wait_for(timeout(START_DELAY, prepared(options, &mut preparing))).await?;
        let prepared = match prepared {
            Ok(prepared) => Some(prepared?),
            Err(_) => {
                warn!(
                    "a file that the options name cannot be read: the file system does not answer; starting the command without it"
                );
                None
            }
        };
        Ok(Registration::begin(config, preparing, prepared))
    }

    /// Waits for the registration as long as the options say, and starts the child.
    pub(crate) async fn start_child<'c>(
        &mut self,
        config: &'c WrapperConfig,
        program: &Path,
        inherited: &Inherited,
        registration: &mut Registration,
        notify: Option<&NotifyProxy>,
        event_loop: &EventLoop,
    ) -> Result<ProcessTree<'c>, NotStarted> {
        // What needs no registry is done while the registry answers.
        let local = async {
            event_loop.idle().await;
            (process::descendants::children(), Terminal::find())
        };
        let ready = ready_to_start(config, registration, self.begun);
        let (ready, (inherited_children, terminal)) = self.wait_for(async { tokio::join!(ready, local) }).await?;
        ready?;
        #[cfg(debug_assertions)]
        super::panic::panic_point("start");
        let foreground = Foreground::of(terminal, &config.child_config);
        let context = SpawnContext {
            inherited,
            child_config: &config.child_config,
            own_group: foreground.own_group,
            foreground: foreground.at_start(),
            notify_socket: notify.map(|notify| notify.address.as_os_str()),
            watchdog: self.watchdog.as_ref().map(|watchdog| watchdog.socket()),
            may_host: config.may_host,
        };
        // The wrapper may be stopped before it has seen that the child runs.
        if let Some((fence, watchdog)) = Fence::of(config).zip(self.watchdog.as_mut()) {
            watchdog.arm(registration.status.borrow().confirmed().map(|confirmed| fence.sigkill_at(confirmed)));
        }
        let child = process::spawn(program, &config.command, &context)?;
        Ok(ProcessTree::new(child, &config.child_config, foreground, inherited_children))
    }

    /// Forwards what was deferred; from here on signals and the watchdog are the supervisor's.
    pub(crate) fn hand_over(self, supervisor: &mut Supervisor<'a>) -> Signals {
        supervisor.watchdog = self.watchdog;
        supervisor.forward_deferred(&self.deferred);
        self.signals
    }

    async fn wait_for<T>(&mut self, awaited: impl Future<Output = T>) -> Result<T, NotStarted> {
        tokio::pin!(awaited);
        let value = loop {
            tokio::select! {
                signal = self.signals.next() => {
                    self.take(signal?)?;
                    tokio::task::yield_now().await; // to the registration, however many signals arrive
                }
                value = &mut awaited => break value,
            }
        };
        // The terminal will not send its signals to the child again, so those that came by now are taken first.
        for _ in 0..SIGNALS {
            let Some(signal) = self.signals.waiting()? else { break };
            self.take(signal)?;
        }
        Ok(value)
    }

    fn take(&mut self, signal: Received) -> Result<(), NotStarted> {
        match decide(Stage::Starting, signal, signals::is_ignored(signal.number), false) {
            Action::Abort => return Err(NotStarted::Signal(signal)),
            Action::Defer => self.deferred.push(signal.number),
            Action::Reap => while matches!(wait::next_change(), Change::Exited(..) | Change::Stopped(..)) {},
            Action::Suspend => drop(suspend_self(signal.number, Suspend::Wrapper)),
            Action::RequestStop | Action::Forward | Action::ForwardInForeground | Action::Ignore => {}
        }
        Ok(())
    }
}

async fn prepared(options: &Options, preparing: &mut Preparing) -> Result<Prepared, Failure> {
    let prepared = preparing.await.context("the thread that reads files has ended")?;
    prepared.map_err(|WrongOption { option, error }| Failure::new(exit::USAGE, error.context(options.origin(option))))
}

/// Waits until the child may be started: for the registration if the options demand it, else for its first attempt,
/// which has [`START_DELAY`] in all, the reading of files included.
async fn ready_to_start(
    config: &WrapperConfig,
    registration: &mut Registration,
    begun: Instant,
) -> Result<(), Failure> {
    match (config.on_registry_down, registration.url.clone()) {
        (OnRegistryDown::Start, None) => {} // files are still being read, which was logged
        (OnRegistryDown::Start, Some(url)) => {
            if timeout_at(begun + START_DELAY, registration.next_event()).await.is_err() {
                warn!("the registry at {url} does not answer; starting the command without waiting for it");
            }
        }
        (OnRegistryDown::Wait(time), url) => {
            if timeout_at(begun + time, registration.registered()).await.is_err() {
                let place = url.map_or_else(String::new, |url| format!(" at {url}"));
                warn!("not registered{place} in {time:?}; starting the command all the same");
            }
        }
        (OnRegistryDown::Fail { attempts }, _) => return registered_or_fail(config, registration, attempts).await,
    }
    Ok(())
}

async fn registered_or_fail(
    config: &WrapperConfig,
    registration: &mut Registration,
    attempts: u32,
) -> Result<(), Failure> {
    let mut failed = 0;
    while let Some(event) = registration.next_event().await {
        let (is_final, error) = match event {
            RegistrationEvent::Registered => return Ok(()),
            RegistrationEvent::Failed(error) => (!error.is_retryable(), anyhow::Error::new(error)),
            RegistrationEvent::Lost(error) => (false, anyhow::Error::new(error)),
            RegistrationEvent::Unprepared(error) => (false, error),
        };
        failed += 1;
        if failed >= attempts || is_final {
            let why = error.context(format!("{} could not be registered in {failed} attempt(s)", config.service.id));
            return Err(Failure::new(exit::NOT_REGISTERED, why));
        }
    }
    Err(anyhow!("the registration task has ended").into())
}

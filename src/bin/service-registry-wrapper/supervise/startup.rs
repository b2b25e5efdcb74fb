//! Before there is a child: the registry is waited for, and signals end the wrapper or wait as well.

use std::future::Future;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::exit;
use crate::exit::Failure;
use crate::options::{OnRegistryDown, WrapperConfig};
use crate::process::{Change, lookup};
use crate::registration::{Registration, RegistrationEvent};
use crate::signals::Stop;
use crate::signals::action::decide;
use crate::signals::disposition;
use crate::signals::terminal::stop_self;
use crate::signals::{Action, Stage};
use crate::signals::{Received, Signals};

/// How long a registry or a file system that does not answer may delay the start of a child.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// How waiting for something before the start of the child ended.
pub(crate) enum Start<T> {
    /// It came.
    Ready(T),
    /// A signal asked the wrapper to end.
    Signalled(Received),
}

/// Waits for something before the child is started. Signals for the child are kept in `kept`.
pub(crate) async fn before_start<T>(
    wanted: impl Future<Output = T>,
    signals: &mut Signals,
    kept: &mut Vec<i32>,
) -> Result<Start<T>> {
    tokio::pin!(wanted);
    let value = loop {
        tokio::select! {
            signal = signals.next() => {
                let signal = signal?;
                if gives_up(signal, kept) {
                    return Ok(Start::Signalled(signal));
                }
                tokio::task::yield_now().await; // to the registration, however many signals come in
            }
            value = &mut wanted => break value,
        }
    };
    // What the terminal has said by now it will not say to the child. There are 64 signals; more is a flood.
    for _ in 0..64 {
        let Some(signal) = signals.waiting()? else { break };
        if gives_up(signal, kept) {
            return Ok(Start::Signalled(signal));
        }
    }
    Ok(Start::Ready(value))
}

/// Does what a signal asks for while there is no child. True if there is to be none.
fn gives_up(signal: Received, kept: &mut Vec<i32>) -> bool {
    match decide(Stage::Starting, signal, disposition::ignored(signal.number), false) {
        Action::Abort => return true,
        Action::Defer => kept.push(signal.number),
        Action::Reap => while matches!(lookup::next_change(), Change::Ended(..) | Change::Stopped(..)) {},
        Action::Stop => drop(stop_self(signal.number, Stop::Wrapper)),
        Action::Forward | Action::HandOver | Action::Ignore => {}
    }
    false
}

/// Waits until the child may be started: for the registration if it is a condition, else for a while at most, which has
/// begun with the preparations.
pub(crate) async fn ready_to_start(
    config: &WrapperConfig,
    registration: &mut Registration,
    begun: Instant,
) -> Result<(), Failure> {
    match (config.on_registry_down, registration.url.clone()) {
        (OnRegistryDown::Start, None) => {} // registering has not begun, and that was said
        (OnRegistryDown::Start, Some(url)) => {
            if timeout_at(begun + PATIENCE, registration.news()).await.is_err() {
                warn!("the registry at {url} is silent; starting without waiting for it");
            }
        }
        (OnRegistryDown::Wait(time), url) => {
            if timeout_at(begun + time, registration.registered()).await.is_err() {
                let place = url.map_or_else(String::new, |url| format!(" at {url}"));
                warn!("not registered{place} in {time:?}; starting all the same");
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
    while let Some(news) = registration.news().await {
        let (is_final, error) = match news {
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
    Err(anyhow!("the registering task ended by itself").into())
}

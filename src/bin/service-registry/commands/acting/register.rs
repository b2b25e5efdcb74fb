//! `service-registry register`: keeps a service registered that cannot be wrapped, until SIGTERM or SIGINT.
//!
//! Open a session → register the service in it → heartbeats, and a look from time to time whether the service is still
//! there → begin again if the registry has lost the session.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use nix::sys::signal::Signal;
use service_registry::client::{Error, HeartbeatEvent, NewSession, ServicePayload, backoff};
use service_registry::connection::{Origins, RegistryOptions};
use service_registry::description::{self, ServiceTexts};
use service_registry::wire::{Metadata, Service};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::stop::Stop;
use crate::connection::{Connection, block_on};
use crate::exit::Failure;

/// The pause between two attempts while another process holds the id.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);
/// How long the end waits for the registry.
const WITHDRAWAL_LIMIT: Duration = Duration::from_secs(2);
/// The fault for an id that is in use.
const ID_IN_USE: &str = "serviceWithThisIdExists";
const LIMIT_REACHED: &str = "limitReached";

const EXAMPLES: &str = "\
Examples:
  service-registry register printer-1 --tags printer,a4 --metadata host=192.0.2.7,port=631";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Register {
    /// Service id: 3 to 65 of letters, digits, '_', '-', '.'; {hostname} and the like are replaced
    id: String,
    /// Tags to find the service by: at most 10 of 1 to 55 characters, separated by ','; repeatable
    #[arg(short, long, value_name = "TAG,...")]
    tags: Vec<String>,
    /// Description of the service, where placeholders such as {ip} and {hostname} are replaced: at most 20 pairs,
    /// separated by ',' (write '\,' for a comma in a value); the first '=' splits; repeatable
    #[arg(short, long, value_name = "KEY=VALUE,...")]
    metadata: Vec<String>,
    /// Heartbeat timeout in seconds, 3 to 120: the registry drops the service this long after the last heartbeat
    #[arg(short, long, value_name = "SECONDS", default_value = "30")]
    interval: String,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// The service to keep registered.
struct Kept {
    connection: Connection,
    id: String,
    payload: ServicePayload,
    interval: Duration,
}

/// How far that is.
#[derive(Default)]
struct Progress {
    /// The session that holds the service, or did: it may live on although a response said that it is gone.
    session: Option<String>,
    was_registered: bool,
    failures: u32,
}

/// Keeps the service registered until a signal comes.
pub(crate) fn run(options: Register, origins: Origins) -> Result<(), Failure> {
    let kept = Kept::of(options, origins)?;
    block_on(async {
        let mut progress = Progress::default();
        let mut stop = Stop::new()?;
        let signal = tokio::select! {
            outcome = kept.keep(&mut progress) => match outcome? {},
            signal = stop.requested() => signal,
        };
        if let Some(session) = progress.session {
            kept.withdraw(&session, signal).await;
        }
        Ok(())
    })
}

impl Kept {
    fn of(options: Register, origins: Origins) -> Result<Self, Failure> {
        let value = |name: &str, argument: Option<&str>| match name {
            "port" => Some(Err(anyhow!("no command is run here, so {{port}} stands for nothing; write the port"))),
            _ => description::value(name, argument, &[]),
        };
        let id = description::expand(&options.id, &value).map_err(Failure::usage)?;
        description::check_id(&id).map_err(Failure::usage)?;
        let texts = ServiceTexts { tags: options.tags, metadata: options.metadata };
        let payload = texts.payload(&id, &[], |option| format!("--{option}")).map_err(Failure::usage)?;
        let interval = description::interval(&options.interval);
        let interval = interval.map_err(|error| Failure::usage(error.context("--interval")))?;
        let connection = Connection::open(options.registry, origins)?;
        Ok(Self { connection, id, payload, interval: Duration::from_secs(interval.into()) })
    }

    /// Registers again and again; returns an error if the registry refuses the first registration.
    async fn keep(&self, progress: &mut Progress) -> Result<Infallible, Failure> {
        loop {
            let Err(error) = self.hold(progress).await;
            if !progress.was_registered && (!error.is_retryable() || error.is_fault(LIMIT_REACHED)) {
                return Err(self.connection.failure(&error));
            }
            progress.failures = progress.failures.saturating_add(1);
            if progress.failures == 1 {
                warn!("{} is not registered, will try again: {error}", self.id);
            }
            self.connection.fail_over(&error);
            let longest = self.interval / 2;
            let pause = backoff(progress.failures, longest, fastrand::f64());
            sleep(pause.max(error.retry_after().unwrap_or_default().min(longest))).await;
        }
    }

    /// Opens a session and keeps the service in it, until one of them is lost.
    async fn hold(&self, progress: &mut Progress) -> Result<Infallible, Error> {
        let client = self.connection.client();
        if let Some(previous) = &progress.session {
            match client.sessions().remove(previous).await {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => progress.session = None,
            }
        }
        let metadata = description::session_metadata(Metadata::new(), Some("service-registry register"));
        let session = client.sessions().create(self.interval_in_seconds(), &metadata).await?;
        progress.session = Some(session.id.clone());
        let id = session.id.clone();
        tokio::select! {
            lost = self.send_heartbeats(session) => Err(lost),
            outcome = self.keep_listed(&id, progress) => outcome,
        }
    }

    /// Sends heartbeats until the session is lost.
    async fn send_heartbeats(&self, mut session: NewSession) -> Error {
        let (mut accepted, mut is_failing) = (Instant::now(), false);
        let (give_up, mut given_up) = tokio::sync::mpsc::unbounded_channel();
        let handle = |event: HeartbeatEvent<'_>| match event {
            HeartbeatEvent::Accepted { .. } => {
                accepted = Instant::now();
                if std::mem::take(&mut is_failing) {
                    info!("heartbeats are accepted again");
                }
            }
            HeartbeatEvent::Failed { error, .. } => {
                if !std::mem::replace(&mut is_failing, true) {
                    warn!("heartbeat failed, will be sent again: {error}");
                }
                // Another registry does not know the session, so it is left only once it must have expired.
                if self.connection.has_several() && accepted.elapsed() > self.interval {
                    let _ = give_up.send(error.clone());
                }
            }
            _ => {}
        };
        tokio::select! {
            lost = session.heartbeater.run(handle) => lost,
            Some(error) = given_up.recv() => error,
        }
    }

    async fn keep_listed(&self, session: &str, progress: &mut Progress) -> Result<Infallible, Error> {
        loop {
            self.register(session).await?;
            (progress.was_registered, progress.failures) = (true, 0);
            // Heartbeats tell whether the session lives; that it has lost the service alone is rare.
            while self.is_listed(session).await? {
                sleep(self.interval * 2).await;
            }
            warn!("{} is not in the registry any more, though its session is; registering it again", self.id);
        }
    }

    /// Registers the service once its id is free.
    async fn register(&self, session: &str) -> Result<(), Error> {
        let client = self.connection.client();
        let services = client.services().retry_for(Duration::ZERO);
        let mut is_told = false;
        while let Err(error) = services.register(session, &self.id, &self.payload).await {
            if !error.is_fault(ID_IN_USE) {
                return Err(error);
            }
            if !std::mem::replace(&mut is_told, true) {
                warn!("{} is held by another process; registering it once that is gone", self.id);
            }
            sleep(BETWEEN_ATTEMPTS).await;
        }
        info!("registered {} at {} (session {session})", self.id, client.registry_url());
        Ok(())
    }

    /// Returns whether the session has the service. A registry that does not answer has not lost it.
    async fn is_listed(&self, session: &str) -> Result<bool, Error> {
        match self.connection.client().services().get(&self.id).await {
            Ok(Service::InSession(service)) => Ok(service.session_id == session),
            Ok(Service::Own(_)) => Ok(false),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) if error.is_retryable() => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn withdraw(&self, session: &str, signal: Signal) {
        let client = self.connection.client();
        let reason = format!("stopped by {}", signal.as_str());
        match timeout(WITHDRAWAL_LIMIT, client.sessions().remove_because(session, &reason)).await {
            Ok(Ok(())) => info!("{} is out of the registry", self.id),
            Ok(Err(error)) => warn!("{} stays listed until its interval has passed: {error}", self.id),
            Err(_) => warn!("{} stays listed until its interval has passed: the registry does not answer", self.id),
        }
    }

    fn interval_in_seconds(&self) -> u32 {
        u32::try_from(self.interval.as_secs()).unwrap_or(u32::MAX)
    }
}

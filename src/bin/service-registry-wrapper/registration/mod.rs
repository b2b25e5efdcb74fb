//! The registration: a task that keeps the service registered, and the handle with which the wrapper begins, awaits and
//! withdraws it.
//!
//! In reading order: `preparation` opens the files that options name; `endpoints` are the registries; `task` registers,
//! with `heartbeats`, `verification` (when: `verification_schedule`; other holders: `holder`) and the `state_dir`;
//! `desired` says whether the service should be listed, and `status` whether it is; `embedded` hosts a registry if no
//! other does.

mod desired;
mod embedded;
mod endpoints;
mod heartbeats;
mod holder;
mod preparation;
mod state_dir;
mod status;
mod task;
mod verification;
mod verification_schedule;

pub(crate) use desired::Desired;
pub(crate) use preparation::{Preparation, Prepared, Preparing, WrongOption};
pub(crate) use status::RegistrationStatus;
pub(crate) use task::RegistrationEvent;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::anyhow;
use service_registry::client::Client;
use service_registry::files::own::OwnSocket;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};
use url::Url;

use crate::options::{OnLost, OnRegistryDown, RegisterWhen, WrapperConfig};
pub(crate) use state_dir::MaintenanceFile;
use state_dir::PreviousSession;
use task::{BETWEEN_ATTEMPTS, RegistrationTask};

/// The longest time that a withdrawal may delay anything.
pub(crate) const WITHDRAWAL: Duration = Duration::from_secs(2);

/// The files by which the wrapper is controlled, as far as options name them.
pub(super) struct ControlFiles {
    pub socket: Option<OwnSocket>,
    pub maintenance: Option<MaintenanceFile>,
}

/// The handle of the registration task.
pub(super) struct Registration {
    events: UnboundedReceiver<RegistrationEvent>,
    was_registered: bool,
    pub withdrawer: Withdrawer,
    pub status: watch::Receiver<RegistrationStatus>,
    pub desired: Desired,
    /// Delivers what the control of the wrapper needs.
    pub control: Option<oneshot::Receiver<ControlFiles>>,
    /// The registry; none while files are still being read.
    pub url: Option<Url>,
}

impl Registration {
    /// Starts the task. It registers as soon as everything is prepared; without `prepared`, preparing still goes on.
    pub(crate) fn begin(config: &WrapperConfig, preparing: Preparing, prepared: Option<Prepared>) -> Self {
        let (send_event, events) = unbounded_channel();
        let unchecked = (config.readiness.when == RegisterWhen::Healthy).then(|| "no check has passed yet".to_owned());
        let (desired, watch_desired) = desired::channel(&config.service, config.readiness.awaited(), unchecked);
        let (set_status, status) = watch::channel(RegistrationStatus::default());
        let previous_session = Arc::new(OnceLock::new());
        let (give_files, control) = oneshot::channel();
        let url = prepared.as_ref().map(|prepared| prepared.endpoints.current().registry_url().clone());
        if let Some(prepared) = &prepared {
            prepared.endpoints.host();
        }
        let run = {
            let (previous_session, preparation) = (previous_session.clone(), Preparation::of(config));
            let maintained = desired.clone();
            let (service, replace, has_fence) =
                (config.service.clone(), config.replace, config.on_lost == OnLost::Stop);
            let has_fixed_pause = matches!(config.on_registry_down, OnRegistryDown::Fail { .. });
            async move {
                let prepared = match prepared {
                    Some(prepared) => prepared,
                    None => until_prepared(preparing, &preparation, &send_event).await,
                };
                if let Some(reason) = prepared.maintenance {
                    let text = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                    info!("{} is in maintenance since before the start{text}", service.id);
                    maintained.set_maintenance(Some(reason));
                }
                let files = ControlFiles { socket: prepared.status_socket, maintenance: prepared.maintenance_file };
                let _ = give_files.send(files); // the wrapper may be about to exit
                if let Some(session) = &prepared.previous_session {
                    let _ = previous_session.set(session.clone()); // it is set nowhere else
                }
                let task = RegistrationTask {
                    endpoints: prepared.endpoints,
                    service,
                    replace,
                    to_revoke: prepared.to_revoke,
                    previous_session: prepared.previous_session,
                    lost_session: None,
                    sessions_never_confirmed: 0,
                    failed_verifications: 0,
                    has_fence,
                    has_given_way: false,
                    has_fixed_pause,
                    events: send_event,
                    status: set_status,
                    desired: watch_desired,
                };
                task.run().await;
            }
        };
        let task = tokio::spawn(run).abort_handle();
        let withdrawer = Withdrawer { task, status: status.clone(), previous_session, reason: Arc::default() };
        Self { events, was_registered: false, withdrawer, status, desired, control: Some(control), url }
    }

    /// Returns the next event; nothing if the task has ended, which it does not by itself.
    pub(super) async fn next_event(&mut self) -> Option<RegistrationEvent> {
        let event = self.events.recv().await;
        self.was_registered |= matches!(event, Some(RegistrationEvent::Registered));
        event
    }

    /// Waits until the service has been registered for the first time.
    pub(super) async fn registered(&mut self) {
        while !self.was_registered && self.next_event().await.is_some() {}
    }

    /// Waits until the service is registered, or a session is open for a service that has to wait.
    pub(super) async fn session_or_service(&mut self) {
        use RegistrationEvent::{Registered, SessionOpened};
        while !matches!(self.next_event().await, None | Some(Registered | SessionOpened)) {}
    }
}

/// Ends the registration.
#[derive(Clone)]
pub(super) struct Withdrawer {
    task: AbortHandle,
    status: watch::Receiver<RegistrationStatus>,
    previous_session: Arc<OnceLock<PreviousSession>>,
    /// Why the service is withdrawn, for the registry.
    reason: Arc<OnceLock<String>>,
}

impl Withdrawer {
    /// Stops the heartbeats, and leaves the registration to expire.
    pub(super) fn stop_heartbeats(&self) {
        self.task.abort();
    }

    /// Says why the service will be withdrawn; the first reason counts.
    pub(super) fn because(&self, reason: &str) {
        let _ = self.reason.set(desired::bounded(reason)); // a later one follows from the first
    }

    /// Removes the session and the service, for at most [`WITHDRAWAL`]; otherwise they expire. Returns true if the
    /// registry has confirmed that the session is gone.
    pub(super) async fn withdraw(&self) -> bool {
        self.task.abort();
        let session = self.status.borrow().session.clone();
        let Some((client, id)) = session else { return false };
        let removed = remove(&client, &id, self.reason.get().map_or("", String::as_str)).await;
        if let Some(previous_session) = self.previous_session.get().filter(|_| removed) {
            previous_session.forget().await;
        }
        removed
    }
}

/// Waits until the files that the options name can be read. A fault in them may be corrected while the child runs.
async fn until_prepared(
    mut preparing: Preparing,
    preparation: &Preparation,
    events: &UnboundedSender<RegistrationEvent>,
) -> Prepared {
    let mut logged = String::new();
    loop {
        let error = match timeout(BETWEEN_ATTEMPTS, &mut preparing).await {
            Ok(Ok(Ok(prepared))) => return prepared,
            Ok(Ok(Err(wrong))) => wrong.error,
            Ok(Err(_)) => anyhow!("the thread that reads files has ended"),
            Err(_) => {
                let _ = events.send(RegistrationEvent::Unprepared(anyhow!("the file system does not answer")));
                continue;
            }
        };
        let line = format!("not registered, will try again: {error:#}");
        if line != logged {
            warn!("{line}");
            logged = line;
        }
        let _ = events.send(RegistrationEvent::Unprepared(error)); // the receiver may be gone once the child runs
        sleep(BETWEEN_ATTEMPTS).await;
        preparing = preparation.clone().begin();
    }
}

async fn remove(client: &Client, session: &str, reason: &str) -> bool {
    match timeout(WITHDRAWAL, client.sessions().remove_because(session, reason)).await {
        Ok(Ok(())) => {
            info!("withdrawn from the registry (session {session})");
            true
        }
        Ok(Err(error)) if error.is_not_found() => true,
        Ok(Err(error)) => {
            debug!("session {session} is left to expire: {error}");
            false
        }
        Err(_) => {
            warn!("the registry has not confirmed the withdrawal of session {session}; it is left to expire");
            false
        }
    }
}

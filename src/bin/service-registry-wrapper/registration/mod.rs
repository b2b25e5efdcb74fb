//! The registration, from outside: begun, waited for, taken out and put back, taken back.

mod claim;
pub(super) mod embedded;
pub(super) mod endpoints;
mod heartbeats;
mod looks;
mod place;
pub(super) mod prepare;
mod previous_session;
pub(super) mod status;
mod task;

pub(crate) use endpoints::{Access, Key, Secret, TlsFiles};
pub(crate) use prepare::Preparation;
pub(crate) use status::RegistrationStatus;

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

use crate::options::OnLost;
use crate::options::{OnRegistryDown, WrapperConfig};
use prepare::Prepared;
use prepare::Preparing;
use previous_session::PreviousSession;
pub(crate) use task::RegistrationEvent;
use task::{BETWEEN_ATTEMPTS, RegistrationTask};

/// How long taking the registration back may hold up anything.
const WITHDRAWAL: Duration = Duration::from_secs(2);

/// The task that keeps the service registered, from outside.
pub(super) struct Registration {
    news: UnboundedReceiver<RegistrationEvent>,
    was_registered: bool,
    pub leave: Withdrawer,
    pub status_now: watch::Receiver<RegistrationStatus>,
    /// Whether the service is to be in the registry.
    pub wanted: watch::Sender<bool>,
    /// Brings the status socket, if there is to be one.
    pub status_socket: Option<oneshot::Receiver<OwnSocket>>,
    /// The registry, unless preparing still goes on.
    pub url: Option<Url>,
}

impl Registration {
    /// Begins to register, as soon as everything is prepared. Without it, preparing still goes on.
    pub(crate) fn begin(config: &WrapperConfig, preparing: Preparing, prepared: Option<Prepared>) -> Self {
        let (to, news) = unbounded_channel();
        let (wanted, is_wanted) = watch::channel(true);
        let (tell, status_now) = watch::channel(RegistrationStatus::default());
        let previous_session = Arc::new(OnceLock::new());
        let (give_foreground, status_socket) = oneshot::channel();
        let url = prepared.as_ref().map(|prepared| prepared.endpoints.current().registry_url().clone());
        let run = {
            let (previous_session, preparation, service) =
                (previous_session.clone(), config.preparation(), config.service.clone());
            let (may_host, replace, fenced) = (config.may_host, config.replace, config.on_lost == OnLost::Stop);
            let steady = matches!(config.on_registry_down, OnRegistryDown::Fail { .. });
            async move {
                let prepared = match prepared {
                    Some(prepared) => prepared,
                    None => until_prepared(preparing, &preparation, &to).await,
                };
                if let Some(socket) = prepared.status_socket {
                    let _ = give_foreground.send(socket); // the wrapper is about to end
                }
                if let Some(place) = &prepared.previous_session {
                    let _ = previous_session.set(place.clone()); // this is the only place that sets it
                }
                let keeper = RegistrationTask {
                    endpoints: prepared.endpoints,
                    service,
                    may_host,
                    replace,
                    predecessor: prepared.predecessor,
                    previous_session: prepared.previous_session,
                    previous: None,
                    sessions_never_confirmed: 0,
                    unseen: 0,
                    fenced,
                    steady,
                    news: to,
                    status_now: tell,
                    wanted: is_wanted,
                };
                keeper.run().await;
            }
        };
        let task = tokio::spawn(run).abort_handle();
        let leave = Withdrawer { task, status_now: status_now.clone(), previous_session };
        Self { news, was_registered: false, leave, status_now, wanted, status_socket: Some(status_socket), url }
    }

    /// The next thing that happens; nothing when the task has ended, which it does not.
    pub(super) async fn news(&mut self) -> Option<RegistrationEvent> {
        let news = self.news.recv().await;
        self.was_registered |= matches!(news, Some(RegistrationEvent::Registered));
        news
    }

    /// Waits until the service has been registered for the first time.
    pub(super) async fn registered(&mut self) {
        while !self.was_registered && self.news().await.is_some() {}
    }
}

/// The way out of the registry.
#[derive(Clone)]
pub(super) struct Withdrawer {
    task: AbortHandle,
    status_now: watch::Receiver<RegistrationStatus>,
    previous_session: Arc<OnceLock<PreviousSession>>,
}

impl Withdrawer {
    /// No more heartbeats. What is registered is left to expire.
    pub(super) fn stop_heartbeats(&self) {
        self.task.abort();
    }

    /// Takes session and service back, and waits for the registry's word, but not long. Expiry does the rest. True if the
    /// registry has said that there is no such session any more.
    pub(super) async fn withdraw(&self) -> bool {
        self.task.abort();
        let session = self.status_now.borrow().session.clone();
        let Some((client, id)) = session else { return false };
        let removed = remove(&client, &id).await;
        if let Some(previous_session) = self.previous_session.get().filter(|_| removed) {
            previous_session.forget().await;
        }
        removed
    }
}

/// What registering needs, as soon as it is there. What is wrong with it may be put right while the child runs.
async fn until_prepared(
    mut preparing: Preparing,
    preparation: &Preparation,
    news: &UnboundedSender<RegistrationEvent>,
) -> Prepared {
    let mut said = String::new();
    loop {
        let why = match timeout(BETWEEN_ATTEMPTS, &mut preparing).await {
            Ok(Ok(Ok(prepared))) => return prepared,
            Ok(Ok(Err(wrong))) => wrong.why,
            Ok(Err(_)) => anyhow!("the thread that reads files has ended"),
            Err(_) => {
                let _ = news.send(RegistrationEvent::Unprepared(anyhow!("the file system does not answer")));
                continue;
            }
        };
        let line = format!("not registered, will try again: {why:#}");
        if line != said {
            warn!("{line}");
            said = line;
        }
        let _ = news.send(RegistrationEvent::Unprepared(why)); // nobody listens any more once the child runs
        sleep(BETWEEN_ATTEMPTS).await;
        preparing = preparation.clone().begin();
    }
}

async fn remove(client: &Client, session: &str) -> bool {
    match timeout(WITHDRAWAL, client.sessions().remove(session)).await {
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
            warn!("the registry does not say that it has withdrawn session {session}; it is left to expire");
            false
        }
    }
}

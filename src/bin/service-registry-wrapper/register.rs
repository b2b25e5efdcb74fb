//! The registration, from outside: begun, waited for, taken out and put back, taken back.

use std::time::Duration;

use service_registry::client::Client;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::cli::OnLost;
use crate::ghost::Ghost;
use crate::keeper::Keeper;
pub(crate) use crate::keeper::News;
use crate::plan::{OnRegistryDown, Plan};
use crate::standing::Standing;

/// How long taking the registration back may hold up anything.
const WITHDRAWAL: Duration = Duration::from_secs(2);

/// The task that keeps the service registered, from outside.
pub(crate) struct Registration {
    news: UnboundedReceiver<News>,
    was_registered: bool,
    pub leave: Leave,
    pub standing: watch::Receiver<Standing>,
    /// Whether the service is to be in the registry.
    pub wanted: watch::Sender<bool>,
}

impl Registration {
    /// Begins to register.
    pub(crate) fn begin(plan: &Plan) -> Self {
        let (to, news) = unbounded_channel();
        let (wanted, is_wanted) = watch::channel(true);
        let (tell, standing) = watch::channel(Standing::default());
        let keeper = Keeper {
            registries: plan.registries.clone(),
            service: plan.service.clone(),
            may_host: plan.may_host,
            replace: plan.replace,
            predecessor: plan.ghost.as_ref().filter(|ghost| ghost.take()).and_then(Ghost::read),
            ghost: plan.ghost.clone(),
            previous: None,
            stillborn: 0,
            unseen: 0,
            fenced: plan.on_lost == OnLost::Stop,
            steady: matches!(plan.on_registry_down, OnRegistryDown::Fail { .. }),
            news: to,
            standing: tell,
            wanted: is_wanted,
        };
        let task = tokio::spawn(keeper.run()).abort_handle();
        let leave = Leave { task, standing: standing.clone(), ghost: plan.ghost.clone() };
        Self { news, was_registered: false, leave, standing, wanted }
    }

    /// The next thing that happens; nothing when the task has ended, which it does not.
    pub(crate) async fn news(&mut self) -> Option<News> {
        let news = self.news.recv().await;
        self.was_registered |= matches!(news, Some(News::Registered));
        news
    }

    /// Waits until the service has been registered for the first time.
    pub(crate) async fn registered(&mut self) {
        while !self.was_registered && self.news().await.is_some() {}
    }
}

/// The way out of the registry.
#[derive(Clone)]
pub(crate) struct Leave {
    task: AbortHandle,
    standing: watch::Receiver<Standing>,
    ghost: Option<Ghost>,
}

impl Leave {
    /// No more heartbeats. What is registered is left to expire.
    pub(crate) fn stop_heartbeats(&self) {
        self.task.abort();
    }

    /// Takes session and service back, and waits for the registry's word, but not long. Expiry does the rest. True if the
    /// registry has said that there is no such session any more.
    pub(crate) async fn withdraw(&self) -> bool {
        self.task.abort();
        let session = self.standing.borrow().session.clone();
        let Some((client, id)) = session else { return false };
        let removed = remove(&client, &id).await;
        if let Some(ghost) = self.ghost.as_ref().filter(|_| removed) {
            ghost.forget();
        }
        removed
    }
}

async fn remove(client: &Client, session: &str) -> bool {
    match timeout(WITHDRAWAL, client.sessions().remove(session)).await {
        Ok(Ok(())) => {
            info!("withdrawn from the registry (session {session})");
            true
        }
        Ok(Err(error)) if error.is_lost() => true,
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

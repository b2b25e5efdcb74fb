//! Keeps the service registered for as long as the wrapper lives, as a task of its own: the child never waits for it.
//!
//! open a session → register the service in it → heartbeat → begin again when the registry has lost either.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use service_registry::client::{Beat, Client, Error, HeartBeater, NewSession, backoff};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::host;
use crate::plan::{Plan, Service};

/// How long taking the registration back may hold up the end of the wrapper.
const WITHDRAWAL: Duration = Duration::from_secs(2);
/// What the original clients waited between two attempts.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// What the task tells whoever waits for the registration.
pub(crate) enum News {
    Registered,
    /// An attempt failed; another follows.
    Failed(Error),
}

/// The task, from outside.
pub(crate) struct Registration {
    news: UnboundedReceiver<News>,
    task: JoinHandle<()>,
    session: Session,
    client: Client,
    was_registered: bool,
}

/// The id of the session that is open now.
type Session = Arc<Mutex<Option<String>>>;

impl Registration {
    /// Begins to register.
    pub(crate) fn begin(plan: &Plan) -> Self {
        let (to, news) = unbounded_channel();
        let session = Session::default();
        let keeper = Keeper {
            client: plan.client.clone(),
            service: plan.service.clone(),
            may_host: plan.may_host,
            steady: plan.attempts_or_abort.is_some(),
            failures: 0,
            news: to,
            session: Arc::clone(&session),
        };
        let client = plan.client.clone();
        Self { news, task: tokio::spawn(keeper.run()), session, client, was_registered: false }
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

    /// What ends the task from elsewhere.
    pub(crate) fn handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }

    /// Takes back what was registered for a child that never ran. Best effort, bounded; expiry does the rest.
    pub(crate) async fn withdraw(self) {
        self.task.abort();
        let id = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(id) = id else { return };
        match timeout(WITHDRAWAL, self.client.sessions().remove(&id)).await {
            Ok(Ok(())) => debug!(session = id, "session removed"),
            Ok(Err(error)) => debug!("session {id} is left to expire: {error}"),
            Err(_) => debug!("session {id} is left to expire: the registry is silent"),
        }
    }
}

/// The task, from inside.
struct Keeper {
    client: Client,
    service: Service,
    may_host: bool,
    /// Attempts at a steady pace, as `--abort-on-failure` counts them, until the first success.
    steady: bool,
    /// Attempts that failed since the last success.
    failures: u32,
    news: UnboundedSender<News>,
    session: Session,
}

impl Keeper {
    async fn run(mut self) {
        loop {
            let created = self.client.sessions().create(self.service.interval, &self.service.session_metadata).await;
            match created {
                Ok(session) => {
                    let lost = self.hold(session).await;
                    info!("the registration is lost, registering again: {lost}");
                }
                Err(error) => self.failed(error).await,
            }
        }
    }

    /// Registers in this session and keeps it alive; returns when the registry does not know it any more.
    async fn hold(&mut self, session: NewSession) -> Error {
        let NewSession { id, mut heartbeater, .. } = session;
        self.remember(Some(id.clone()));
        let first = self.register(&id).await;
        let lost = match first {
            Ok(()) => {
                // Whoever waits for the registration comes first, the first heartbeat after that.
                tokio::task::yield_now().await;
                beat(&mut heartbeater, self.may_host).await
            }
            Err(error) if error.is_lost() => error,
            Err(error) => {
                // The id may be taken for as long as its holder lives; the session must not expire meanwhile.
                let beats = beat(&mut heartbeater, self.may_host);
                tokio::pin!(beats);
                tokio::select! {
                    lost = &mut beats => lost,
                    outcome = self.register_until_lost(&id, error) => match outcome {
                        Ok(()) => beats.await,
                        Err(lost) => lost,
                    },
                }
            }
        };
        self.remember(None);
        lost
    }

    async fn register_until_lost(&mut self, session: &str, mut error: Error) -> Result<(), Error> {
        loop {
            self.failed(error).await;
            match self.register(session).await {
                Ok(()) => return Ok(()),
                Err(lost) if lost.is_lost() => return Err(lost),
                Err(other) => error = other,
            }
        }
    }

    /// One attempt.
    async fn register(&mut self, session: &str) -> Result<(), Error> {
        self.client.services().create(session, &self.service.id, &self.service.payload).await?;
        info!("registered {} at {} (session {session})", self.service.id, self.client.registry_url());
        self.failures = 0;
        self.steady = false;
        self.tell(News::Registered);
        Ok(())
    }

    /// Says that an attempt failed, once for a row of failures, and waits until it is time for the next one.
    async fn failed(&mut self, error: Error) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            warn!("{} is not registered, will try again: {error}", self.service.id);
        } else {
            debug!(failures = self.failures, "still not registered: {error}");
        }
        let hosting = self.may_host && error.is_connect() && host::begin();
        let pause = if hosting { Duration::ZERO } else { self.pause(&error) };
        self.tell(News::Failed(error));
        sleep(pause).await;
    }

    /// Capped exponential with full jitter, so that a fleet does not come back in step; back within one interval.
    fn pause(&self, error: &Error) -> Duration {
        let pause = if self.steady {
            BETWEEN_ATTEMPTS
        } else {
            let cap = Duration::from_secs(self.service.interval.into()) / 2;
            backoff(self.failures, cap, fastrand::f64())
        };
        pause.max(error.retry_after().unwrap_or_default())
    }

    fn tell(&self, news: News) {
        let _ = self.news.send(news); // nobody listens any more once the child runs
    }

    fn remember(&self, session: Option<String>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }
}

/// Heartbeats until the session is lost; says once that they fail and once that they are accepted again.
async fn beat(heartbeater: &mut HeartBeater, may_host: bool) -> Error {
    let mut failing = false;
    heartbeater
        .run(|beat| match beat {
            Beat::Accepted if std::mem::take(&mut failing) => info!("heartbeats are accepted again"),
            Beat::Failed { error, retry_in, .. } => {
                if may_host && error.is_connect() {
                    host::begin(); // whoever hosted the registry is gone; the next heartbeat will find a new one
                }
                if std::mem::replace(&mut failing, true) {
                    debug!("heartbeat failed, again in {retry_in:?}: {error}");
                } else {
                    warn!("heartbeat failed, will be sent again: {error}");
                }
            }
            _ => {}
        })
        .await
}

//! The task that keeps the service registered for as long as the wrapper lives. The child never waits for it.
//!
//! retire the predecessor's session → open a session → register the service in it → heartbeat, and look now and then
//! whether the service is really there → begin again when the registry has lost any of it.

use std::time::Duration;

use service_registry::client::{Error, backoff};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::embedded;
use super::endpoints::Endpoints;
use super::heartbeats::{Heartbeats, LONG};
use super::looks::Looks;
use super::place::holder;
use super::previous_session::PreviousSession;
use super::status::RegistrationStatus;
use crate::memory;
use crate::options::Service;

/// What the original clients waited between two attempts.
pub(super) const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// What the task tells whoever waits for the registration.
pub(crate) enum RegistrationEvent {
    Registered,
    /// An attempt failed; another follows.
    Failed(Error),
    /// What registering needs is not there; it is waited for.
    Unprepared(anyhow::Error),
    /// The session was lost before its first heartbeat; another is opened, so this error is never final.
    Lost(Error),
}

pub(super) struct RegistrationTask {
    pub endpoints: Endpoints,
    pub service: Service,
    pub may_host: bool,
    pub replace: bool,
    pub previous_session: Option<PreviousSession>,
    /// A session that was ours, until it is retired.
    pub predecessor: Option<String>,
    /// The last session of this wrapper's that had the service and was lost; who said that it is may have been no registry.
    pub previous: Option<String>,
    /// Sessions in a row of which no heartbeat was ever accepted.
    pub sessions_never_confirmed: u32,
    /// Looks for the service in a row that failed.
    pub unseen: u32,
    /// Whether a place that is lost stops the child.
    pub fenced: bool,
    /// Attempts at a steady pace, as `--abort-on-failure` counts them, until the first success.
    pub steady: bool,
    pub news: mpsc::UnboundedSender<RegistrationEvent>,
    pub status_now: watch::Sender<RegistrationStatus>,
    /// Whether the service is to be in the registry.
    pub wanted: watch::Receiver<bool>,
}

impl RegistrationTask {
    pub(super) async fn run(mut self) {
        loop {
            match self.open().await {
                Ok((id, token)) => {
                    let opened = self.status_now.borrow().accepted;
                    let lost = self.run_session(&id, token).await;
                    info!("the registration is lost, registering again: {lost}");
                    // If the registry was wrong, the session lives on and holds our own id.
                    if self.status_now.borrow().registered {
                        self.previous = Some(id.clone());
                    }
                    self.predecessor = Some(id);
                    let accepted = self.status_now.borrow().accepted;
                    self.status_now.send_modify(|status_now| {
                        status_now.session = None;
                        status_now.registered = false;
                    });
                    // A session that never lived is a failed attempt, not a loss: no reason to hurry.
                    if accepted == opened {
                        self.sessions_never_confirmed = self.sessions_never_confirmed.saturating_add(1);
                        self.failed(lost, RegistrationEvent::Lost).await;
                    } else {
                        self.sessions_never_confirmed = 0;
                    }
                }
                Err(error) => self.failed(error, RegistrationEvent::Failed).await,
            }
        }
    }

    /// A new session, after the predecessor's is retired.
    async fn open(&mut self) -> Result<(String, String), Error> {
        let client = self.endpoints.current();
        self.retire().await?;
        let sent = Instant::now();
        let session = client.sessions().create(self.service.interval, &self.service.session_metadata).await?;
        if let Some(previous_session) = &self.previous_session {
            previous_session.write(&session.id).await;
        }
        self.status_now.send_modify(|status_now| {
            status_now.session = Some((client, session.id.clone()));
            status_now.accepted = Some(sent);
        });
        Ok((session.id, session.token))
    }

    /// Removes the predecessor's session, if there is one.
    async fn retire(&mut self) -> Result<(), Error> {
        let Some(predecessor) = &self.predecessor else { return Ok(()) };
        match self.endpoints.current().sessions().remove(predecessor).await {
            Ok(()) => info!("retired the session {predecessor}, which was ours"),
            Err(error) if error.is_not_found() => {}
            // Nothing would ever change that, and a new session needs no more than that the old one expires.
            Err(error) if !error.is_retryable() && error.status() != Some(401) => {
                warn!("the session {predecessor}, which was ours, is left to expire: {error}");
            }
            Err(error) => return Err(error),
        }
        self.predecessor = None;
        Ok(())
    }

    /// Once the wrapper is gone that used the state directory, this one is its successor.
    async fn succeed(&mut self, session: &str) -> Result<(), Error> {
        let Some(previous_session) = self.previous_session.clone() else { return Ok(()) };
        let (is_new, predecessor) = previous_session.take_over().await;
        if is_new {
            self.predecessor = predecessor;
        }
        if is_new || self.predecessor.is_some() {
            self.retire().await?;
            previous_session.write(session).await;
        }
        Ok(())
    }

    /// Registers in this session and keeps it alive; returns when the registry does not know it any more.
    async fn run_session(&mut self, id: &str, token: String) -> Error {
        let looks = Looks::new(self.service.interval, self.fenced);
        if *self.wanted.borrow() {
            // In the common case this is the last request before the child is started, so nothing stands beside it.
            match self.register(id).await {
                Ok(()) => tokio::task::yield_now().await, // whoever waits for this comes first
                Err(error) if error.is_not_found() => return error,
                Err(error) => self.failed(error, RegistrationEvent::Failed).await,
            }
        }
        let beats = Heartbeats {
            endpoints: self.endpoints.clone(),
            status_now: self.status_now.clone(),
            may_host: self.may_host,
            interval: self.service.interval,
            looks: &looks,
        };
        tokio::select! {
            lost = beats.until_lost(id, token) => lost,
            lost = self.reconcile(id, &looks) => lost,
        }
    }

    /// Sees to it that the service is in the registry while it is wanted there, and only then.
    async fn reconcile(&mut self, session: &str, looks: &Looks) -> Error {
        loop {
            let wanted = *self.wanted.borrow_and_update();
            if !wanted {
                self.status_now.send_if_modified(|status_now| status_now.held.take().is_some());
            }
            let registered = self.status_now.borrow().registered;
            let done = if let Err(error) = self.succeed(session).await {
                Err(error)
            } else if wanted && !registered {
                self.register(session).await
            } else if registered && !wanted {
                self.withdraw().await
            } else {
                let again = (self.unseen > 0).then(|| {
                    backoff(self.unseen, Duration::from_secs(self.service.interval.into()) / 8, fastrand::f64())
                });
                tokio::select! {
                    _ = self.wanted.changed() => continue,
                    () = looks.wait(again) => {}
                }
                let done = if wanted { self.look(session).await } else { Ok(()) };
                if looks.are_next() && self.service.interval >= LONG {
                    memory::give_back_code();
                }
                done
            };
            match done {
                Err(error) if error.is_not_found() => return error,
                Err(error) => self.failed(error, RegistrationEvent::Failed).await,
                Ok(()) => {}
            }
        }
    }

    /// One attempt.
    pub(super) async fn register(&mut self, session: &str) -> Result<(), Error> {
        let client = self.endpoints.current();
        let id = &self.service.id;
        let mut sent = Instant::now();
        match client.services().create(session, id, &self.service.payload).await {
            Ok(_) => {}
            Err(error) if error.is_fault("serviceWithThisIdExists") => match holder(&client, id).await {
                // An answer was lost: it is there already.
                Some((holder, _)) if holder == session => {}
                Some((holder, about)) if self.has_place() && !self.was_ours(&holder) => {
                    match self.give_away(format!("{id} is held by session {holder}{about}")).await {}
                }
                Some((holder, about)) if self.replace || self.was_ours(&holder) => {
                    let why = if self.was_ours(&holder) { "which was this wrapper's" } else { "as --replace says" };
                    warn!("{id} is held by session {holder}{about}; replacing it, {why}");
                    client.services().remove(id).await?;
                    sent = Instant::now();
                    client.services().create(session, id, &self.service.payload).await?;
                }
                Some((holder, about)) => {
                    if self.status_now.borrow().failures == 0 {
                        warn!(
                            "{id} is held by session {holder}{about} until that expires; --replace would take it over"
                        );
                    }
                    return Err(error);
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
        info!("registered {id} at {} (session {session})", client.registry_url());
        self.steady = false;
        self.status_now.send_modify(|status_now| {
            status_now.registered = true;
            status_now.held = Some(sent);
            status_now.failures = 0;
            status_now.next_attempt = None;
            status_now.last_error = None;
        });
        self.tell(RegistrationEvent::Registered);
        Ok(())
    }

    async fn withdraw(&mut self) -> Result<(), Error> {
        match self.endpoints.current().services().remove(&self.service.id).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        info!("{} is out of the registry", self.service.id);
        self.status_now.send_modify(|status_now| {
            status_now.registered = false;
            status_now.failures = 0;
        });
        Ok(())
    }

    /// Says that an attempt failed, once for a row of failures, and waits until it is time for the next one.
    async fn failed(&mut self, error: Error, news: fn(Error) -> RegistrationEvent) {
        let failures = self.status_now.borrow().failures.saturating_add(1);
        let state = match (self.status_now.borrow().registered, self.steady) {
            (true, _) => "still registered, will try again",
            (false, false) => "not registered, will try again",
            (false, true) => "not registered yet", // whoever counts the attempts says what comes of it
        };
        // Of an id that is taken more was said already.
        if failures == 1 && !error.is_fault("serviceWithThisIdExists") {
            warn!("{} is {state}: {error}", self.service.id);
        } else {
            debug!(failures, "still so: {error}");
        }
        let hosting = self.may_host && error.is_connect() && embedded::begin();
        let is_refused = error.status() == Some(401);
        let another = if is_refused { self.endpoints.read_key_again().await } else { self.endpoints.fail_over(&error) };
        let elsewhere = another && failures == 1;
        let interval = Duration::from_secs(self.service.interval.into());
        let asked = error.retry_after().unwrap_or_default();
        let pause = if hosting || elsewhere {
            Duration::ZERO
        } else {
            pause(interval, self.steady, failures.max(self.sessions_never_confirmed), asked, fastrand::f64())
        };
        self.status_now.send_modify(|status_now| {
            status_now.failures = failures;
            status_now.next_attempt = Some(Instant::now() + pause);
            status_now.last_error = Some(error.to_string());
        });
        self.tell(news(error));
        sleep(pause).await;
    }

    fn tell(&self, news: RegistrationEvent) {
        let _ = self.news.send(news); // nobody listens any more once the child runs
    }
}

/// Capped exponential with full jitter, so that a fleet does not come back in step; back within one interval. A registry may
/// ask for more, but not for a day. `random` is from 0 to 1.
fn pause(interval: Duration, steady: bool, failures: u32, asked: Duration, random: f64) -> Duration {
    let pause = if steady { BETWEEN_ATTEMPTS } else { backoff(failures, interval / 2, random) };
    pause.max(asked.min(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_every_interval_the_next_attempt_is_within_it() {
        for interval in (3..=120).map(Duration::from_secs) {
            for failures in (1..40).chain([u32::MAX]) {
                for random in [0.0, 0.5, 1.0] {
                    for steady in [false, true] {
                        let after = |asked| pause(interval, steady, failures, Duration::from_secs(asked), random);
                        assert!((Duration::from_millis(100)..interval).contains(&after(0)), "{interval:?} {failures}");
                        assert_eq!(after(86_400), interval);
                        assert!(after(2) >= Duration::from_secs(2));
                    }
                    let unasked = pause(interval, false, failures, Duration::ZERO, random);
                    assert!(unasked <= interval / 2, "{interval:?} {failures}: room for the attempt itself");
                }
            }
        }
    }
}

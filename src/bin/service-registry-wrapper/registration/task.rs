//! The task that keeps the service registered as long as the wrapper lives. The child never waits for it.
//!
//! Revoke the previous session → open a session → register the service in it → heartbeat, and verify from time to time
//! that the service is still there → begin again if the registry has lost the session.

use std::time::Duration;

use service_registry::client::{Error, ServiceUpdate, backoff};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::desired::DesiredWatch;
use super::endpoints::{Endpoints, FailOver};
use super::heartbeats::Heartbeats;
use super::holder::Holder;
use super::state_dir::PreviousSession;
use super::status::RegistrationStatus;
use super::verification_schedule::VerificationSchedule;
use crate::boot_time::BootTime;
use crate::options::Service;

/// The pause of the original clients between two attempts.
pub(super) const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(2);

/// The fault for an id that is in use.
const ID_IN_USE: &str = "serviceWithThisIdExists";

/// An event for the start, which waits for the registration.
pub(crate) enum RegistrationEvent {
    Registered,
    /// A session is open, and a reason keeps the service out of the registry.
    SessionOpened,
    /// An attempt failed; another follows.
    Failed(Error),
    /// A file that the options name cannot be read yet.
    Unprepared(anyhow::Error),
    /// The session was lost before its first heartbeat; another is opened, so this error is never final.
    Lost(Error),
}

pub(super) struct RegistrationTask {
    pub endpoints: Endpoints,
    pub service: Service,
    /// Take the service over from any other holder, until it is registered for the first time.
    pub replace: bool,
    pub previous_session: Option<PreviousSession>,
    /// A session that was this service's, until it is revoked.
    pub to_revoke: Option<String>,
    /// This wrapper's last session with the service, if it was reported as lost: it may live, if the 404 did not come
    /// from the registry.
    pub lost_session: Option<String>,
    /// Sessions in a row of which no heartbeat was ever accepted.
    pub sessions_never_confirmed: u32,
    /// Verifications in a row that failed.
    pub failed_verifications: u32,
    /// A lost place stops the child.
    pub has_fence: bool,
    /// With the fence: the wrapper has taken the service out itself, because the child could not serve. Another process
    /// that has taken the place since then stops the child. After a maintenance the wrapper waits for the place
    /// instead.
    pub has_given_way: bool,
    /// Attempts are a constant time apart, as `--abort-on-failure` counts them, until the first success.
    pub has_fixed_pause: bool,
    pub events: mpsc::UnboundedSender<RegistrationEvent>,
    pub status: watch::Sender<RegistrationStatus>,
    pub desired: DesiredWatch,
}

impl RegistrationTask {
    pub(super) async fn run(mut self) {
        loop {
            match self.open_session().await {
                Ok((id, token)) => {
                    let opened = self.status.borrow().heartbeat_sent;
                    let error = self.run_session(&id, token).await;
                    self.session_lost(id, opened, error).await;
                }
                Err(error) => self.failed(error, RegistrationEvent::Failed).await,
            }
        }
    }

    /// Opens a session, after the previous one is revoked. Returns its id and its token.
    async fn open_session(&mut self) -> Result<(String, String), Error> {
        let client = self.endpoints.current();
        self.revoke().await?;
        let sent = BootTime::now();
        let session = client.sessions().create(self.service.interval, &self.service.session_metadata).await?;
        if let Some(previous_session) = &self.previous_session {
            previous_session.write(&session.id).await;
        }
        self.status.send_modify(|status| {
            status.session = Some((client, session.id.clone()));
            status.totals.sessions += 1;
            status.heartbeat_sent = Some(sent);
        });
        Ok((session.id, session.token))
    }

    /// Revokes the session that was this service's, if there is one.
    async fn revoke(&mut self) -> Result<(), Error> {
        let Some(session) = &self.to_revoke else { return Ok(()) };
        match self.endpoints.current().sessions().remove_replaced(session, "").await {
            Ok(()) => info!("revoked the previous session {session}"),
            Err(error) if error.is_not_found() => {}
            // Another attempt would not help, and the new session only needs the old one to expire.
            Err(error) if !error.is_retryable() && error.status() != Some(401) => {
                warn!("the previous session {session} is left to expire: {error}");
            }
            Err(error) => return Err(error),
        }
        self.to_revoke = None;
        Ok(())
    }

    async fn session_lost(&mut self, id: String, opened: Option<BootTime>, error: Error) {
        info!("the registration is lost, registering again: {error}");
        let accepted = self.status.borrow().heartbeat_sent;
        // If the registry was wrong, the session lives on and still holds the service.
        if self.status.borrow().registered {
            self.lost_session = Some(id.clone());
        }
        self.to_revoke = Some(id);
        self.status.send_modify(|status| {
            status.session = None;
            status.registered = false;
        });
        // A session without any heartbeat counts as a failed attempt, not as a loss: no reason to hurry.
        if accepted == opened {
            self.sessions_never_confirmed = self.sessions_never_confirmed.saturating_add(1);
            self.failed(error, RegistrationEvent::Lost).await;
        } else {
            self.sessions_never_confirmed = 0;
        }
    }

    /// Registers the service in this session and keeps it alive; returns when the registry does not know the session
    /// any more.
    async fn run_session(&mut self, id: &str, token: String) -> Error {
        let schedule = VerificationSchedule::new(self.service.interval, self.has_fence);
        if self.desired.reason().is_none() {
            // Usually the last request before the child is started, so nothing runs beside it.
            match self.register(id).await {
                Ok(()) => {}
                Err(error) if error.is_not_found() => return error,
                Err(error) => self.failed(error, RegistrationEvent::Failed).await,
            }
        } else {
            info!(
                "opened session {id} at {}; {} is not registered yet",
                self.endpoints.current().registry_url(),
                self.service.id
            );
            self.has_fixed_pause = false;
            self.status.send_modify(RegistrationStatus::recovered);
            self.send(RegistrationEvent::SessionOpened);
        }
        let heartbeats = Heartbeats {
            endpoints: self.endpoints.clone(),
            status: self.status.clone(),
            interval: self.service.interval,
            schedule: &schedule,
        };
        tokio::select! {
            lost = heartbeats.until_lost(id, token) => lost,
            lost = self.reconcile(id, &schedule) => lost,
        }
    }

    /// Keeps the service in the registry while it is desired there, and out of it otherwise.
    async fn reconcile(&mut self, session: &str, schedule: &VerificationSchedule) -> Error {
        loop {
            let reason = self.desired.reason();
            if reason.is_some() {
                self.status.send_if_modified(|status| status.verified_sent.take().is_some());
            }
            let is_registered = self.status.borrow().registered;
            let outcome = if let Err(error) = self.take_state_over(session).await {
                Err(error)
            } else if reason.is_none() && !is_registered {
                self.register(session).await
            } else if let Some(reason) = reason.as_ref().filter(|_| is_registered) {
                self.take_out(reason).await
            } else if is_registered && self.is_described_differently() {
                self.update().await
            } else {
                let interval = Duration::from_secs(self.service.interval.into());
                let failed = self.failed_verifications;
                let retry = (failed > 0).then(|| backoff(failed, interval / 8, fastrand::f64()));
                tokio::select! {
                    () = self.desired.changed() => continue,
                    () = schedule.wait(retry) => {}
                }
                if reason.is_none() { self.verify(session).await } else { Ok(()) }
            };
            match outcome {
                Err(error) if error.is_not_found() => return error,
                Err(error) => self.failed(error, RegistrationEvent::Failed).await,
                Ok(()) => {}
            }
        }
    }

    /// Takes over the state directory once the wrapper that used it is gone.
    async fn take_state_over(&mut self, session: &str) -> Result<(), Error> {
        let Some(previous_session) = self.previous_session.clone() else { return Ok(()) };
        let (is_new, to_revoke) = previous_session.take_over().await;
        if is_new {
            self.to_revoke = to_revoke;
        }
        if is_new || self.to_revoke.is_some() {
            self.revoke().await?;
            previous_session.write(session).await;
        }
        Ok(())
    }

    /// Registers the service: one attempt.
    pub(super) async fn register(&mut self, session: &str) -> Result<(), Error> {
        let client = self.endpoints.current();
        let id = &self.service.id;
        let payload = self.desired.payload();
        let mut sent = BootTime::now();
        match client.services().create(session, id, &payload).await {
            Ok(_) => {}
            Err(error) if error.is_fault(ID_IN_USE) => match Holder::find(&client, id).await {
                // The response to an earlier attempt was lost.
                Some(holder) if holder.session == session => {}
                Some(holder) if (self.has_fenced_place() || self.has_given_way) && !self.was_ours(&holder.session) => {
                    match self.lose_place(format!("{id} is held by {holder}")).await {} // never returns
                }
                Some(holder) if self.replace || self.was_ours(&holder.session) => {
                    let is_ours = self.was_ours(&holder.session);
                    let why = if is_ours { "which was this wrapper's" } else { "as --replace says" };
                    warn!("{id} is held by {}; replacing it, {why}", holder.describe(&client).await);
                    client.services().remove_replaced(id, "").await?;
                    sent = BootTime::now();
                    client.services().create(session, id, &payload).await?;
                }
                Some(holder) => {
                    if self.status.borrow().registered {
                        let holder = holder.describe(&client).await;
                        warn!("{id} was taken over by {holder}; registering it again once that is gone");
                        self.status.send_modify(|status| status.registered = false);
                    } else if self.status.borrow().failures == 0 {
                        let holder = holder.describe(&client).await;
                        warn!("{id} is held by {holder} until that expires; --replace would take it over");
                    }
                    return Err(error);
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        }
        info!("registered {id} at {} (session {session})", client.registry_url());
        self.has_fixed_pause = false;
        self.has_given_way = false;
        self.replace = false; // two wrappers would take the id from each other for ever
        self.status.send_modify(|status| {
            status.registered = true;
            status.payload = Some(payload);
            status.verified_sent = Some(sent);
            status.recovered();
        });
        self.send(RegistrationEvent::Registered);
        Ok(())
    }

    fn is_described_differently(&mut self) -> bool {
        self.status.borrow().payload.as_ref() != Some(&self.desired.payload())
    }

    /// Changes tags and metadata of the registered service.
    async fn update(&mut self) -> Result<(), Error> {
        let payload = self.desired.payload();
        let (tags, metadata) = (Some(payload.tags.clone()), Some(payload.metadata.clone()));
        let update = ServiceUpdate { tags, metadata, ..ServiceUpdate::default() };
        match self.endpoints.current().services().update(&self.service.id, &update).await {
            Err(error) if !error.is_not_found() => return Err(error),
            Err(_) => self.status.send_modify(|status| status.registered = false), // it is registered again
            Ok(()) => {
                info!("updated {}: tags {:?}, metadata {:?}", self.service.id, payload.tags, payload.metadata);
                self.status.send_modify(|status| {
                    status.payload = Some(payload);
                    status.recovered();
                });
            }
        }
        Ok(())
    }

    /// Takes the service out of the registry, for this reason. The session stays.
    async fn take_out(&mut self, reason: &str) -> Result<(), Error> {
        match self.endpoints.current().services().remove_because(&self.service.id, reason).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        self.has_given_way = self.has_fence && !self.desired.is_in_maintenance();
        info!("{} is out of the registry: {reason}", self.service.id);
        self.status.send_modify(|status| {
            status.registered = false;
            status.payload = None;
            status.failures = 0;
        });
        Ok(())
    }

    /// Logs a failed attempt, once in a row of failures, and waits until the next one is due.
    async fn failed(&mut self, error: Error, event: fn(Error) -> RegistrationEvent) {
        let failures = self.status.borrow().failures.saturating_add(1);
        let state = match (self.status.borrow().registered, self.has_fixed_pause) {
            (true, _) => "still registered, will try again",
            (false, false) => "not registered, will try again",
            (false, true) => "not registered yet", // the start counts the attempts, and decides
        };
        // The holder of an id in use was logged already.
        if failures == 1 && !error.is_fault(ID_IN_USE) {
            warn!("{} is {state}: {error}{}", self.service.id, self.endpoints.hint(&error));
        } else {
            debug!(failures, "still failing: {error}");
        }
        let fail_over = if error.status() == Some(401) {
            if self.endpoints.read_key_again().await { FailOver::NextEndpoint } else { FailOver::Same }
        } else {
            self.endpoints.fail_over(&error)
        };
        let delay = match fail_over {
            FailOver::Hosting => Duration::ZERO,
            FailOver::NextEndpoint if failures == 1 => Duration::ZERO,
            _ => {
                let interval = Duration::from_secs(self.service.interval.into());
                let failures = failures.max(self.sessions_never_confirmed);
                let retry_after = error.retry_after().unwrap_or_default();
                delay(interval, self.has_fixed_pause, failures, retry_after, fastrand::f64())
            }
        };
        self.status.send_modify(|status| status.failed(error.to_string(), delay));
        self.send(event(error));
        sleep(delay).await;
    }

    fn send(&self, event: RegistrationEvent) {
        let _ = self.events.send(event); // the receiver may be gone once the child runs
    }
}

/// Returns the time to the next attempt: capped exponential backoff with full jitter, so that a fleet does not return
/// in step, and within one interval. A registry may ask for more (`retry_after`), up to the interval. `random` is from
/// 0 to 1.
fn delay(interval: Duration, has_fixed_pause: bool, failures: u32, retry_after: Duration, random: f64) -> Duration {
    let delay = if has_fixed_pause { BETWEEN_ATTEMPTS } else { backoff(failures, interval / 2, random) };
    delay.max(retry_after.min(interval))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_attempt_is_within_the_interval_at_every_interval() {
        for interval in (3..=120).map(Duration::from_secs) {
            for failures in (1..40).chain([u32::MAX]) {
                for random in [0.0, 0.5, 1.0] {
                    for has_fixed_pause in [false, true] {
                        let after = |retry_after| {
                            delay(interval, has_fixed_pause, failures, Duration::from_secs(retry_after), random)
                        };
                        assert!((Duration::from_millis(100)..interval).contains(&after(0)), "{interval:?} {failures}");
                        assert_eq!(after(86_400), interval);
                        assert!(after(2) >= Duration::from_secs(2));
                    }
                    let unasked = delay(interval, false, failures, Duration::ZERO, random);
                    assert!(unasked <= interval / 2, "{interval:?} {failures}: room for the attempt itself");
                }
            }
        }
    }
}

//! The heartbeats of a session: when the first is sent, to which endpoint they go while a registry fails, and what
//! follows from each.

use std::time::Duration;

use service_registry::client::{Error, HeartBeater, HeartbeatEvent, backoff};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::endpoints::{Endpoints, FailOver};
use super::status::RegistrationStatus;
use super::verification_schedule::VerificationSchedule;
use crate::boot_time::BootTime;

/// From the opening of a session to its first heartbeat: until then the child's start has the processors, and the
/// registry has only just heard from the wrapper.
const FIRST: Duration = Duration::from_secs(1);

/// Sends the heartbeats of one session, to the current endpoint.
pub(super) struct Heartbeats<'a> {
    pub endpoints: Endpoints,
    pub status: watch::Sender<RegistrationStatus>,
    /// In seconds.
    pub interval: u32,
    pub schedule: &'a VerificationSchedule,
}

/// The outcome of the last heartbeats.
#[derive(Default)]
struct Progress {
    is_failing: bool,
    /// When the last heartbeat was sent.
    sent: Option<BootTime>,
    /// Since the last verification.
    accepted: u32,
    /// Notified when another endpoint is current.
    failed_over: Notify,
    /// Notified when the registry refused the API key.
    key_refused: Notify,
}

impl Heartbeats<'_> {
    /// Sends heartbeats until the registry answers that it does not know the session.
    pub(super) async fn until_lost(&self, session: &str, mut token: String) -> Error {
        let opened = self.status.borrow().heartbeat_sent;
        sleep(FIRST.saturating_sub(opened.map_or(FIRST, |opened| opened.elapsed()))).await;
        let mut progress = Progress::default();
        loop {
            let mut beater = HeartBeater::new(&self.endpoints.current(), session, &token, self.interval);
            let Progress { is_failing, sent, accepted, failed_over, key_refused } = &mut progress;
            let (failed_over, key_refused) = (&*failed_over, &*key_refused);
            let handle = |event: HeartbeatEvent<'_>| match event {
                HeartbeatEvent::Sending => {
                    *sent = Some(BootTime::now());
                    self.schedule.heartbeat_sent();
                }
                HeartbeatEvent::Accepted { .. } => self.accepted(*sent, std::mem::take(is_failing), accepted),
                HeartbeatEvent::Failed { error, retry_in, .. } => {
                    self.failed(error, retry_in, std::mem::replace(is_failing, true));
                    if error.status() == Some(401) {
                        key_refused.notify_one();
                    } else if self.endpoints.fail_over(error) == FailOver::NextEndpoint {
                        failed_over.notify_one();
                    }
                }
                _ => {}
            };
            tokio::select! {
                lost = beater.run(handle) => return lost,
                () = failed_over.notified() => {}
                () = self.new_key(key_refused) => {}
            }
            token = beater.token();
            // A new beater sends its first heartbeat at once; without a pause, endpoints that all fail would be tried
            // without end.
            let failures = self.status.borrow().failures;
            if failures as usize >= self.endpoints.count() {
                sleep(backoff(failures, Duration::from_secs(self.interval.into()) / 4, fastrand::f64())).await;
            }
        }
    }

    /// Waits until the key file holds another key than the one that was refused. Heartbeats continue during that time.
    async fn new_key(&self, key_refused: &Notify) {
        loop {
            key_refused.notified().await;
            if self.endpoints.read_key_again().await {
                return;
            }
        }
    }

    fn accepted(&self, sent: Option<BootTime>, has_recovered: bool, accepted: &mut u32) {
        self.status.send_modify(|status| {
            status.heartbeat_sent = sent;
            status.totals.heartbeats += 1;
            if has_recovered {
                status.recovered();
            }
        });
        if has_recovered {
            info!("heartbeats are accepted again");
        }
        *accepted += 1;
        if has_recovered || *accepted >= self.schedule.heartbeats() {
            *accepted = 0;
            self.schedule.request();
        }
    }

    fn failed(&self, error: &Error, retry_in: Duration, was_failing: bool) {
        if was_failing {
            debug!("heartbeat failed, again in {retry_in:?}: {error}");
        } else {
            warn!("heartbeat failed, will be sent again: {error}");
        }
        self.status.send_modify(|status| status.failed(error.to_string(), retry_in));
    }
}

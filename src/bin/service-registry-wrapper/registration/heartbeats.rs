//! The heartbeats of a session: when the first is sent, where they go while a registry fails, and who hears of it.

use std::time::Duration;

use service_registry::client::{Error, HeartBeater, HeartbeatEvent, backoff};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::embedded;
use super::endpoints::Endpoints;
use super::looks::Looks;
use super::status::RegistrationStatus;
use crate::memory;
use crate::rest::rest;

/// In seconds. From here on heartbeats are so rare that memory counts for more than time: between them the code is given
/// back, which costs half as much processor time again for each, and leaves a third less memory.
pub(super) const LONG: u32 = 10;
/// How long after a session was opened its first heartbeat is sent. A child that has just been started has better use for the
/// processors, and the registry has only just heard of us.
const FIRST: Duration = Duration::from_secs(1);

/// The heartbeats of one session, at whichever registry answers.
pub(super) struct Heartbeats<'a> {
    pub endpoints: Endpoints,
    pub status_now: watch::Sender<RegistrationStatus>,
    pub may_host: bool,
    pub interval: u32,
    /// Told when it is time to look for the service: now and then, and when heartbeats are accepted again.
    pub looks: &'a Looks,
}

impl Heartbeats<'_> {
    /// Heartbeats until the registry does not know the session any more, and says so.
    pub(super) async fn until_lost(&self, session: &str, mut token: String) -> Error {
        let (elsewhere, refused) = (Notify::new(), Notify::new());
        let (mut failing, mut accepted) = (false, 0);
        let opened = self.status_now.borrow().accepted;
        rest(FIRST.saturating_sub(opened.map_or(FIRST, |opened| opened.elapsed()))).await;
        self.looks.heartbeat_sent();
        let pause = |time| {
            let rest = rest(time);
            if self.interval >= LONG && !self.looks.are_next() {
                memory::give_back_code();
            }
            async move {
                rest.await;
                self.looks.heartbeat_sent();
            }
        };
        loop {
            let mut beater = HeartBeater::new(&self.endpoints.current(), session, &token, self.interval);
            tokio::select! {
                lost = beater.run_by(pause, |beat| self.hear(beat, &mut failing, &mut accepted, &elsewhere, &refused)) => {
                    return lost;
                }
                () = elsewhere.notified() => {}
                () = self.another_key(&refused) => {}
            }
            token = beater.token();
            // Each registry begins with a beat at once; when all of them have failed, that would be no pause at all.
            let failures = self.status_now.borrow().failures;
            if failures as usize >= self.endpoints.count() {
                sleep(backoff(failures, Duration::from_secs(self.interval.into()) / 4, fastrand::f64())).await;
            }
        }
    }

    /// Waits until there is another key than the one that was refused. Heartbeats go on meanwhile.
    async fn another_key(&self, refused: &Notify) {
        loop {
            refused.notified().await;
            if self.endpoints.read_key_again().await {
                return;
            }
        }
    }

    /// Says once that heartbeats fail and once that they are accepted again.
    fn hear(
        &self,
        beat: HeartbeatEvent<'_>,
        failing: &mut bool,
        accepted: &mut u32,
        elsewhere: &Notify,
        refused: &Notify,
    ) {
        match beat {
            HeartbeatEvent::Accepted { sent, .. } => {
                let recovered = std::mem::take(failing);
                self.status_now.send_modify(|status_now| {
                    status_now.accepted = Some(sent);
                    if recovered {
                        status_now.failures = 0;
                        status_now.next_attempt = None;
                        status_now.last_error = None;
                    }
                });
                if recovered {
                    info!("heartbeats are accepted again");
                }
                *accepted += 1;
                if recovered || *accepted >= self.looks.every() {
                    *accepted = 0;
                    self.looks.ask();
                }
            }
            HeartbeatEvent::Failed { error, retry_in, .. } => {
                if std::mem::replace(failing, true) {
                    debug!("heartbeat failed, again in {retry_in:?}: {error}");
                } else {
                    warn!("heartbeat failed, will be sent again: {error}");
                }
                self.status_now.send_modify(|status_now| {
                    status_now.failures = status_now.failures.saturating_add(1);
                    status_now.next_attempt = Some(Instant::now() + retry_in);
                    status_now.last_error = Some(error.to_string());
                });
                if self.may_host && error.is_connect() {
                    embedded::begin(); // whoever hosted the registry is gone; the next heartbeat will find a new one
                }
                if error.status() == Some(401) {
                    refused.notify_one();
                } else if self.endpoints.fail_over(error) {
                    elsewhere.notify_one();
                }
            }
            _ => {}
        }
    }
}

//! The heartbeats of a session: when the first is sent, where they go while a registry fails, and who hears of it.

use std::time::Duration;

use service_registry::client::{Beat, Error, HeartBeater, backoff};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::embedded;
use super::endpoints::Registries;
use super::looks::Looks;
use super::status::Standing;
use crate::memory;
use crate::rest::rest;

/// In seconds. From here on heartbeats are so rare that memory counts for more than time: between them the code is given
/// back, which costs half as much processor time again for each, and leaves a third less memory.
pub(crate) const LONG: u32 = 10;
/// How long after a session was opened its first heartbeat is sent. A child that has just been started has better use for the
/// processors, and the registry has only just heard of us.
const FIRST: Duration = Duration::from_secs(1);

/// The heartbeats of one session, at whichever registry answers.
pub(crate) struct Beats<'a> {
    pub registries: Registries,
    pub standing: watch::Sender<Standing>,
    pub may_host: bool,
    pub interval: u32,
    /// Told when it is time to look for the service: now and then, and when heartbeats are accepted again.
    pub looks: &'a Looks,
}

impl Beats<'_> {
    /// Heartbeats until the registry does not know the session any more, and says so.
    pub(crate) async fn until_lost(&self, session: &str, mut token: String) -> Error {
        let (elsewhere, refused) = (Notify::new(), Notify::new());
        let (mut failing, mut accepted) = (false, 0);
        let opened = self.standing.borrow().accepted;
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
            let mut beater = HeartBeater::new(&self.registries.current(), session, &token, self.interval);
            tokio::select! {
                lost = beater.run_by(pause, |beat| self.hear(beat, &mut failing, &mut accepted, &elsewhere, &refused)) => {
                    return lost;
                }
                () = elsewhere.notified() => {}
                () = self.another_key(&refused) => {}
            }
            token = beater.token();
            // Each registry begins with a beat at once; when all of them have failed, that would be no pause at all.
            let failures = self.standing.borrow().failures;
            if failures as usize >= self.registries.count() {
                sleep(backoff(failures, Duration::from_secs(self.interval.into()) / 4, fastrand::f64())).await;
            }
        }
    }

    /// Waits until there is another key than the one that was refused. Heartbeats go on meanwhile.
    async fn another_key(&self, refused: &Notify) {
        loop {
            refused.notified().await;
            if self.registries.read_key_again().await {
                return;
            }
        }
    }

    /// Says once that heartbeats fail and once that they are accepted again.
    fn hear(&self, beat: Beat<'_>, failing: &mut bool, accepted: &mut u32, elsewhere: &Notify, refused: &Notify) {
        match beat {
            Beat::Accepted { sent, .. } => {
                let recovered = std::mem::take(failing);
                self.standing.send_modify(|standing| {
                    standing.accepted = Some(sent);
                    if recovered {
                        standing.failures = 0;
                        standing.next_attempt = None;
                        standing.last_error = None;
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
            Beat::Failed { error, retry_in, .. } => {
                if std::mem::replace(failing, true) {
                    debug!("heartbeat failed, again in {retry_in:?}: {error}");
                } else {
                    warn!("heartbeat failed, will be sent again: {error}");
                }
                self.standing.send_modify(|standing| {
                    standing.failures = standing.failures.saturating_add(1);
                    standing.next_attempt = Some(Instant::now() + retry_in);
                    standing.last_error = Some(error.to_string());
                });
                if self.may_host && error.is_connect() {
                    embedded::begin(); // whoever hosted the registry is gone; the next heartbeat will find a new one
                }
                if error.status() == Some(401) {
                    refused.notify_one();
                } else if self.registries.fail_over(error) {
                    elsewhere.notify_one();
                }
            }
            _ => {}
        }
    }
}

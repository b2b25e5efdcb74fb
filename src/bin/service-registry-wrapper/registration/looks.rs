//! When it is time to look whether the service is really there: now and then, and where the fence is on with every heartbeat.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

use crate::rest::rest;

/// Without the fence the service is looked for behind every fifth heartbeat, so every third interval; a time of its own would wake
/// the process up once more.
const BETWEEN_LOOKS: u32 = 5;
/// With the fence on, a look follows the answer to each heartbeat, on the same connection. Where the answer takes longer than this
/// part of the interval, the look does not wait for it: one after the other, two slow answers would take longer than the fence
/// leaves time for, and the child of a registry that is merely slow would be stopped.
const PATIENCE: u32 = 32;

/// Told of heartbeats, and asked when the next look is due.
pub(super) struct Looks {
    due: Notify,
    sent: Notify,
    /// How long a look waits for the answer to the heartbeat; nothing without the fence.
    patience: Option<Duration>,
}

impl Looks {
    pub(super) fn new(interval: u32, fenced: bool) -> Self {
        let patience = fenced.then(|| Duration::from_secs(interval.into()) / PATIENCE);
        Self { due: Notify::new(), sent: Notify::new(), patience }
    }

    /// Whether one follows each heartbeat.
    pub(super) fn are_next(&self) -> bool {
        self.patience.is_some()
    }

    /// After how many heartbeats.
    pub(super) fn every(&self) -> u32 {
        if self.are_next() { 1 } else { BETWEEN_LOOKS }
    }

    /// A heartbeat is on its way.
    pub(super) fn heartbeat_sent(&self) {
        if self.are_next() {
            self.sent.notify_one();
        }
    }

    /// It is time.
    pub(super) fn ask(&self) {
        self.due.notify_one();
    }

    /// Waits until it is time, at most so long.
    pub(super) async fn wait(&self, most: Option<Duration>) {
        let unanswered = async {
            let Some(patience) = self.patience else { return std::future::pending().await };
            self.sent.notified().await;
            rest(patience).await;
        };
        let most = async {
            match most {
                Some(time) => sleep(time).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.due.notified() => {}
            () = unanswered => {}
            () = most => {}
        }
    }
}

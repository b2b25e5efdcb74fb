//! When the wrapper verifies that the service is still in the registry: with every fifth heartbeat, or with each one if
//! the fence is on.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Without the fence, the number of heartbeats between two verifications: three intervals. A timer of its own would
/// wake the process up once more.
const HEARTBEATS: u32 = 5;
/// With the fence on, a verification follows the response to each heartbeat, on the same connection. If the response
/// takes longer than this part of the interval, the verification does not wait for it: two slow responses in a row
/// would not fit into the time that the fence leaves, and a registry that is merely slow would cost the child its life.
const RESPONSE_PART: u32 = 32;

/// Learns of heartbeats, and says when the next verification is due.
pub(super) struct VerificationSchedule {
    due: Notify,
    sent: Notify,
    /// How long a verification waits for the response to the heartbeat; none without the fence.
    response_time: Option<Duration>,
}

impl VerificationSchedule {
    pub(super) fn new(interval: u32, has_fence: bool) -> Self {
        let response_time = has_fence.then(|| Duration::from_secs(interval.into()) / RESPONSE_PART);
        Self { due: Notify::new(), sent: Notify::new(), response_time }
    }

    /// Returns the number of heartbeats to one verification.
    pub(super) fn heartbeats(&self) -> u32 {
        if self.response_time.is_some() { 1 } else { HEARTBEATS }
    }

    /// Called when a heartbeat is sent.
    pub(super) fn heartbeat_sent(&self) {
        if self.response_time.is_some() {
            self.sent.notify_one();
        }
    }

    /// Makes a verification due.
    pub(super) fn request(&self) {
        self.due.notify_one();
    }

    /// Waits until a verification is due, for at most `longest`.
    pub(super) async fn wait(&self, longest: Option<Duration>) {
        let unanswered = async {
            let Some(response_time) = self.response_time else { return std::future::pending().await };
            self.sent.notified().await;
            sleep(response_time).await;
        };
        let timeout = async {
            match longest {
                Some(longest) => sleep(longest).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.due.notified() => {}
            () = unanswered => {}
            () = timeout => {}
        }
    }
}

//! When a child that cannot be kept registered is stopped: a pure function of when the registration was last confirmed.

use std::ops::Add;
use std::time::Duration;

use crate::options::{OnLost, WrapperConfig};

/// The part of the timeout after which the child gets SIGTERM, counted from when the place was last certainly its own.
/// The next heartbeat is sent at 0.63 of it at the latest and has a quarter of it to be answered.
const ASK: f64 = 0.88;
/// The part after which it is killed.
const KILL: f64 = 0.95;

/// The fence of a session with this timeout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fence {
    pub timeout: Duration,
}

impl Fence {
    /// The fence of `--on-lost=stop`.
    pub(super) fn of(config: &WrapperConfig) -> Option<Self> {
        let timeout = Duration::from_secs(config.service.interval.into());
        (config.on_lost == OnLost::Stop).then_some(Self { timeout })
    }

    /// Returns when the child gets SIGTERM, if no later request confirms its place.
    pub(crate) fn sigterm_at<T: Add<Duration, Output = T>>(self, sent: T) -> T {
        sent + self.timeout.mul_f64(ASK)
    }

    /// Returns when it is killed. The registry counts from when it accepted the heartbeat, which is no earlier than it
    /// was sent.
    pub(super) fn sigkill_at<T: Add<Duration, Output = T>>(self, sent: T) -> T {
        sent + self.timeout.mul_f64(KILL)
    }

    /// Returns how long a child whose place is lost already has between the two.
    pub(super) fn grace(self) -> Duration {
        self.timeout.mul_f64(KILL - ASK)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance, sleep_until};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn fence_leaves_time_for_a_heartbeat_and_for_the_child_at_every_interval() {
        for seconds in 3..=120 {
            let timeout = Duration::from_secs(seconds);
            let fence = Fence { timeout };
            // A heartbeat is accepted up to a quarter of the timeout after it was sent.
            for answered in [Duration::ZERO, timeout / 8, timeout / 4] {
                let sent = Instant::now();
                advance(answered).await;
                sleep_until(fence.sigterm_at(sent)).await;
                let asked = sent.elapsed();
                assert!(asked >= timeout.mul_f64(0.63) + timeout / 4, "{timeout:?}: a heartbeat has its time");
                sleep_until(fence.sigkill_at(sent)).await;
                let killed = sent.elapsed();
                assert!(killed - asked >= timeout.mul_f64(0.06), "{timeout:?}: the child has time to end");
                assert!(killed < timeout.mul_f64(0.96), "{timeout:?}: killed {killed:?} after the heartbeat");
            }
        }
    }
}

//! How long a node's shards are certainly its own: as long as its lease lives.
//!
//! The lease ends its time after etcd has handled the last keep-alive, which is after the keep-alive was sent. So the
//! node counts from when it was sent. It counts on CLOCK_BOOTTIME, which goes on while the machine is suspended.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::registry::switches::is_switched_off;

/// The part of the lease's time that the node counts on, in percent: the rest is for clocks that run at different rates.
const CERTAIN: u64 = 90;

/// A claim, which ends unless it is extended. In milliseconds of [`boot_ms`].
#[derive(Debug, Default)]
pub(super) struct Claim(AtomicU64);

impl Claim {
    /// Extends it, after etcd has granted `ttl` in answer to a request that was sent then.
    pub(super) fn extend(&self, sent: u64, ttl: Duration) {
        let certain = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).saturating_mul(CERTAIN) / 100;
        self.0.fetch_max(sent.saturating_add(certain), Ordering::AcqRel);
    }

    /// Ends it.
    pub(super) fn give_up(&self) {
        self.0.store(0, Ordering::Release);
    }

    pub(super) fn is_valid(&self) -> bool {
        boot_ms() < self.0.load(Ordering::Acquire) || is_switched_off("claim")
    }

    /// Returns how long it is still valid.
    pub(super) fn left(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Acquire).saturating_sub(boot_ms()))
    }
}

/// Returns the time since the machine was started, in milliseconds. Without the clock no claim is valid.
pub(super) fn boot_ms() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from);
    time.map_or(u64::MAX, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claim_counts_from_when_the_request_was_sent() {
        let claim = Claim::default();
        assert!(!claim.is_valid() && claim.left().is_zero());
        let now = boot_ms();
        claim.extend(now, Duration::from_secs(100));
        assert!(claim.is_valid() && claim.left() > Duration::from_secs(80) && claim.left() <= Duration::from_secs(90));
        claim.extend(now.saturating_sub(200_000), Duration::from_secs(100));
        assert!(claim.is_valid(), "an answer that comes late takes nothing back");
        let late = Claim::default();
        late.extend(now.saturating_sub(4_000), Duration::from_secs(4));
        assert!(!late.is_valid());
    }
}

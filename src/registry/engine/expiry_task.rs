//! Expires overdue leases: before a request that must not see them, and in a task that wakes up near each deadline.

use tokio::task::yield_now;

use super::{Engine, Wait};
use crate::registry::model::{Now, TICK};
use crate::registry::state::GRACE_MS;

/// The number of leases that expire before other requests get the lock.
const LEASES_AT_A_TIME: usize = 1_000;

/// In milliseconds: from this time before a deadline on, the task looks at the clock every tick.
const NEAR_MS: u64 = 1_500;

/// The longest time between two looks at the clock while there is a deadline, in milliseconds. A shorter pause of the
/// process that ends long before any deadline may pass unnoticed.
const FAR_MS: u64 = 1_000;

/// How long the task sleeps if there is no deadline, in milliseconds. A new lease wakes it up.
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

impl Engine {
    /// Expires overdue leases in parts, before [`State::sweep`](crate::registry::state::State) expires the rest under
    /// the lock of a request.
    pub(super) async fn sweep_first(&self, now: Now) {
        let is_overdue = {
            let inner = self.shared.lock();
            inner.state.is_overdue(now) && !inner.store.is_failing()
        };
        if is_overdue {
            self.sweep(now).await;
        }
    }

    /// Expires each lease after its deadline, as long as the future is polled.
    pub(in crate::registry) async fn keep_swept(&self) {
        loop {
            let now = self.clock.now();
            let wait = self.next_deadline(now).map_or(YEAR_MS, |deadline| {
                let left = (deadline + GRACE_MS).saturating_sub(now.mono);
                left.saturating_sub(NEAR_MS).clamp(TICK, FAR_MS)
            });
            tokio::select! {
                () = self.earlier_deadline.notified() => continue,
                () = self.clock.tick(wait) => {}
            }
            let now = self.clock.now();
            // Every lease has its grace, not only the one whose deadline ended the wait.
            let cutoff = now.mono.saturating_sub(GRACE_MS);
            self.clock.tick_until(self.sweep_first(Now { mono: cutoff, wall: now.wall_of(cutoff) })).await;
        }
    }

    async fn sweep(&self, now: Now) {
        // While the disk fails, expiries are rolled back; trying them again would never end.
        while let Some(false) = self.change(Wait::Own, None, |state| state.sweep(now, LEASES_AT_A_TIME)).await {
            yield_now().await; // to other requests
        }
    }

    /// Returns the deadline to wait for.
    fn next_deadline(&self, now: Now) -> Option<u64> {
        let mut inner = self.shared.lock();
        inner.state.requeue_renewed(now.mono + NEAR_MS);
        inner.awaited = inner.state.next_deadline();
        inner.awaited
    }
}

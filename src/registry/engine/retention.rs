//! The retention of events: old ones leave the disk after a commit, a part at a time.

use std::time::Duration;

use super::shared::Shared;
use crate::registry::model::{Clock, Now, TenantId, Uuid1};
use crate::registry::state::first_kept;
use crate::registry::store::record::event_key;
use crate::registry::store::{Backend, CommitError, RecordWrite};

/// The most events that leave the disk after one commit.
pub(super) const REMOVED_AT_A_TIME: usize = 2_000;
/// Old events are looked for this many times in the time that events are kept.
const LOOKS: u64 = 200;
/// The shortest time between two looks while nothing is committed.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Retention {
    clock: Clock,
    /// How long events are kept, in milliseconds.
    keep_for: u64,
    /// The last reading of the clock, with the clamped wall time.
    clamped: Now,
    /// The wall time of the next look.
    next_look: u64,
    /// There were more old events than leave at once.
    has_more: bool,
    /// There is no event before this one.
    removed_until: Uuid1,
}

impl Retention {
    pub(super) fn new(clock: Clock, keep_for: u64) -> Self {
        let (clamped, removed_until) = (clock.now(), Uuid1::lowest(0));
        Self { clock, keep_for, clamped, next_look: 0, has_more: false, removed_until }
    }

    /// Returns the longest time between two looks.
    pub(super) fn pause(&self) -> Duration {
        Duration::from_millis(self.keep_for / LOOKS).max(SHORTEST_PAUSE)
    }

    pub(super) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Removes old events, if it is time to look for them.
    pub(super) fn remove_old(&mut self, shared: &Shared, disk: &dyn Backend) {
        let now = self.clamped_clock();
        if now >= self.next_look || self.has_more {
            self.next_look = now + self.keep_for / LOOKS;
            if let Err(error) = self.remove(now, shared, disk) {
                tracing::warn!(?error, "old events could not be removed; they will be tried again");
            }
        }
    }

    /// Returns a wall time that follows a step forward only as fast as time passes: a clock that is a month ahead for a
    /// moment must not cost a month of events.
    fn clamped_clock(&mut self) -> u64 {
        let now = self.clock.now();
        let passed = now.mono.saturating_sub(self.clamped.mono);
        let wall = now.wall.min(self.clamped.wall.saturating_add(2 * passed));
        self.clamped = Now { mono: now.mono, wall };
        wall
    }

    /// Removes old events, at most [`REMOVED_AT_A_TIME`], so that no commit waits for long. It begins where the last
    /// call ended, since removed records slow a scan down until the store is compacted.
    fn remove(&mut self, now: u64, shared: &Shared, disk: &dyn Backend) -> Result<(), CommitError> {
        self.has_more = false;
        let first = first_kept(now, self.keep_for);
        let tenants: Vec<TenantId> = shared.lock().state.tenants.keys().copied().collect();
        let mut old = Vec::new();
        for tenant in tenants {
            let (from, to) = (event_key(tenant, self.removed_until), event_key(tenant, first.max(self.removed_until)));
            disk.scan(&from, &to, &mut |key, _| {
                old.push(RecordWrite { key: key.to_vec(), value: None });
                Ok(old.len() < REMOVED_AT_A_TIME)
            })?;
            if old.len() >= REMOVED_AT_A_TIME {
                disk.commit(std::slice::from_ref(&old))?;
                self.has_more = true;
                return Ok(());
            }
        }
        if !old.is_empty() {
            disk.commit(std::slice::from_ref(&old))?;
        }
        self.removed_until = first;
        Ok(())
    }
}

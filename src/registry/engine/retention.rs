//! The retention of events: old ones leave the disk after a commit, a part at a time.

use std::collections::HashMap;
use std::time::Duration;

use super::shared::Shared;
use crate::registry::model::{Clock, Now, TenantId, Uuid1};
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
    /// The time of the next look, on the scale of deadlines: the wall time may be set back.
    next_look: u64,
    /// There were more old events than leave at once.
    has_more: bool,
    /// The lower bound of the events of each tenant.
    removed_until: HashMap<TenantId, Uuid1>,
}

impl Retention {
    pub(super) fn new(clock: Clock, keep_for: u64) -> Self {
        let clamped = clock.now();
        Self { clock, keep_for, clamped, next_look: 0, has_more: false, removed_until: HashMap::new() }
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
        let now = self.clock.now();
        self.clamp(now);
        if now.mono >= self.next_look || self.has_more {
            self.next_look = now.mono + self.keep_for / LOOKS;
            if let Err(error) = self.remove(now, shared, disk) {
                tracing::warn!(?error, "old events could not be removed; they will be tried again");
            }
        }
    }

    /// Sets the clamped wall time, which follows a step forward only as fast as time passes: a clock that is a month
    /// ahead for a moment must not cost a month of events.
    fn clamp(&mut self, now: Now) {
        let passed = now.mono.saturating_sub(self.clamped.mono);
        let wall = now.wall.min(self.clamped.wall.saturating_add(2 * passed));
        self.clamped = Now { mono: now.mono, wall };
    }

    /// Removes old events, at most [`REMOVED_AT_A_TIME`], so that no commit waits for long. It begins where the last
    /// call ended, since removed records slow a scan down until the store is compacted.
    fn remove(&mut self, now: Now, shared: &Shared, disk: &dyn Backend) -> Result<(), CommitError> {
        let is_continued = std::mem::take(&mut self.has_more);
        let kept_since = self.clamped.wall.saturating_sub(self.keep_for);
        let firsts = {
            let mut inner = shared.lock();
            if !is_continued {
                inner.align_ids(now);
            }
            inner.state.first_kept(kept_since)
        };
        let (mut old, mut done) = (Vec::new(), Vec::new());
        for (tenant, first) in firsts {
            let from = self.removed_until.get(&tenant).copied().unwrap_or(Uuid1::lowest(0));
            disk.scan(&event_key(tenant, from), &event_key(tenant, first.max(from)), &mut |key, _| {
                old.push(RecordWrite { key: key.to_vec(), value: None });
                Ok(old.len() < REMOVED_AT_A_TIME)
            })?;
            if old.len() >= REMOVED_AT_A_TIME {
                self.has_more = true;
                break;
            }
            done.push((tenant, first.max(from)));
        }
        if !old.is_empty() {
            disk.commit(std::slice::from_ref(&old))?;
        }
        self.removed_until.extend(done);
        Ok(())
    }
}

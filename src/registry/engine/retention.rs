//! The retention of events: old ones leave the disk after a commit, a part at a time.

use std::collections::HashMap;
use std::time::Duration;

use super::shared::Shared;
use crate::registry::model::{Clock, Now, TenantId, Uuid1};
use crate::registry::store::{Backend, CommitError, EventRange};

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
    /// Since when events are kept however long that is, as it was known at the last look.
    kept_since: u64,
    /// The lower bound of the events of each tenant.
    removed_until: HashMap<TenantId, Uuid1>,
}

impl Retention {
    pub(super) fn new(clock: Clock, keep_for: u64) -> Self {
        let clamped = clock.now();
        Self { clock, keep_for, clamped, next_look: 0, has_more: false, kept_since: 0, removed_until: HashMap::new() }
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
        let kept_since = shared.lock().state.kept_since;
        let is_told = std::mem::replace(&mut self.kept_since, kept_since) != kept_since;
        if now.mono >= self.next_look || self.has_more || is_told {
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

    /// Removes old events, a part at a time, so that no commit waits for long. It begins where the last call ended, since
    /// removed records slow a scan down until the store is compacted.
    fn remove(&mut self, now: Now, shared: &Shared, disk: &dyn Backend) -> Result<(), CommitError> {
        let is_continued = std::mem::take(&mut self.has_more);
        let kept_since = self.clamped.wall.saturating_sub(self.keep_for).max(self.kept_since);
        let firsts = {
            let mut inner = shared.lock();
            if !is_continued {
                inner.align_ids(now);
            }
            inner.state.first_kept(kept_since)
        };
        let range = |(tenant, first): (TenantId, Uuid1)| {
            let from = self.removed_until.get(&tenant).copied().unwrap_or(Uuid1::lowest(0));
            EventRange { tenant, from, until: first.max(from) }
        };
        let old: Vec<EventRange> = firsts.into_iter().map(range).filter(|range| range.from < range.until).collect();
        let done = disk.remove_events(&old)?;
        self.has_more = done < old.len();
        self.removed_until.extend(old.iter().take(done).map(|range| (range.tenant, range.until)));
        Ok(())
    }
}

//! Positions in the feed, for those who follow it: a position is the id of the last event that a follower has, and what
//! follows is after it.

use super::error::DomainError;
use super::{State, Tenant};
use crate::registry::model::{Now, TenantId, Uuid1};

/// How far behind now the position of a feed without events lies at most, in milliseconds: it must not become too old
/// while there are none, and the clock may be set back.
const EMPTY_MS: u64 = 3_600_000;
/// The share of the retention by which a new position is later than the oldest event. Old events leave the feed
/// steadily, and the follower needs time to come back with the position.
const MARGIN: u64 = 20;
/// The most of it, in milliseconds.
const MAX_MARGIN_MS: u64 = 600_000;

impl State {
    /// Returns the position from which a follower continues: its marker, or the end of the feed. Refuses a marker if
    /// events after it may be missing.
    pub(crate) fn position(&mut self, now: Now, id: TenantId, marker: Option<Uuid1>) -> Result<Uuid1, DomainError> {
        self.align_ids(now, id);
        let Some(marker) = marker else { return Ok(self.feed_end(now, id)) };
        let unknown = Tenant::default();
        let tenant = self.tenants.get(&id).unwrap_or(&unknown);
        if marker.unix_ms() < tenant.record.created || self.has_lost(now, id, marker) {
            let margin = (self.retention / MARGIN).min(MAX_MARGIN_MS);
            let since = self.oldest(now).saturating_add(margin);
            let start = tenant.record.ids.first_since(since).max(Uuid1::first_of(tenant.record.created));
            return Err(DomainError::MarkerExpired { start: Uuid1::new(start.ticks(), 0) });
        }
        tenant.check_marker(now, marker)
    }

    /// Returns whether events after this position may have been removed.
    pub(crate) fn has_lost(&self, now: Now, id: TenantId, position: Uuid1) -> bool {
        let is_old = |tenant: &Tenant| {
            position < tenant.record.ids.first_since(self.oldest(now)) && position < tenant.last_event()
        };
        self.tenants.get(&id).is_some_and(is_old)
    }

    /// Returns the end of the feed: the last event that is durable.
    pub(crate) fn feed_end(&self, now: Now, id: TenantId) -> Uuid1 {
        let unknown = Tenant::default();
        let tenant = self.tenants.get(&id).unwrap_or(&unknown);
        let unkept = self.unkept.get(&id).copied();
        let kept =
            unkept.map_or(tenant.events.len(), |unkept| tenant.events.partition_point(|event| event.id < unkept));
        let last = kept.checked_sub(1).and_then(|last| tenant.events.get(last)).map(|event| event.id);
        last.or_else(|| unkept.map(Uuid1::previous_tick)).unwrap_or_else(|| {
            let since = now.wall.saturating_sub(EMPTY_MS.min(self.retention / 2));
            let start = tenant.record.ids.id_time(since).max(tenant.record.created);
            Uuid1::new(Uuid1::first_of(start).ticks(), 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, set, state};
    use super::*;

    #[test]
    fn end_of_the_feed_is_its_last_durable_event() {
        let mut state = state();
        let empty = state.position(at(10), 1, None).unwrap();
        assert_eq!(state.position(at(20), 1, Some(empty)), Ok(empty), "a marker of an empty feed is valid");
        set(&mut state, at(20), "key", "1");
        let first = state.tenants[&1].last_event();
        assert!(empty < first);
        state.take_changes();
        set(&mut state, at(20), "key", "2");
        let changes = state.take_changes();
        state.mark_pending(&changes);
        assert_eq!(state.feed_end(at(20), 1), first, "the second one may be rolled back");
        state.settle_except(std::iter::empty());
        assert_eq!(state.feed_end(at(20), 1), state.tenants[&1].last_event());
    }

    #[test]
    fn marker_before_removed_events_is_refused_with_a_new_start() {
        let mut state = state();
        state.retention = 60_000;
        set(&mut state, at(1_000), "key", "1");
        let first = state.tenants[&1].last_event();
        set(&mut state, at(2_000), "key", "2");
        let last = state.tenants[&1].last_event();
        assert_eq!(state.position(at(60_900), 1, Some(first)), Ok(first));
        let Err(DomainError::MarkerExpired { start }) = state.position(at(61_500), 1, Some(first)) else {
            panic!("the second event may be gone soon, the first one is");
        };
        assert_eq!(state.position(at(61_500 + 2_999), 1, Some(start)), Ok(start), "there is time to come back with it");
        assert_eq!(state.position(at(90_000), 1, Some(last)), Ok(last), "nothing is after it");
        let before = Uuid1::first_of(1_000_000_000_000);
        assert!(matches!(state.position(at(90_000), 1, Some(before)), Err(DomainError::MarkerExpired { .. })));
        let ahead = Uuid1::first_of(at(99_000).wall);
        assert!(matches!(state.position(at(90_000), 1, Some(ahead)), Err(DomainError::Malformed(_))));
    }
}

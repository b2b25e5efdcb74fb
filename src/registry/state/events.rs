//! The feed: the events of a tenant, in order, for 30 days by default.
//!
//! The newest events are in memory; older ones are read from disk on request. The feed ends before
//! the first event that is not on disk yet: a poller must never see one that is then rolled back.

use super::error::DomainError;
use super::{State, Tenant};
use crate::registry::model::PackedAttribution;
use crate::registry::model::Uuid1;
use crate::registry::model::uuid::ticks_of;
use crate::registry::model::{Change, RecordChange};
use crate::registry::model::{Entry, Listing};
use crate::registry::model::{Event, EventKind, EventType, ListedEvent, ServiceKind, TenantId, TenantRecord};
use crate::registry::model::{IdScale, Now};

/// The bytes of member names, indentation, id, time and type of an event in a list: a lower bound.
const MIN_EVENT_BYTES: usize = 120;
/// How far back the list goes without a marker, in milliseconds.
const RECENT_MS: u64 = 3_600_000;
/// How many old events leave memory for every new one: the feed shrinks without a long pause.
const DROPPED_PER_EVENT: usize = 8;

/// The part of the feed that a request asks for.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    /// The id of the first event, or a lower bound of it.
    pub(crate) from: Option<Uuid1>,
    /// One type, or all.
    pub(crate) kind: Option<EventType>,
    /// Leaves out what clients of the original do not know: the removal of a service in a session, and members that
    /// the original did not have.
    pub(crate) strict: bool,
    /// Includes the types that the original did not have.
    pub(crate) extended: bool,
    /// The most events of a page.
    pub(crate) limit: usize,
}

impl Feed {
    pub(crate) fn wants(&self, event: &Event) -> bool {
        let kind = event.kind.event_type();
        self.kind.is_none_or(|wanted| kind == wanted)
            && (self.extended || !kind.is_extended())
            && !(self.strict && event.kind.is_unknown_to_old_clients())
    }

    /// Returns an event as an entry of this feed.
    pub(crate) fn listed(&self, event: Event, ids: &IdScale) -> ListedEvent {
        ListedEvent { timestamp: ids.timestamp(event.id), event, is_strict: self.strict }
    }
}

/// The most events that are visited before other requests get the lock.
const EVENTS_AT_A_TIME: usize = 1_000;

/// Where the feed continues after a part of it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It is complete, or the page is full.
    End,
    /// In memory, at this event.
    InMemory(Uuid1),
    /// On disk, before this event.
    OnDisk(Uuid1),
}

impl State {
    /// Returns where the requested part of the feed begins.
    pub(crate) fn feed_start(&mut self, now: Now, id: TenantId, feed: &Feed) -> Result<Uuid1, DomainError> {
        self.align_ids(now, id);
        let unknown = Tenant::default();
        let tenant = self.tenants.get(&id).unwrap_or(&unknown);
        let TenantRecord { created, ids } = &tenant.record;
        let from = match feed.from {
            Some(marker) => tenant.check_marker(now, marker)?,
            None => Uuid1::first_of(*created).max(ids.first_since(now.wall.saturating_sub(RECENT_MS))),
        };
        Ok(from.max(ids.first_since(self.oldest(now))))
    }

    /// Returns the scale of the ids in a tenant's feed.
    pub(crate) fn id_scale(&self, tenant: TenantId) -> IdScale {
        self.tenants.get(&tenant).map(|tenant| tenant.record.ids.clone()).unwrap_or_default()
    }

    /// Lets the ids of a tenant's further events follow the clock, after it was set. A tenant that was created in the
    /// future counts as one that has always existed: all markers would be refused until that time. Must be called
    /// before an event is made or the feed is read. Returns how far the newest event is ahead, in milliseconds, if that
    /// is new.
    pub(crate) fn align_ids(&mut self, now: Now, id: TenantId) -> Option<u64> {
        let tenant = self.tenants.get(&id)?;
        let (before, wall) = (&tenant.record, tenant.record.ids.id_time(now.wall));
        let created = if before.created > wall { 0 } else { before.created };
        let ids = tenant.events.back().and_then(|last| before.ids.aligned(now.wall, last.id));
        if ids.is_none() && created == before.created {
            return None;
        }
        let ahead = tenant.last_event().unix_ms().checked_sub(wall).filter(|_| ids.is_some());
        let before = before.clone();
        let after = TenantRecord { created, ids: ids.unwrap_or_else(|| before.ids.clone()) };
        self.change(id, RecordChange::Tenant { before: Some(before), after: Some(after) });
        ahead
    }

    /// Does so for all tenants.
    pub(crate) fn align_all_ids(&mut self, now: Now) -> Option<u64> {
        let tenants: Vec<TenantId> = self.tenants.keys().copied().collect();
        tenants.into_iter().filter_map(|tenant| self.align_ids(now, tenant)).max()
    }

    /// Returns the first event of each tenant that is kept, if those since this wall time are. The newest is always
    /// kept: after a restart, ids must rise above it, whatever the clock says then.
    pub(crate) fn first_kept(&self, wall: u64) -> Vec<(TenantId, Uuid1)> {
        let first = |tenant: &Tenant| tenant.record.ids.first_since(wall).min(tenant.last_event());
        self.tenants.iter().map(|(id, tenant)| (*id, first(tenant))).collect()
    }

    /// Adds events from memory to a page, oldest first, and visits at most [`EVENTS_AT_A_TIME`].
    pub(crate) fn feed_part(&self, id: TenantId, from: Uuid1, feed: &Feed, page: &mut Listing<Event>) -> Rest {
        let unkept = self.unkept.get(&id).copied();
        let Some(tenant) = self.tenants.get(&id) else { return Rest::End };
        if let Some(recent) = tenant.recent_from.filter(|recent| from < *recent) {
            return Rest::OnDisk(recent);
        }
        let start = tenant.events.partition_point(|event| event.id < from);
        let mut kept = tenant.events.range(start..).take_while(|event| unkept.is_none_or(|unkept| event.id < unkept));
        for event in kept.by_ref().take(EVENTS_AT_A_TIME) {
            if feed.wants(event) && !page.add(event.clone(), feed.limit) {
                return Rest::End;
            }
        }
        kept.next().map_or(Rest::End, |event| Rest::InMemory(event.id))
    }

    /// Records the events among changes that are about to be committed.
    pub(crate) fn mark_pending(&mut self, changes: &[Change]) {
        for change in changes {
            if let RecordChange::Event { id, after: Some(_), .. } = change.record {
                self.unkept.entry(change.tenant).or_insert(id);
            }
        }
    }

    /// Records that all changes were committed or rolled back, except those that still wait. Older events leave memory.
    pub(crate) fn settle_except<'a>(&mut self, waiting: impl Iterator<Item = &'a Change>) {
        let touched = std::mem::take(&mut self.unkept);
        for change in waiting {
            self.mark_pending(std::slice::from_ref(change));
        }
        for tenant in touched.keys() {
            let unkept = self.unkept.get(tenant).copied();
            if let Some(tenant) = self.tenants.get_mut(tenant) {
                tenant.drop_events(self.recent, unkept);
            }
        }
    }

    /// Appends an event. Overdue leases must have been expired before, or the feed is not in order.
    pub(super) fn append_event(&mut self, now: Now, id: TenantId, kind: EventKind, by: PackedAttribution) {
        self.align_ids(now, id);
        let unkept = self.unkept.get(&id).copied();
        let oldest = self.oldest(now);
        let tenant = self.tenants.entry(id).or_default();
        let first = Uuid1::new(ticks_of(tenant.record.ids.id_time(now.wall)), self.node);
        let last = tenant.last_event();
        let event = if first > last { first } else { last.next_tick(self.node) };
        let old = tenant.record.ids.first_since(oldest);
        let is_old = |event: &&Event| event.id < old && unkept.is_none_or(|unkept| event.id < unkept);
        let old = tenant.events.iter().take(DROPPED_PER_EVENT).take_while(is_old).count();
        // No change: they are not listed any more, and retention removes them from disk. If the clock is set back, they
        // are listed again from there.
        if let Some(last) = tenant.events.drain(..old).next_back() {
            tenant.recent_from = Some(Uuid1::lowest(last.id.ticks() + 1));
        }
        // A client often makes several changes in a row.
        let known = tenant.events.back().map(|last| &last.attribution).filter(|known| **known == by).cloned();
        let after = Some(Event { id: event, kind, attribution: known.unwrap_or(by) });
        self.change(id, RecordChange::Event { id: event, before: None, after });
    }
}

impl Tenant {
    /// Removes events from memory, except the newest and those that are not on disk yet.
    fn drop_events(&mut self, recent: usize, unkept: Option<Uuid1>) {
        while self.events.len() > recent
            && self.events.front().is_some_and(|event| unkept.is_none_or(|id| event.id < id))
        {
            self.events.pop_front();
            self.recent_from = self.events.front().map(|event| event.id);
        }
    }

    /// Checks a marker: it must lie between the creation of the account and now. Events of the present millisecond
    /// count as past.
    pub(super) fn check_marker(&self, now: Now, marker: Uuid1) -> Result<Uuid1, DomainError> {
        let at = marker.unix_ms();
        if at >= self.record.ids.id_time(now.wall) && marker > self.last_event() {
            return Err(DomainError::malformed("from parameter must be smaller than the current time"));
        }
        if at < self.record.created {
            let rule = "from parameter must be greater than or equal to the account creation date";
            return Err(DomainError::malformed(rule));
        }
        Ok(marker)
    }
}

impl Entry for Event {
    fn marker(&self) -> String {
        self.id.to_string()
    }

    fn min_bytes(&self) -> usize {
        let what = match &self.kind {
            EventKind::Join(info) | EventKind::Remove(info) | EventKind::ServiceTimeout(info) => info.min_bytes(),
            EventKind::SessionTimeout(services) => services.iter().map(|info| info.min_bytes()).sum(),
            EventKind::ValueUpdate(value) => value.new.len() + value.old.as_ref().map_or(0, |old| old.len()),
            EventKind::ValueRemove(value) => value.old.len(),
            EventKind::ServiceUpdate(update) => update.old.min_bytes() + update.new.min_bytes(),
            EventKind::SessionCreate(session)
            | EventKind::SessionUpdate(session)
            | EventKind::SessionRemove(session) => session.metadata.bytes().len(),
        };
        MIN_EVENT_BYTES + what
    }
}

impl EventKind {
    /// Clients from before services had heartbeats of their own do not know this event.
    fn is_unknown_to_old_clients(&self) -> bool {
        matches!(self, Self::Remove(info) if matches!(info.kind, ServiceKind::InSession(_)))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::registry::state::RETENTION_MS;
    use crate::registry::state::tests::{at, own, set, state};

    fn feed() -> Feed {
        Feed { from: None, kind: None, strict: false, extended: false, limit: usize::MAX }
    }

    impl State {
        /// Returns the whole feed, as far as it is in memory.
        pub(crate) fn events(&mut self, now: Now, tenant: TenantId) -> Vec<Event> {
            let feed = feed();
            let mut from = self.feed_start(now, tenant, &feed).unwrap();
            let mut page = Listing::default();
            loop {
                match self.feed_part(tenant, from, &feed, &mut page) {
                    Rest::End => break page.values,
                    Rest::InMemory(next) => from = next,
                    Rest::OnDisk(_) => panic!("on disk"),
                }
            }
        }
    }

    /// Its first request was rolled back; reading its feed must not create it.
    #[test]
    fn reading_the_feed_creates_no_tenant() {
        let mut state = state();
        assert!(state.events(at(0), 2).is_empty());
        state.take_changes();
        state.create_on_first_use(at(0), 2);
        assert!(matches!(state.take_changes()[..], [Change { tenant: 2, record: RecordChange::Tenant { .. } }]));
    }

    #[test]
    fn account_created_by_a_wrong_clock_shows_its_events() {
        let mut state = state();
        let created_ahead = TenantRecord { created: at(86_400_000).wall, ..TenantRecord::default() };
        let record = RecordChange::Tenant { before: None, after: Some(created_ahead) };
        state.restore(at(0), Change { tenant: 2, record });
        let feed = feed();
        assert!(state.feed_start(at(5), 2, &feed).unwrap() <= Uuid1::first_of(at(0).wall));
        let feed = Feed { from: Some(Uuid1::first_of(at(1).wall)), ..feed };
        assert!(state.feed_start(at(5), 2, &feed).is_ok());
    }

    /// Wrong by ten years at the first start, and right from the next start on.
    #[test]
    fn events_after_the_clock_was_ahead_have_its_time_again_and_the_others_leave() {
        const HOUR: u64 = 3_600_000;
        let mut state = state();
        let ahead = |mono| Now { mono, wall: at(mono).wall + 87_600 * HOUR };
        for number in 0..122 {
            set(&mut state, ahead(number), "key", &number.to_string());
        }
        let marker = state.tenants[&1].last_event();
        assert_eq!(state.events(at(200), 1).len(), 122, "they are listed");
        set(&mut state, at(HOUR), "key", "new");
        let scale = state.id_scale(1);
        let times = |state: &mut State, now: Now| -> Vec<u64> {
            state.events(now, 1).iter().map(|event| scale.timestamp(event.id)).collect()
        };
        assert_eq!(times(&mut state, at(HOUR)).len(), 122 + 1);
        let feed = Feed { from: Some(marker), ..feed() };
        assert_eq!(state.feed_start(at(HOUR), 1, &feed), Ok(marker), "it stays valid");
        assert_eq!(times(&mut state, at(2 * HOUR)), [at(HOUR).wall], "an hour later");
        assert!(state.feed_start(at(201 + RETENTION_MS), 1, &feed).unwrap() > marker, "they are not kept any more");
        for number in 0..16 {
            set(&mut state, at(HOUR + RETENTION_MS), "key", &number.to_string());
        }
        assert_eq!(state.tenants[&1].events.len(), 1 + 16, "nor in memory");
    }

    #[test]
    fn event_older_than_the_retention_is_listed_again_after_a_clock_that_was_ahead() {
        let mut state = state();
        set(&mut state, at(0), "key", "old");
        let id = state.tenants[&1].last_event();
        let far = |mono| Now { mono, wall: at(mono).wall + 2 * RETENTION_MS };
        set(&mut state, far(1), "key", "ahead");
        assert_eq!(state.events(far(1), 1).len(), 1);
        let from = state.feed_start(at(2), 1, &feed()).unwrap();
        assert!(from <= id);
        let part = state.feed_part(1, from, &feed(), &mut Listing::default());
        assert_eq!(part, Rest::OnDisk(Uuid1::lowest(id.ticks() + 1)), "memory has dropped it");
    }

    #[test]
    fn scale_that_was_rolled_back_is_the_old_one() {
        let mut state = state();
        let ahead = Now { mono: 0, wall: at(0).wall + 86_400_000 };
        set(&mut state, ahead, "key", "1");
        state.take_changes();
        set(&mut state, at(1), "key", "2");
        assert_ne!(state.id_scale(1), IdScale::default());
        let changes = state.take_changes();
        state.undo(changes);
        assert_eq!(state.id_scale(1), IdScale::default());
    }

    #[test]
    fn event_not_on_disk_is_neither_listed_nor_dropped() {
        let mut state = state();
        state.recent = 2;
        for at_ms in 0..5 {
            own(&mut state, at(at_ms), &format!("node-{at_ms}"), 30);
        }
        let changes = state.take_changes();
        let events: Vec<Change> =
            changes.into_iter().filter(|change| matches!(change.record, RecordChange::Event { .. })).collect();
        state.mark_pending(&events);
        assert_eq!(state.events(at(9), 1).len(), 0);
        state.settle_except(events[1..].iter());
        assert_eq!(state.tenants[&1].events.len(), 4, "the first is on disk, and old enough to go");
        let from = Uuid1::lowest(0);
        let Rest::OnDisk(until) = state.feed_part(1, from, &feed(), &mut Listing::default()) else { panic!() };
        let RecordChange::Event { id, .. } = events[1].record else { panic!() };
        assert_eq!(until, id);
        state.settle_except([].iter());
        assert_eq!(state.tenants[&1].events.len(), 2);
        assert_eq!(state.unkept.len(), 0);
    }

    #[test]
    fn events_of_other_types_are_skipped_in_parts() {
        let mut state = state();
        for number in 0..2 * EVENTS_AT_A_TIME + 1 {
            own(&mut state, at(0), &format!("node-{number}"), 30);
        }
        let feed = Feed { kind: Some(EventType::Remove), ..feed() };
        let (mut from, mut parts, mut page) = (Uuid1::lowest(0), 0, Listing::default());
        while let Rest::InMemory(next) = state.feed_part(1, from, &feed, &mut page) {
            assert!(next > from);
            (from, parts) = (next, parts + 1);
        }
        assert_eq!((parts, page), (2, Listing::default()));
    }
}

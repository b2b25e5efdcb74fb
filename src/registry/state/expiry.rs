//! Expiry: a lease that was not renewed in time is removed, and the feed reports it.
//!
//! A request that lists, creates or polls expires overdue leases first, without grace, so that no client sees them.
//! Otherwise a task does it within [`GRACE_MS`]. Heartbeats expire nothing: until the lease is expired, a late one is
//! in time.

use std::ops::Bound;
use std::sync::Arc;

use super::{Expired, State, Tenant};
use crate::registry::model::MAX_PAGE_BYTES;
use crate::registry::model::Now;
use crate::registry::model::RecordChange;
use crate::registry::model::Uuid1;
use crate::registry::model::uuid::ticks_in;
use crate::registry::model::{Attribution, PackedAttribution};
use crate::registry::model::{Event, EventKind, Lease, ServiceInfo, ServiceKind, SessionId, TenantId};
use crate::registry::model::{Owner, QueuedDeadline};

/// How long after a deadline the task expires a lease: time for heartbeats that are on their way through the server.
pub(crate) const GRACE_MS: u64 = 250;

/// The most bytes of services in one event, by [`ServiceInfo::min_bytes`]: a quarter of a page, since the JSON may be
/// longer.
const MAX_EVENT_BYTES: usize = MAX_PAGE_BYTES / 4;

/// An overdue lease.
struct Overdue {
    token: Uuid1,
    last_heard: Option<u64>,
    entry: QueuedDeadline,
}

impl State {
    /// Returns when the task must look next.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.next()
    }

    /// Returns whether a lease is overdue.
    pub(crate) fn is_overdue(&self, now: Now) -> bool {
        self.next_deadline().is_some_and(|due| due <= now.mono)
    }

    /// Expires overdue leases in the order of their deadlines; stops after about `most`, so that other requests get the
    /// lock. Returns whether it is done.
    pub(crate) fn sweep(&mut self, now: Now, most: usize) -> bool {
        let mut expired = 0;
        while self.is_overdue(now) && expired < most {
            let overdue = self.take_overdue();
            expired += overdue.len();
            for overdue in overdue {
                self.expire(now, overdue);
            }
        }
        !self.is_overdue(now)
    }

    /// Moves entries that are due soon to the deadlines of their leases, as far as they are first in the queue: so
    /// the task looks often only when a lease may really expire.
    pub(crate) fn requeue_renewed(&mut self, soon: u64) {
        while let Some(entry) = self.deadlines.pop_due(soon) {
            let Some((lease, _)) = self.lease_of_current_entry(&entry) else { continue };
            let is_moved = lease.deadline > entry.due;
            lease.queued_deadline = lease.deadline;
            let queued = lease.queued_deadline;
            self.deadlines.push(queued, entry.tenant, entry.owner);
            if !is_moved {
                return;
            }
        }
    }

    /// Returns the leases that are overdue since the same millisecond, in the order of their tokens; perhaps none, if
    /// the entry that was due is outdated.
    fn take_overdue(&mut self) -> Vec<Overdue> {
        let mut overdue = Vec::new();
        let Some(due) = self.next_deadline() else { return overdue };
        while let Some(entry) = self.deadlines.pop_due(due) {
            let Some((lease, _)) = self.lease_of_current_entry(&entry) else { continue };
            if lease.deadline > due {
                // Renewed since. If the real deadline has passed as well, its own entry will be due.
                lease.queued_deadline = lease.deadline;
                let queued = lease.queued_deadline;
                self.deadlines.push(queued, entry.tenant, entry.owner);
            } else {
                let lease = lease.clone();
                let (token, last_heard) = (lease.token(&self.keys, entry.tenant), lease.last_heard());
                overdue.push(Overdue { token, last_heard, entry });
            }
        }
        overdue.sort_by_key(|overdue| overdue.token);
        overdue
    }

    /// Returns the lease of an entry, and its timeout; none if it is gone, or has another entry.
    fn lease_of_current_entry(&mut self, entry: &QueuedDeadline) -> Option<(&mut Lease, u8)> {
        let tenant = self.tenants.get_mut(&entry.tenant)?;
        let (lease, timeout) = match &entry.owner {
            Owner::Session(id) => {
                let session = tenant.sessions.get_mut(*id)?;
                (&mut session.lease, session.timeout)
            }
            Owner::Service(id) => {
                let service = tenant.services.get_mut(id)?;
                match (&mut service.lease, service.info.kind) {
                    (Some(lease), ServiceKind::Standalone { timeout }) => (&mut **lease, timeout),
                    _ => return None,
                }
            }
        };
        (lease.queued_deadline == entry.due).then_some((lease, timeout))
    }

    fn expire(&mut self, now: Now, Overdue { token, last_heard, entry }: Overdue) {
        let QueuedDeadline { due, tenant, owner } = entry;
        self.expired.push(Expired { is_session: matches!(owner, Owner::Session(_)), due });
        let events = match owner {
            Owner::Session(id) => session_timeouts(self.remove_session(tenant, id)),
            Owner::Service(id) => self.remove_service(tenant, &id).map(EventKind::ServiceTimeout).into_iter().collect(),
        };
        let attribution = PackedAttribution::of(&Attribution { last_heard, ..Attribution::default() });
        self.align_ids(now, tenant);
        for kind in events {
            let id = self.timeout_id(tenant, token, now.wall_of(due));
            let event = Event { id, kind, attribution: attribution.clone() };
            self.change(tenant, RecordChange::Event { id, before: None, after: Some(event) });
        }
    }

    /// The token is the id of the timeout event, so that the event stands in the feed at its deadline. If the
    /// deadline was moved without a new token, the feed is already past it, or ids are ahead of the wall time, a new id
    /// replaces it.
    fn timeout_id(&self, tenant: TenantId, token: Uuid1, deadline: u64) -> Uuid1 {
        let tenant = self.tenants.get(&tenant);
        let deadline = tenant.map_or(deadline, |tenant| tenant.record.ids.id_time(deadline));
        let at_deadline = Uuid1::new(ticks_in(deadline, fastrand::u64(..)), self.node);
        let id = if token.unix_ms() == deadline { token } else { at_deadline };
        let last = tenant.map(Tenant::last_event);
        last.filter(|last| *last >= id).map_or(id, |last| last.next_tick(self.node))
    }

    /// Removes a session and its services; returns these, sorted by id.
    pub(super) fn remove_session(&mut self, id: TenantId, session: SessionId) -> Vec<Arc<ServiceInfo>> {
        let tenant = self.tenants.entry(id).or_default();
        let from = Bound::Included((session, Arc::from("")));
        let services = tenant.by_session.range((from, Bound::Unbounded));
        let services: Vec<Arc<str>> =
            services.take_while(|(of, _)| *of == session).map(|(_, service)| service.clone()).collect();
        let before = tenant.sessions.get(session).cloned();
        let gone = services.iter().filter_map(|service| self.remove_service(id, service)).collect();
        self.change(id, RecordChange::Session { id: session, before, after: None });
        gone
    }

    /// Removes a service; returns its description.
    pub(super) fn remove_service(&mut self, tenant: TenantId, id: &Arc<str>) -> Option<Arc<ServiceInfo>> {
        let before = self.tenants.get(&tenant)?.services.get(id)?.clone();
        let info = before.info.clone();
        self.change(tenant, RecordChange::Service { id: id.clone(), before: Some(before), after: None });
        Some(info)
    }
}

/// Returns the events for a session with these services: each has as many as fit into a page.
fn session_timeouts(mut services: Vec<Arc<ServiceInfo>>) -> Vec<EventKind> {
    let mut events = Vec::new();
    loop {
        let mut bytes = 0;
        let fits = services.iter().take_while(|info| {
            bytes += info.min_bytes();
            bytes <= MAX_EVENT_BYTES
        });
        let rest = services.split_off(fits.count());
        events.push(EventKind::SessionTimeout(services.into_boxed_slice()));
        if rest.is_empty() {
            return events;
        }
        services = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::EventType;
    use crate::registry::state::HeartbeatTarget;
    use crate::registry::state::tests::{at, beat, own, session, state};

    /// Returns type, id and time of all events except joins.
    fn endings(state: &mut State, now: Now) -> Vec<(EventType, Uuid1, u64)> {
        let endings = state.events(now, 1).into_iter().filter(|event| event.kind.event_type() != EventType::Join);
        endings.map(|event| (event.kind.event_type(), event.id, event.id.unix_ms())).collect()
    }

    #[test]
    fn lease_expires_at_its_deadline() {
        let mut state = state();
        let token = own(&mut state, at(0), "node-1", 3);
        assert!(!state.is_overdue(at(2_999)) && state.is_overdue(at(3_000)));
        state.sweep(at(2_999), usize::MAX);
        assert!(state.service(1, "node-1", false).is_ok());
        state.sweep(at(3_000), usize::MAX);
        assert!(state.service(1, "node-1", false).is_err());
        let expected = [(EventType::ServiceTimeout, token, at(3_000).wall)];
        assert_eq!(endings(&mut state, at(3_000)), expected, "the token is the id, its deadline the time");
    }

    #[test]
    fn session_expires_with_its_services_as_one_event() {
        let mut state = state();
        let (_, token) = session(&mut state, at(0), 3, &["web-2", "web-1"]);
        own(&mut state, at(0), "other", 30);
        state.sweep(at(3_000), usize::MAX);
        assert_eq!(endings(&mut state, at(3_000)), [(EventType::SessionTimeout, token, at(3_000).wall)]);
        let EventKind::SessionTimeout(services) = state.tenants[&1].events.back().unwrap().kind.clone() else {
            panic!()
        };
        assert_eq!(services.iter().map(|info| &*info.id).collect::<Vec<_>>(), ["web-1", "web-2"]);
        let tenant = &state.tenants[&1];
        assert_eq!((tenant.services.len(), tenant.by_session.len(), tenant.by_tag.len()), (1, 0, 1));
    }

    #[test]
    fn events_are_in_order_of_deadlines() {
        let mut state = state();
        let mut tokens = Vec::new();
        for (id, timeout) in [("slow", 9), ("quick", 3), ("middle", 6)] {
            tokens.push((id, own(&mut state, at(0), id, timeout)));
        }
        // The quickest one is renewed, and becomes the last but one; its old entry in the queue is due first.
        tokens[1].1 = beat(&mut state, at(4_000), HeartbeatTarget::Service("quick"), tokens[1].1).unwrap();
        while !state.sweep(at(9_001), 1) {}
        let ids: Vec<Uuid1> = endings(&mut state, at(9_001)).into_iter().map(|(_, id, _)| id).collect();
        assert_eq!(ids, [tokens[2].1, tokens[1].1, tokens[0].1]);
    }

    #[test]
    fn heartbeats_leave_one_entry_in_the_queue() {
        let mut state = state();
        let mut token = own(&mut state, at(0), "node-1", 30);
        for time in 1..1_000 {
            token = beat(&mut state, at(time), HeartbeatTarget::Service("node-1"), token).unwrap();
        }
        assert_eq!(state.next_deadline(), Some(30_000), "it stays where it was");
        assert!(state.sweep(at(30_000), usize::MAX) && state.service(1, "node-1", false).is_ok());
        assert_eq!(state.next_deadline(), Some(30_999));
        state.sweep(at(30_999), usize::MAX);
        assert_eq!(state.next_deadline(), None);
    }

    #[test]
    fn entries_of_renewed_leases_are_requeued_early() {
        let mut state = state();
        let token = own(&mut state, at(0), "alive", 3);
        own(&mut state, at(500), "silent", 3);
        beat(&mut state, at(2_000), HeartbeatTarget::Service("alive"), token).unwrap();
        state.requeue_renewed(2_999);
        assert_eq!(state.next_deadline(), Some(3_000), "not soon");
        state.requeue_renewed(3_000);
        assert_eq!(state.next_deadline(), Some(3_500));
        state.requeue_renewed(3_500);
        assert_eq!(state.next_deadline(), Some(3_500), "nothing has moved it");
        state.sweep(at(5_000), usize::MAX);
        assert!(state.service(1, "alive", false).is_err() && state.service(1, "silent", false).is_err());
    }

    #[test]
    fn leases_due_together_expire_together() {
        let mut state = state();
        for id in ["node-1", "node-2", "node-3"] {
            own(&mut state, at(0), id, 3);
        }
        state.tenants.get_mut(&1).unwrap().services.retain(|id, _| &**id != "node-2"); // an entry without a lease
        assert!(state.sweep(at(3_250), 1), "all of one millisecond go together");
        assert_eq!(endings(&mut state, at(3_250)).len(), 2);
    }

    #[test]
    fn step_of_the_wall_clock_expires_no_lease() {
        let mut state = state();
        own(&mut state, at(0), "node-1", 3);
        let stepped = |mono| Now { mono, wall: at(mono).wall + 3_600_000 };
        state.sweep(stepped(2_999), usize::MAX);
        assert!(state.service(1, "node-1", false).is_ok());
        state.sweep(stepped(3_000), usize::MAX);
        let [(_, _, time)] = &endings(&mut state, stepped(3_000))[..] else { panic!() };
        assert_eq!(*time, stepped(3_000).wall, "the event is not an hour back, behind the markers of all pollers");
    }

    #[test]
    fn timeout_after_the_clock_was_set_back_has_the_time_of_its_deadline() {
        let mut state = state();
        let ahead = |mono| Now { mono, wall: at(mono).wall + 86_400_000 };
        own(&mut state, ahead(0), "node-1", 3);
        own(&mut state, ahead(0), "node-2", 5);
        state.sweep(at(3_250), usize::MAX);
        state.sweep(at(5_250), usize::MAX);
        let ids: Vec<Uuid1> = state.events(at(5_250), 1).into_iter().map(|event| event.id).collect();
        assert!(ids.len() == 4 && ids.is_sorted(), "{ids:?}");
        let scale = state.id_scale(1);
        let times = ids.iter().map(|id| scale.timestamp(*id)).collect::<Vec<_>>();
        // The first one follows the last id before, and that ends where the clock was found to be set back.
        assert_eq!(times, [ahead(0).wall, ahead(0).wall, at(3_249).wall, at(5_000).wall]);
    }

    #[test]
    fn event_ids_rise_if_the_feed_is_past_the_deadline() {
        let mut state = state();
        own(&mut state, at(0), "node-1", 3);
        own(&mut state, at(5_000), "node-2", 30); // without expiring first, which requests always do
        state.sweep(at(3_500), usize::MAX);
        let ids: Vec<Uuid1> = state.tenants[&1].events.iter().map(|event| event.id).collect();
        assert!(ids.is_sorted() && ids.len() == 3, "{ids:?}");
    }
}

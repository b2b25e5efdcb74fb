//! The state: everything that the registry knows, in memory, and the one way to change it.
//!
//! Every lasting change goes through [`State::change`]; the indexes beside the records are kept there and nowhere
//! else. The rules are further `impl State` blocks, one file per resource.

mod condition;
mod configuration;
mod error;
mod events;
mod expiry;
mod heartbeats;
#[cfg(feature = "etcd")]
mod lease_states;
#[cfg(test)]
mod model_test;
mod overview;
mod position;
mod services;
mod sessions;

pub(crate) use condition::{Expired, Sizes};
pub(crate) use error::{DomainError, Kind};
pub(crate) use events::{Feed, Rest};
pub(crate) use expiry::GRACE_MS;
pub(crate) use heartbeats::{HeartbeatTarget, PresentedToken};
pub(crate) use overview::SessionOverview;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use super::model::Keys;
use super::model::Now;
use super::model::SessionTable;
use super::model::Uuid1;
use super::model::{Change, RecordChange};
use super::model::{DeadlineQueue, Owner};
use super::model::{Event, Lease, Service, ServiceKind, Session, SessionId, TenantId, TenantRecord};

const RETENTION_MS: u64 = 30 * 24 * 3_600_000;

/// How long before its first request the time of an account begins, in milliseconds: a client that polls events from
/// its own start on, with a clock that is slightly different, must not ask for a time before the account.
const CREATION_SLACK_MS: u64 = 5_000;

/// All data.
#[derive(Debug)]
pub(super) struct State {
    pub(super) tenants: BTreeMap<TenantId, Tenant>,
    pub(super) deadlines: DeadlineQueue,
    pub(super) keys: Arc<Keys>,
    /// The second half of event ids: identifies the registry that made them.
    pub(super) node: u64,
    /// How long events are kept, in milliseconds.
    pub(super) retention: u64,
    /// Events from before this time, in milliseconds since 1970, may have been removed to make room.
    pub(super) kept_since: u64,
    /// The most events of a tenant that stay in memory once they are on disk.
    pub(super) recent: usize,
    /// The first event of each tenant that is not on disk yet.
    pub(super) unkept: HashMap<TenantId, Uuid1>,
    journal: Vec<Change>,
    /// The leases that have expired since they were last taken.
    expired: Vec<Expired>,
}

/// The data of a tenant.
#[derive(Debug, Default)]
pub(super) struct Tenant {
    pub(super) record: TenantRecord,
    pub(super) sessions: SessionTable,
    pub(super) services: BTreeMap<Arc<str>, Service>,
    /// Tag and service id.
    pub(super) by_tag: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Session and service id.
    pub(super) by_session: BTreeSet<(SessionId, Arc<str>)>,
    pub(super) values: BTreeMap<Arc<str>, Arc<str>>,
    /// Oldest first.
    pub(super) events: VecDeque<Event>,
    /// The first event in memory. Older ones are on disk.
    pub(super) recent_from: Option<Uuid1>,
}

impl State {
    pub(super) fn new(keys: Arc<Keys>) -> Self {
        Self {
            tenants: BTreeMap::new(),
            deadlines: DeadlineQueue::default(),
            keys,
            node: fastrand::u64(..),
            retention: RETENTION_MS,
            kept_since: 0,
            recent: usize::MAX,
            unkept: HashMap::new(),
            journal: Vec::new(),
            expired: Vec::new(),
        }
    }

    /// Returns the wall time since which events are kept.
    pub(super) fn oldest(&self, now: Now) -> u64 {
        now.wall.saturating_sub(self.retention).max(self.kept_since)
    }

    /// Creates a tenant that does not exist. Must be called before any other use of it.
    pub(super) fn create_on_first_use(&mut self, now: Now, tenant: TenantId) {
        if !self.tenants.contains_key(&tenant) {
            let created = now.wall.saturating_sub(CREATION_SLACK_MS);
            let record = TenantRecord { created, ..TenantRecord::default() };
            self.change(tenant, RecordChange::Tenant { before: None, after: Some(record) });
        }
    }

    /// Returns the changes since the last call, for the store.
    pub(super) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.journal)
    }

    /// Rolls back changes that could not be stored.
    pub(super) fn undo(&mut self, changes: Vec<Change>) {
        for change in changes.into_iter().rev() {
            let lowered = Lowered::of(&change);
            self.apply(change.inverse());
            if let Some(lowered) = lowered {
                self.give_back(lowered);
            }
        }
    }

    /// Restores the timeout of a lease that was renewed after the change, with the lower timeout.
    fn give_back(&mut self, Lowered { tenant, owner, deadline, by }: Lowered) {
        let Some(tenant) = self.tenants.get_mut(&tenant) else { return };
        let lease = match owner {
            Owner::Session(id) => tenant.sessions.get_mut(id).map(|session| &mut session.lease),
            Owner::Service(id) => tenant.services.get_mut(&id).and_then(|service| service.lease.as_deref_mut()),
        };
        if let Some(lease) = lease.filter(|lease| lease.deadline != deadline) {
            lease.deadline += by;
        }
    }

    /// Makes a lasting change.
    pub(super) fn change(&mut self, tenant: TenantId, record: RecordChange) {
        let change = Change { tenant, record };
        self.journal.push(change.clone());
        self.apply(change);
    }

    /// Restores a stored record. Leases get their whole timeout: no heartbeat could arrive in the meantime.
    pub(super) fn restore(&mut self, now: Now, mut change: Change) {
        match &mut change.record {
            RecordChange::Session { after: Some(session), .. } => session.lease.restart(now, session.timeout),
            RecordChange::Service { after: Some(Service { info, lease: Some(lease) }), .. } => {
                if let ServiceKind::Standalone { timeout } = info.kind {
                    lease.restart(now, timeout);
                }
            }
            _ => {}
        }
        self.apply(change);
    }

    /// Restores the newest events of a tenant, the newest first; if there are `most`, there are more on disk.
    pub(super) fn restore_events(&mut self, tenant: TenantId, newest_first: Vec<Event>, most: usize) {
        let tenant = self.tenants.entry(tenant).or_default();
        let is_all = newest_first.len() < most;
        tenant.events = newest_first.into_iter().rev().collect();
        tenant.recent_from = tenant.events.front().map(|event| event.id).filter(|_| !is_all);
    }

    fn apply(&mut self, Change { tenant: id, record }: Change) {
        let tenant = self.tenants.entry(id).or_default();
        match record {
            RecordChange::Tenant { after: Some(record), .. } => tenant.record = record,
            RecordChange::Tenant { after: None, .. } => {
                self.tenants.remove(&id);
            }
            RecordChange::Session { id: session, after, .. } => {
                if let Some(lease) = tenant.put_session(session, after) {
                    self.deadlines.push(lease.queued_deadline, id, Owner::Session(session));
                }
            }
            RecordChange::Service { id: service, after, .. } => {
                if let Some(lease) = tenant.put_service(&service, after) {
                    self.deadlines.push(lease.queued_deadline, id, Owner::Service(service));
                }
            }
            RecordChange::Value { id, after: Some(value), .. } => {
                tenant.values.insert(id, value);
            }
            RecordChange::Value { id, after: None, .. } => {
                tenant.values.remove(&id);
            }
            RecordChange::Event { id, after, .. } => tenant.put_event(id, after),
        }
    }
}

/// A timeout that a change has lowered, by this many milliseconds.
struct Lowered {
    tenant: TenantId,
    owner: Owner,
    /// The deadline of the lease when the change was made.
    deadline: u64,
    by: u64,
}

impl Lowered {
    fn of(change: &Change) -> Option<Self> {
        let (owner, deadline, before, after) = match &change.record {
            RecordChange::Session { id, before: Some(before), after: Some(after) } => {
                (Owner::Session(*id), before.lease.deadline, before.timeout, after.timeout)
            }
            RecordChange::Service { id, before: Some(before), after: Some(after) } => {
                match (&before.lease, before.info.kind, after.info.kind) {
                    (Some(lease), ServiceKind::Standalone { timeout }, ServiceKind::Standalone { timeout: new }) => {
                        (Owner::Service(id.clone()), lease.deadline, timeout, new)
                    }
                    _ => return None,
                }
            }
            _ => return None,
        };
        let by = u64::from(before.checked_sub(after).filter(|by| *by > 0)?) * 1000;
        Some(Self { tenant: change.tenant, owner, deadline, by })
    }
}

impl Tenant {
    /// Puts or removes a session. Returns the lease if it is new, and must be queued.
    fn put_session(&mut self, id: SessionId, after: Option<Session>) -> Option<&Lease> {
        let before = self.sessions.remove(id);
        let mut after = after?;
        let is_new = keep_holder(before.map(|session| session.lease), &mut after.lease);
        let session = self.sessions.add(id, after);
        is_new.then_some(&session.lease)
    }

    /// The same for a service, with its entries in the indexes.
    fn put_service(&mut self, id: &Arc<str>, after: Option<Service>) -> Option<&Lease> {
        let before = self.services.remove(id);
        if let Some(before) = &before {
            self.drop_from_indexes(before);
        }
        let mut after = after?;
        self.add_to_indexes(&after);
        let before = before.and_then(|before| before.lease).map(|lease| *lease);
        let is_new = after.lease.as_mut().is_some_and(|lease| keep_holder(before, lease));
        let service = self.services.entry(id.clone()).or_insert(after);
        service.lease.as_deref().filter(|_| is_new)
    }

    fn add_to_indexes(&mut self, service: &Service) {
        let info = &service.info;
        for tag in info.tags.iter() {
            let tag = self.known_tag(tag);
            self.by_tag.insert((tag, info.id.clone()));
        }
        if let ServiceKind::InSession(session) = info.kind {
            self.by_session.insert((session, info.id.clone()));
        }
    }

    fn drop_from_indexes(&mut self, service: &Service) {
        let info = &service.info;
        for tag in info.tags.iter() {
            self.by_tag.remove(&(Arc::from(tag), info.id.clone()));
        }
        if let ServiceKind::InSession(session) = info.kind {
            self.by_session.remove(&(session, info.id.clone()));
        }
    }

    /// Returns the tag as the index has it, so that a tag of ten thousand services is stored once.
    fn known_tag(&self, tag: &str) -> Arc<str> {
        let tag: Arc<str> = Arc::from(tag);
        let first = (tag.clone(), Arc::from(""));
        match self.by_tag.range(first..).next() {
            Some((known, _)) if *known == tag => known.clone(),
            _ => tag,
        }
    }

    fn put_event(&mut self, id: Uuid1, event: Option<Event>) {
        let place = self.events.partition_point(|known| known.id < id);
        let is_known = self.events.get(place).is_some_and(|known| known.id == id);
        match event {
            Some(event) if is_known => self.events[place] = event,
            Some(event) => self.events.insert(place, event),
            None if is_known => {
                self.events.remove(place);
            }
            None => {}
        }
    }

    /// Returns the lower bound of the ids of new events.
    pub(super) fn last_event(&self) -> Uuid1 {
        self.events.back().map_or(Uuid1::lowest(0), |event| event.id)
    }
}

/// Keeps the heartbeats that a lease has received since the change was made: heartbeats are no changes.
/// Returns whether the lease is new.
fn keep_holder(before: Option<Lease>, after: &mut Lease) -> bool {
    match before {
        Some(before) if before.incarnation == after.incarnation => {
            *after = before;
            false
        }
        _ => true,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::registry::model::Attribution;
    use crate::registry::model::{
        NewService, NewServiceKind, NewSession, Quota, ServiceUpdate, SessionUpdate, StringList,
    };

    /// A reading of a clock that was started at a round wall time.
    pub(crate) fn at(mono: u64) -> Now {
        Now { mono, wall: 1_700_000_000_000 + mono }
    }

    pub(crate) fn state() -> State {
        let mut state = State::new(Arc::new(Keys::random().unwrap()));
        state.create_on_first_use(at(0), 1);
        state
    }

    /// Registers a service with heartbeats of its own; returns its token.
    pub(crate) fn own(state: &mut State, now: Now, id: &str, timeout: u8) -> Uuid1 {
        let new = new_service(id, NewServiceKind::Standalone { timeout });
        state.create_service(now, 1, &Quota::default(), &new, &Attribution::default()).unwrap().token.unwrap()
    }

    pub(crate) fn new_service(id: &str, kind: NewServiceKind) -> NewService {
        NewService { id: id.into(), tags: StringList::new(["web", "web"]), metadata: StringList::default(), kind }
    }

    pub(crate) fn new_session(timeout: u8) -> NewSession {
        NewSession { timeout, metadata: StringList::default() }
    }

    pub(crate) fn timeout_of_service(timeout: u8) -> ServiceUpdate {
        ServiceUpdate { tags: None, metadata: None, timeout: Some(timeout) }
    }

    pub(crate) fn set(state: &mut State, now: Now, id: &str, value: &str) {
        state.set_value(now, 1, &Quota::default(), id, &value.into(), &Attribution::default()).unwrap();
    }

    pub(crate) fn beat(
        state: &mut State,
        now: Now,
        target: HeartbeatTarget<'_>,
        token: Uuid1,
    ) -> Result<Uuid1, DomainError> {
        state.beat(now, 1, target, PresentedToken { token, text: &token.to_string() })
    }

    /// Opens a session with services; returns its id and token.
    pub(crate) fn session(state: &mut State, now: Now, timeout: u8, services: &[&str]) -> (String, Uuid1) {
        let (id, token) =
            state.create_session(now, 1, &Quota::default(), &new_session(timeout), &Attribution::default()).unwrap();
        for service in services {
            let mut new = new_service(service, NewServiceKind::InSession(id.as_str().to_owned()));
            new.tags = StringList::new(["web"]);
            state.create_service(now, 1, &Quota::default(), &new, &Attribution::default()).unwrap();
        }
        (id.as_str().to_owned(), token)
    }

    /// A rollback must leave everything as it was, the indexes and the time of the last heartbeats included.
    #[test]
    fn rolled_back_changes_leave_the_state_as_before() {
        let mut state = state();
        own(&mut state, at(0), "own-1", 30);
        let (id, _) = session(&mut state, at(1), 30, &["api-2", "api-1"]);
        set(&mut state, at(2), "key", "old");
        state.take_changes();
        let before = format!("{:?}", state.tenants);

        own(&mut state, at(3), "own-2", 3);
        let update = ServiceUpdate { tags: Some(StringList::new(["db"])), ..timeout_of_service(60) };
        state.update_service(at(0), 1, "own-1", |_| Ok(update), &Attribution::default()).unwrap();
        let metadata = Some(StringList::new(["a", "b"]));
        state
            .update_session(at(0), 1, &id, &SessionUpdate { timeout: None, metadata }, &Attribution::default())
            .unwrap();
        set(&mut state, at(4), "key", "new");
        state.remove_value(at(5), 1, "key", &Attribution::default()).unwrap();
        state.delete_session(at(6), 1, &id, &Attribution::default()).unwrap();
        assert!(state.sweep(at(3_003), usize::MAX));
        assert_ne!(format!("{:?}", state.tenants), before);

        let changes = state.take_changes();
        assert_eq!(state.take_changes(), [], "each change is handed over once");
        state.undo(changes);
        assert_eq!(format!("{:?}", state.tenants), before);
    }

    /// A disk that hangs before it fails leaves time for heartbeats, which count with the timeout that is then rolled
    /// back.
    #[test]
    fn lease_renewed_before_a_rollback_gets_its_old_timeout() {
        for is_heard in [true, false] {
            let mut state = state();
            let own = own(&mut state, at(0), "own-1", 60);
            let (id, token) = session(&mut state, at(0), 60, &[]);
            state.take_changes();
            for timeout in [30, 3] {
                state
                    .update_service(at(0), 1, "own-1", |_| Ok(timeout_of_service(timeout)), &Attribution::default())
                    .unwrap();
                let update = SessionUpdate { timeout: Some(timeout), metadata: None };
                state.update_session(at(0), 1, &id, &update, &Attribution::default()).unwrap();
            }
            for (who, token) in [(HeartbeatTarget::Service("own-1"), own), (HeartbeatTarget::Session(&id), token)] {
                if is_heard {
                    beat(&mut state, at(10_000), who, token).unwrap();
                }
            }
            let changes = state.take_changes();
            state.undo(changes);
            let deadline = if is_heard { 70_000 } else { 60_000 };
            state.sweep(at(deadline - 1), usize::MAX);
            assert!(state.service(1, "own-1", false).is_ok() && state.session(1, &id).is_ok(), "{is_heard}");
            state.sweep(at(deadline), usize::MAX);
            assert!(state.service(1, "own-1", false).is_err() && state.session(1, &id).is_err(), "{is_heard}");
        }
    }

    #[test]
    fn change_without_effect_is_not_journalled() {
        let mut state = state();
        own(&mut state, at(0), "own-1", 30);
        let (id, token) = session(&mut state, at(0), 30, &[]);
        set(&mut state, at(0), "key", "x");
        state.take_changes();
        state.update_service(at(0), 1, "own-1", |_| Ok(timeout_of_service(30)), &Attribution::default()).unwrap();
        state
            .update_session(at(0), 1, &id, &SessionUpdate { timeout: None, metadata: None }, &Attribution::default())
            .unwrap();
        set(&mut state, at(1), "key", "x");
        beat(&mut state, at(1), HeartbeatTarget::Session(&id), token).unwrap();
        assert_eq!(state.take_changes(), [], "heartbeats cost no write");
    }
}

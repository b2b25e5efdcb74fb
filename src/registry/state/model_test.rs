//! The rules of life and death against a model of them that is too simple to be wrong: random requests, heartbeats,
//! passing time, steps of the system's clock and restarts from what was written.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::heartbeats::HeartbeatTarget;
use super::tests::{beat, new_service, new_session};
use super::{Feed, State, Tenant};
use crate::registry::model::Attribution;
use crate::registry::model::Now;
use crate::registry::model::Uuid1;
use crate::registry::model::{EventKind, NewServiceKind, Quota, ServiceInfo, ServiceUpdate, SessionUpdate, StringList};
use crate::registry::store::{Backend, CommitError, RecordWrite, Visit, recovery};

#[derive(Clone, Debug)]
enum Step {
    Own { id: u8, timeout: u8 },
    Session { timeout: u8 },
    InSession { id: u8, session: usize },
    Beat { lease: usize },
    BeatAgain { lease: usize },
    Remove { id: u8 },
    Update { id: u8, tag: u8 },
    UpdateSession { session: usize, timeout: u8 },
    RemoveSession { session: usize },
    Wait { ms: u64 },
    SetClock { by: i64 },
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..20u8, 3..12u8).prop_map(|(id, timeout)| Step::Own { id, timeout }),
        (3..12u8).prop_map(|timeout| Step::Session { timeout }),
        (20..40u8, any::<usize>()).prop_map(|(id, session)| Step::InSession { id, session }),
        any::<usize>().prop_map(|lease| Step::Beat { lease }),
        any::<usize>().prop_map(|lease| Step::BeatAgain { lease }),
        (0..40u8).prop_map(|id| Step::Remove { id }),
        (0..40u8, 0..3u8).prop_map(|(id, tag)| Step::Update { id, tag }),
        (any::<usize>(), 3..12u8).prop_map(|(session, timeout)| Step::UpdateSession { session, timeout }),
        any::<usize>().prop_map(|session| Step::RemoveSession { session }),
        (1..4_000u64).prop_map(|ms| Step::Wait { ms }),
        (1..4_000u64).prop_map(|ms| Step::Wait { ms }),
        (-3_600_000..3_600_000i64).prop_map(|by| Step::SetClock { by }),
        Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..120)
}

/// The records that have been written.
#[derive(Debug, Default)]
struct Written(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Backend for Written {
    fn commit(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
        let mut records = self.0.lock().unwrap();
        for RecordWrite { key, value } in requests.iter().flatten().cloned() {
            match value {
                Some(value) => records.insert(key, value),
                None => records.remove(&key),
            };
        }
        Ok(())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> std::io::Result<()> {
        for (key, value) in self.0.lock().unwrap().range(from.to_vec()..to.to_vec()) {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> std::io::Result<()> {
        let records = self.0.lock().unwrap();
        records.range(from.to_vec()..to.to_vec()).rev().try_for_each(|(key, value)| visit(key, value).map(drop))
    }

    fn dump(&self, _: &mut Visit<'_>) -> std::io::Result<()> {
        Ok(())
    }
}

/// A client with heartbeats: its name, the end of its life, and the last two tokens.
#[derive(Clone, Debug)]
struct Lease {
    name: String,
    is_session: bool,
    timeout: u64,
    pub(crate) deadline: u64,
    token: Uuid1,
    before: Option<Uuid1>,
}

struct World {
    now: Now,
    state: State,
    disk: Written,
    leases: Vec<Lease>,
    /// Services by id, and the lease they live by.
    services: BTreeMap<String, String>,
    /// The number of events that there must be.
    events: usize,
    /// The newest event that was compared.
    last: Option<Uuid1>,
}

impl World {
    fn new() -> Self {
        let (disk, now) = (Written::default(), Now { mono: 0, wall: 1_700_000_000_000 });
        let mut state = recovery::state(&disk, now).unwrap();
        state.create_on_first_use(now, 1);
        Self { now, state, disk, leases: Vec::new(), services: BTreeMap::new(), events: 0, last: None }
    }

    fn step(&mut self, step: Step) {
        let quota = Quota::default();
        match step {
            Step::Own { id, timeout } => {
                let name = format!("node-{id}");
                let new = new_service(&name, NewServiceKind::Standalone { timeout });
                let created = self.state.create_service(self.now, 1, &quota, &new, &Attribution::default());
                assert_eq!(created.is_ok(), !self.services.contains_key(&name));
                if let Ok(created) = created {
                    self.services.insert(name.clone(), name.clone());
                    self.hold(name, false, timeout, created.token.unwrap());
                    self.events += 1;
                }
            }
            Step::Session { timeout } => {
                let (id, token) = self
                    .state
                    .create_session(self.now, 1, &quota, &new_session(timeout), &Attribution::default())
                    .unwrap();
                self.hold(id.as_str().to_owned(), true, timeout, token);
                self.events += 1;
            }
            Step::InSession { id, session } => {
                let Some(lease) = pick(&self.leases, session).filter(|lease| lease.is_session) else { return };
                let (name, session) = (format!("node-{id}"), lease.name.clone());
                let new = new_service(&name, NewServiceKind::InSession(session.clone()));
                let created = self.state.create_service(self.now, 1, &quota, &new, &Attribution::default());
                assert_eq!(created.is_ok(), !self.services.contains_key(&name));
                if created.is_ok() {
                    self.services.insert(name, session);
                    self.events += 1;
                }
            }
            Step::Beat { lease } => self.beat(lease, false),
            Step::BeatAgain { lease } => self.beat(lease, true),
            Step::Remove { id } => {
                let name = format!("node-{id}");
                let removed = self.state.delete_service(self.now, 1, &name, &Attribution::default());
                assert_eq!(removed.is_ok(), self.services.remove(&name).is_some());
                self.leases.retain(|lease| lease.is_session || lease.name != name);
                self.events += usize::from(removed.is_ok());
            }
            Step::Update { id, tag } => {
                let tags = Some(StringList::new([format!("tag-{tag}").as_str()]));
                let update = ServiceUpdate { tags: tags.clone(), metadata: None, timeout: None };
                let known = self.state.service(1, &format!("node-{id}"), false).map(|service| service.info).ok();
                let by = Attribution::default();
                let updated = self.state.update_service(self.now, 1, &format!("node-{id}"), |_| Ok(update), &by);
                assert_eq!(updated.is_ok(), known.is_some());
                self.events += usize::from(known.is_some_and(|known| Some(&known.tags) != tags.as_ref()));
            }
            Step::UpdateSession { session, timeout } => {
                let Some(lease) = pick(&self.leases, session).filter(|lease| lease.is_session) else { return };
                let before = self.state.session(1, &lease.name).unwrap().session.timeout;
                let update = SessionUpdate { timeout: Some(timeout), metadata: None };
                let by = Attribution::default();
                self.state.update_session(self.now, 1, &lease.name, &update, &by).unwrap();
                self.events += usize::from(before != timeout);
                let name = lease.name.clone();
                let lease = self.leases.iter_mut().find(|lease| lease.name == name).unwrap();
                lease.timeout = u64::from(timeout) * 1000;
            }
            Step::RemoveSession { session } => {
                let Some(lease) = pick(&self.leases, session).filter(|lease| lease.is_session).cloned() else { return };
                let members = self.services.values().filter(|session| **session == lease.name).count();
                self.state.delete_session(self.now, 1, &lease.name, &Attribution::default()).unwrap();
                self.events += members + 1;
                self.services.retain(|_, session| *session != lease.name);
                self.leases.retain(|known| known.name != lease.name);
            }
            Step::Wait { ms } => self.wait(ms),
            Step::SetClock { by } => self.now.wall = self.now.wall.checked_add_signed(by).unwrap(),
            Step::Restart => self.restart(),
        }
    }

    fn hold(&mut self, name: String, is_session: bool, timeout: u8, token: Uuid1) {
        let timeout = u64::from(timeout) * 1000;
        let deadline = self.now.mono + timeout;
        self.leases.push(Lease { name, is_session, timeout, deadline, token, before: None });
    }

    /// With the newest token, or with the one before, as if the answer had been lost.
    fn beat(&mut self, at: usize, again: bool) {
        if self.leases.is_empty() {
            return;
        }
        let at = at % self.leases.len();
        let lease = &mut self.leases[at];
        let token = if again { lease.before.unwrap_or(lease.token) } else { lease.token };
        let who = if lease.is_session {
            HeartbeatTarget::Session(&lease.name)
        } else {
            HeartbeatTarget::Service(&lease.name)
        };
        let next = beat(&mut self.state, self.now, who, token).unwrap();
        lease.deadline = self.now.mono + lease.timeout;
        (lease.before, lease.token) = (Some(token), next);
    }

    /// Sweeps now and then, like the expiry task.
    fn wait(&mut self, mut ms: u64) {
        while ms > 0 {
            let part = ms.min(500);
            self.now = Now { mono: self.now.mono + part, wall: self.now.wall + part };
            ms -= part;
            self.state.sweep(self.now, usize::MAX);
            let (dead, alive) = self.leases.drain(..).partition(|lease| lease.deadline <= self.now.mono);
            self.leases = alive;
            let dead: Vec<Lease> = dead;
            self.events += dead.len();
            self.services.retain(|_, lease| dead.iter().all(|dead| dead.name != *lease));
        }
    }

    /// Only written records survive, and every lease has its whole timeout again.
    fn restart(&mut self) {
        self.write();
        self.now = Now { mono: 0, wall: self.now.wall + 60_000 };
        self.state = recovery::state(&self.disk, self.now).unwrap();
        for lease in &mut self.leases {
            lease.deadline = lease.timeout;
        }
    }

    fn write(&mut self) {
        let writes: Vec<RecordWrite> = self.state.take_changes().iter().map(RecordWrite::encode).collect();
        self.disk.commit(&[writes]).unwrap();
    }

    fn compare(&mut self) {
        let tenant = &self.state.tenants[&1];
        let services: Vec<&str> = tenant.services.keys().map(|id| &**id).collect();
        assert_eq!(services, self.services.keys().collect::<Vec<_>>());
        let mut sessions: Vec<&str> =
            self.leases.iter().filter(|lease| lease.is_session).map(|lease| lease.name.as_str()).collect();
        sessions.sort_unstable();
        assert_eq!(tenant.sessions.from(b"").map(|(id, _)| id.as_str()).collect::<Vec<_>>(), sessions);
        let ids: Vec<Uuid1> = tenant.events.iter().map(|event| event.id).collect();
        assert_eq!(ids.len(), self.events);
        assert!(ids.windows(2).all(|pair| pair[0].ticks() < pair[1].ticks()), "the feed must rise");
        assert_eq!(replayed(tenant), described(tenant));
        let is_new = ids.last() != self.last.as_ref();
        self.last = ids.last().copied();
        if let Some(last) = self.last.filter(|_| is_new) {
            let timestamp = tenant.record.ids.timestamp(last);
            let (early, late) = (self.now.wall - 4_000, self.now.wall + 60_001);
            assert!((early..=late).contains(&timestamp), "{timestamp} at {}", self.now.wall);
            let feed = Feed { from: Some(last), kind: None, strict: false, extended: false, limit: 1 };
            assert_eq!(self.state.feed_start(self.now, 1, &feed), Ok(last), "it is a marker");
        }
    }
}

/// The services as a reader of the feed knows them. Each event says also what there was before it.
fn replayed(tenant: &Tenant) -> BTreeMap<Arc<str>, Arc<ServiceInfo>> {
    let mut known: BTreeMap<Arc<str>, Arc<ServiceInfo>> = BTreeMap::new();
    for event in &tenant.events {
        let mut remove = |info: &Arc<ServiceInfo>| assert_eq!(known.remove(&info.id).as_ref(), Some(info), "{event:?}");
        match &event.kind {
            EventKind::Join(info) => assert_eq!(known.insert(info.id.clone(), info.clone()), None, "{event:?}"),
            EventKind::Remove(info) | EventKind::ServiceTimeout(info) => remove(info),
            EventKind::SessionTimeout(services) => services.iter().for_each(remove),
            EventKind::ServiceUpdate(update) => {
                remove(&update.old);
                known.insert(update.new.id.clone(), update.new.clone());
            }
            _ => {}
        }
    }
    known
}

fn described(tenant: &Tenant) -> BTreeMap<Arc<str>, Arc<ServiceInfo>> {
    tenant.services.iter().map(|(id, service)| (id.clone(), service.info.clone())).collect()
}

fn pick(leases: &[Lease], at: usize) -> Option<&Lease> {
    leases.get(at.checked_rem(leases.len())?)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn state_agrees_with_the_model(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.compare();
        }
        world.restart();
        world.compare();
    }
}

//! The form of records in the store: a key that sorts, and a short value.
//!
//! A key is a letter, the tenant, a letter for the kind, and the id. So each tenant is one range of keys, its events
//! are the last part of that range, and a session is followed by the services in it. A record is read back as a
//! [`Change`] with nothing before, so that recovery applies each record as a change. Leases come back without their
//! tokens and deadlines, which are in memory only.

use std::sync::Arc;

use crate::registry::model::StringList;
use crate::registry::model::Uuid1;
use crate::registry::model::{Change, RecordChange};
use crate::registry::model::{
    Event, EventKind, Lease, Service, ServiceInfo, ServiceKind, Session, SessionId, TenantId, TenantRecord,
    ValueRemove, ValueUpdate,
};
use crate::registry::model::{IdScale, Segment};

pub(super) const TOKEN_KEYS: &[u8] = b"m/keys";
/// The first byte of the keys of the registry itself.
pub(super) const META: u8 = b'm';
/// The first byte of all other keys; the tenant and the kind follow.
const DATA: u8 = b'd';

const CONFIG_VALUE: u8 = b'c';
/// A session, and with [`SEPARATOR`] a service in it.
const SESSION: u8 = b's';
const TENANT: u8 = b't';
/// A service with heartbeats of its own.
const SERVICE: u8 = b'v';
/// The last kind of a tenant: events are the only records that a start does not read as a whole.
const EVENT: u8 = b'z';

/// Between a session and a service in a key. No id contains it.
const SEPARATOR: char = '/';

/// A change to the store: a key, and its new value, or none to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordWrite {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl RecordWrite {
    pub(crate) fn encode(Change { tenant, record }: &Change) -> Self {
        let value = |put: &mut dyn FnMut(&mut Vec<u8>)| {
            let mut value = Vec::new();
            put(&mut value);
            value
        };
        let (key, value) = match record {
            RecordChange::Tenant { after, .. } => {
                (key(*tenant, TENANT, b""), after.as_ref().map(|record| value(&mut |to| put_tenant(to, record))))
            }
            RecordChange::Session { id, after, .. } => {
                let after = after.as_ref().map(|session| value(&mut |to| put_session(to, session)));
                (key(*tenant, SESSION, id.as_str().as_bytes()), after)
            }
            RecordChange::Service { id, before, after } => {
                let kind = after.as_ref().or(before.as_ref()).map(|service| service.info.kind);
                let after = after.as_ref().map(|service| value(&mut |to| put_service(to, service)));
                (service_key(*tenant, id, kind), after)
            }
            RecordChange::Value { id, after, .. } => {
                (key(*tenant, CONFIG_VALUE, id.as_bytes()), after.as_ref().map(|text| text.as_bytes().to_vec()))
            }
            RecordChange::Event { id, after, .. } => {
                (event_key(*tenant, *id), after.as_ref().map(|kind| value(&mut |to| put_event_kind(to, kind))))
            }
        };
        Self { key, value }
    }
}

fn key(tenant: TenantId, kind: u8, id: &[u8]) -> Vec<u8> {
    [&[DATA], &tenant.to_be_bytes()[..], &[kind], id].concat()
}

fn service_key(tenant: TenantId, id: &str, kind: Option<ServiceKind>) -> Vec<u8> {
    match kind {
        Some(ServiceKind::InSession(session)) => {
            key(tenant, SESSION, format!("{}{SEPARATOR}{id}", session.as_str()).as_bytes())
        }
        _ => key(tenant, SERVICE, id.as_bytes()),
    }
}

/// Returns the key of an event. They sort like the feed of their tenant.
pub(crate) fn event_key(tenant: TenantId, id: Uuid1) -> Vec<u8> {
    let (ticks, tail) = id.parts();
    key(tenant, EVENT, &[ticks.to_be_bytes(), tail.to_be_bytes()].concat())
}

/// Returns the range of all records of tenants from this one on, events included.
pub(super) fn tenants_from(first: TenantId) -> (Vec<u8>, Vec<u8>) {
    ([&[DATA], &first.to_be_bytes()[..]].concat(), vec![DATA + 1])
}

/// Returns the range of the records of a tenant, without its events.
pub(super) fn records_of(tenant: TenantId) -> (Vec<u8>, Vec<u8>) {
    (tenants_from(tenant).0, key(tenant, EVENT, b""))
}

/// Returns the tenant in a key.
pub(super) fn tenant_of(key: &[u8]) -> Option<TenantId> {
    split(key).map(|(tenant, _, _)| tenant)
}

pub(crate) fn is_event(key: &[u8]) -> bool {
    split(key).is_some_and(|(_, kind, _)| kind == EVENT)
}

/// Splits a key into tenant, kind and id.
fn split(key: &[u8]) -> Option<(TenantId, u8, &[u8])> {
    let (tenant, rest) = key.strip_prefix(&[DATA])?.split_first_chunk()?;
    let (&kind, id) = rest.split_first()?;
    Some((u32::from_be_bytes(*tenant), kind, id))
}

/// Returns the tenant and the id in the key of an event.
pub(super) fn event_of(key: &[u8]) -> Option<(TenantId, Uuid1)> {
    let (tenant, _, id) = split(key).filter(|(_, kind, _)| *kind == EVENT)?;
    let mut id = Reader(id);
    let (ticks, tail) = (id.array()?, id.array()?);
    Some((tenant, Uuid1::of_parts(u64::from_be_bytes(ticks), u64::from_be_bytes(tail))))
}

/// Reads an event.
pub(crate) fn event(key: &[u8], value: &[u8]) -> Option<Event> {
    let (_, id) = event_of(key)?;
    Some(Event { id, kind: Reader(value).event_kind()? })
}

/// Reads a record, as the change that made it; none if this is no record.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Change> {
    let (tenant, kind, id) = split(key)?;
    if kind == EVENT {
        let Event { id, kind } = event(key, value)?;
        return Some(Change { tenant, record: RecordChange::Event { id, before: None, after: Some(kind) } });
    }
    let id = std::str::from_utf8(id).ok()?;
    let (kind, id) = match id.split_once(SEPARATOR) {
        Some((_, service)) if kind == SESSION => (SERVICE, service),
        _ => (kind, id),
    };
    let mut value = Reader(value);
    let record = match kind {
        TENANT => RecordChange::Tenant { before: None, after: Some(value.tenant()?) },
        SESSION => RecordChange::Session { id: SessionId::parse(id)?, before: None, after: Some(value.session()?) },
        SERVICE => {
            let after = value.service(id)?;
            RecordChange::Service { id: after.info.id.clone(), before: None, after: Some(after) }
        }
        CONFIG_VALUE => {
            RecordChange::Value { id: id.into(), before: None, after: Some(std::str::from_utf8(value.0).ok()?.into()) }
        }
        _ => return None,
    };
    Some(Change { tenant, record })
}

/// Without what is ahead, if nothing is: the form from before there was such a thing. The version that wrote it reads
/// the first 8 bytes of either form.
fn put_tenant(to: &mut Vec<u8>, TenantRecord { created, ids }: &TenantRecord) {
    to.extend(created.to_be_bytes());
    if *ids != IdScale::default() {
        to.extend(ids.ahead.to_be_bytes());
    }
    for Segment { until, ahead } in &ids.past {
        let (ticks, tail) = until.parts();
        to.extend([ticks, tail, *ahead].map(u64::to_be_bytes).as_flattened());
    }
}

fn put_session(to: &mut Vec<u8>, session: &Session) {
    to.push(session.timeout);
    to.extend(session.lease.incarnation.to_be_bytes());
    put_bytes(to, session.metadata.bytes());
}

fn put_service(to: &mut Vec<u8>, service: &Service) {
    to.extend(service.lease.as_ref().map_or(0, |lease| lease.incarnation).to_be_bytes());
    put_info(to, &service.info);
}

/// Writes everything except the id.
fn put_info(to: &mut Vec<u8>, info: &ServiceInfo) {
    match info.kind {
        ServiceKind::InSession(session) => {
            to.push(0);
            to.extend(session.as_str().as_bytes());
        }
        ServiceKind::Standalone { timeout } => to.push(timeout), // never 0
    }
    put_bytes(to, info.tags.bytes());
    put_bytes(to, info.metadata.bytes());
}

fn put_event_kind(to: &mut Vec<u8>, kind: &EventKind) {
    let named = |to: &mut Vec<u8>, kind, info: &ServiceInfo| {
        to.push(kind);
        put_bytes(to, info.id.as_bytes());
        put_info(to, info);
    };
    match kind {
        EventKind::Join(info) => named(to, 0, info),
        EventKind::Remove(info) => named(to, 1, info),
        EventKind::ServiceTimeout(info) => named(to, 2, info),
        EventKind::SessionTimeout(services) => {
            to.push(3);
            for info in services {
                put_bytes(to, info.id.as_bytes());
                put_info(to, info);
            }
        }
        EventKind::ValueUpdate(update) => {
            to.push(4);
            put_bytes(to, update.id.as_bytes());
            put_bytes(to, update.new.as_bytes());
            if let Some(old) = &update.old {
                put_bytes(to, old.as_bytes());
            }
        }
        EventKind::ValueRemove(removal) => {
            to.push(5);
            put_bytes(to, removal.id.as_bytes());
            put_bytes(to, removal.old.as_bytes());
        }
    }
}

/// No part of a record has 4 GiB.
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

/// Reads the parts of a record.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = u32::from_be_bytes(self.array()?);
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(length).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text(&mut self) -> Option<Arc<str>> {
        std::str::from_utf8(self.bytes()?).ok().map(Arc::from)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn tenant(&mut self) -> Option<TenantRecord> {
        let mut record = TenantRecord { created: self.number()?, ids: IdScale::default() };
        if !self.0.is_empty() {
            record.ids.ahead = self.ahead()?;
        }
        while !self.0.is_empty() {
            let until = Uuid1::of_parts(self.number()?, self.number()?);
            record.ids.past.push(Segment { until, ahead: self.ahead()? });
        }
        Some(record)
    }

    /// No id has a greater time.
    fn ahead(&mut self) -> Option<u64> {
        self.number().filter(|ahead| *ahead <= Uuid1::new(u64::MAX, 0).unix_ms())
    }

    fn session(&mut self) -> Option<Session> {
        let [timeout] = self.array()?;
        let lease = Lease::restored(u64::from_be_bytes(self.array()?));
        Some(Session { timeout, lease, metadata: StringList::of_bytes(self.bytes()?)? })
    }

    fn service(&mut self, id: &str) -> Option<Service> {
        let incarnation = u64::from_be_bytes(self.array()?);
        let info = self.info(id.into())?;
        let lease = match info.kind {
            ServiceKind::InSession(_) => None,
            ServiceKind::Standalone { .. } => Some(Box::new(Lease::restored(incarnation))),
        };
        Some(Service { info, lease })
    }

    fn info(&mut self, id: Arc<str>) -> Option<Arc<ServiceInfo>> {
        let kind = match self.array()? {
            [0] => ServiceKind::InSession(SessionId::parse(std::str::from_utf8(&self.array::<10>()?).ok()?)?),
            [timeout] => ServiceKind::Standalone { timeout },
        };
        let (tags, metadata) = (StringList::of_bytes(self.bytes()?)?, StringList::of_bytes(self.bytes()?)?);
        Some(Arc::new(ServiceInfo { id, tags, metadata, kind }))
    }

    fn event_kind(&mut self) -> Option<EventKind> {
        let [kind] = self.array()?;
        Some(match kind {
            0..3 => {
                let id = self.text()?;
                let make = [EventKind::Join, EventKind::Remove, EventKind::ServiceTimeout][usize::from(kind)];
                make(self.info(id)?)
            }
            3 => {
                let mut services = Vec::new();
                while !self.0.is_empty() {
                    let id = self.text()?;
                    services.push(self.info(id)?);
                }
                EventKind::SessionTimeout(services.into())
            }
            4 => {
                let (id, new) = (self.text()?, self.text()?);
                let old = if self.0.is_empty() { None } else { Some(self.text()?) };
                EventKind::ValueUpdate(Box::new(ValueUpdate { id, old, new }))
            }
            5 => EventKind::ValueRemove(Box::new(ValueRemove { id: self.text()?, old: self.text()? })),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::{Now, SessionUpdate};
    use crate::registry::state::tests::{at, own, session, set, state};

    /// One change of each kind.
    fn changes() -> Vec<Change> {
        let mut state = state();
        let ahead = Now { mono: 0, wall: at(86_400_000).wall };
        set(&mut state, ahead, "/name/ahead", "x"); // the tenant's ids are ahead afterwards
        own(&mut state, at(0), "own-1", 3);
        let (id, _) = session(&mut state, at(0), 30, &["api-1", "api-2"]);
        set(&mut state, at(1), "/name/key", "old");
        set(&mut state, at(2), "/name/key", "größer");
        state.remove_value(at(3), 1, "/name/key").unwrap();
        let metadata = Some(StringList::new(["a", "b"]));
        state.update_session(1, &id, &SessionUpdate { timeout: None, metadata }).unwrap();
        state.sweep(at(3_000), usize::MAX);
        state.delete_service(at(3_001), 1, "api-1").unwrap();
        state.sweep(at(30_000), usize::MAX);
        state.take_changes()
    }

    /// Removes what a record does not contain: the times of heartbeats.
    fn forget(change: Change) -> Change {
        let forget = |lease: Lease| Lease::restored(lease.incarnation);
        let record = match change.record {
            RecordChange::Session { id, after: Some(session), .. } => {
                let lease = forget(session.lease.clone());
                RecordChange::Session { id, before: None, after: Some(Session { lease, ..session }) }
            }
            RecordChange::Service { id, after: Some(service), .. } => {
                let lease = service.lease.map(|lease| Box::new(forget(*lease)));
                RecordChange::Service { id, before: None, after: Some(Service { lease, ..service }) }
            }
            RecordChange::Value { id, after, .. } => RecordChange::Value { id, before: None, after },
            RecordChange::Tenant { after, .. } => RecordChange::Tenant { before: None, after },
            other => other,
        };
        Change { tenant: change.tenant, record }
    }

    #[test]
    fn record_is_read_back_as_it_was_written() {
        let mut kinds = 0u64;
        for change in changes() {
            let RecordWrite { key, value: Some(value) } = RecordWrite::encode(&change) else { continue };
            assert_eq!(decode(&key, &value), Some(forget(change)));
            kinds |= 1 << (key[5] - b'a');
            if is_event(&key) {
                kinds |= 1 << (26 + value[0]);
            }
        }
        assert_eq!(kinds.count_ones(), 5 + 6, "every kind of record, and every kind of event");
    }

    /// Records of an earlier version must stay readable: another form needs another number in `recovery`.
    #[test]
    fn form_of_records_does_not_change() {
        let session = SessionId::parse("seABCDEFGH").unwrap();
        let info = |kind| {
            let (tags, metadata) = (StringList::new(["web"]), StringList::new(["port", "80"]));
            Arc::new(ServiceInfo { id: "web-1".into(), tags, metadata, kind })
        };
        let (own, member) = (info(ServiceKind::Standalone { timeout: 30 }), info(ServiceKind::InSession(session)));
        let lease = Lease::restored(258);
        let service = |info: &Arc<ServiceInfo>, lease: Option<&Lease>| {
            let after = Some(Service { info: info.clone(), lease: lease.cloned().map(Box::new) });
            RecordChange::Service { id: "web-1".into(), before: None, after }
        };
        let tenant = |ids| RecordChange::Tenant { before: None, after: Some(TenantRecord { created: 258, ids }) };
        let event = |kind| RecordChange::Event { id: Uuid1::of_parts(1, 2), before: None, after: Some(kind) };
        let (id, old, new) = (Arc::from("key"), Arc::from("old"), Arc::from("new"));
        let update = |old| ValueUpdate { id: Arc::clone(&id), old, new: Arc::clone(&new) };
        let after = Some(Session { metadata: StringList::new(["a", "b"]), timeout: 30, lease: lease.clone() });
        let slots = [
            tenant(IdScale::default()),
            tenant(IdScale { past: vec![Segment { until: Uuid1::of_parts(1, 0), ahead: 0 }], ahead: 258 }),
            RecordChange::Session { id: session, before: None, after },
            service(&own, Some(&lease)),
            service(&member, None),
            RecordChange::Value { id: id.clone(), before: None, after: Some(new.clone()) },
            event(EventKind::Join(own.clone())),
            event(EventKind::Remove(member.clone())),
            event(EventKind::ServiceTimeout(own)),
            event(EventKind::SessionTimeout([member].into())),
            event(EventKind::ValueUpdate(Box::new(update(None)))),
            event(EventKind::ValueUpdate(Box::new(update(Some(Arc::clone(&old)))))),
            event(EventKind::ValueRemove(Box::new(ValueRemove { id, old }))),
        ];
        let written = slots.map(|record| {
            let RecordWrite { key, value } = RecordWrite::encode(&Change { tenant: 7, record });
            format!("{} {}", key.escape_ascii(), value.unwrap().escape_ascii())
        });
        assert_eq!(written.join("\n"), include_str!("record.txt").trim_end());
    }

    #[test]
    fn truncated_record_is_rejected_or_shorter() {
        for change in changes() {
            let RecordWrite { key, value: Some(value) } = RecordWrite::encode(&change) else { continue };
            for end in 0..value.len() {
                decode(&key, &value[..end]); // does not panic; a value that ends with a list or text has a shorter form
            }
            for end in 0..6 {
                assert_eq!(decode(&key[..end], &value), None);
            }
        }
    }

    #[test]
    fn each_tenant_is_one_range_and_a_session_precedes_its_services() {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for tenant in [1, 2] {
            let (from, to) = records_of(tenant);
            for change in changes() {
                let RecordWrite { key, .. } = RecordWrite::encode(&Change { tenant, ..change });
                assert!(from <= key && (key < to) != is_event(&key), "{}", key.escape_ascii());
                assert_eq!(tenant_of(&key), Some(tenant));
                keys.push(key);
            }
        }
        keys.sort_unstable();
        assert!(keys.is_sorted_by_key(|key| tenant_of(key)));
        let session = SessionId::parse("seABCDEFGH").unwrap();
        let service = service_key(1, "api", Some(ServiceKind::InSession(session)));
        assert!(service.starts_with(&key(1, SESSION, session.as_str().as_bytes())));
    }

    #[test]
    fn event_keys_sort_like_the_feed() {
        let ids = [(1, 9), (2, 1), (2, 2), (1 << 40, 0)].map(|(ticks, tail)| Uuid1::new(ticks, tail));
        let keys = ids.map(|id| event_key(7, id));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| event_of(&key).unwrap()), ids.map(|id| (7, id)));
    }
}

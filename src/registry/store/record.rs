//! The form of records in the store: a key that sorts, and a short value.
//!
//! [`value`](super::value) has the values. A key is a letter, the tenant, a letter for the kind, and the id. So each
//! tenant is one range of keys, its events are the last part of that range, and a session is followed by the services
//! in it. A record is read back as a [`Change`] with nothing before, so that recovery applies each record as a change.
//! Leases come back without their tokens and deadlines, which are in memory only.

use super::value::{Reader, put_event, put_service, put_session, put_tenant};
use crate::registry::model::Uuid1;
use crate::registry::model::{Change, RecordChange};
use crate::registry::model::{Event, ServiceKind, SessionId, TenantId};

pub(super) const TOKEN_KEYS: &[u8] = b"m/keys";
/// The first byte of the keys of the registry itself.
pub(super) const META: u8 = b'm';
/// The first byte of all other keys; the tenant and the kind follow.
pub(super) const DATA: u8 = b'd';

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
                (event_key(*tenant, *id), after.as_ref().map(|event| value(&mut |to| put_event(to, event))))
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

/// Returns the key of the session that a key belongs to: its own, or that of a service in a session.
#[cfg(feature = "etcd")]
pub(super) fn session_of(record_key: &[u8]) -> Option<&[u8]> {
    let (_, _, id) = split(record_key).filter(|(_, kind, _)| *kind == SESSION)?;
    let length = id.split(|byte| char::from(*byte) == SEPARATOR).next()?.len();
    record_key.get(..record_key.len() - id.len() + length)
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
    Reader(value).event(id)
}

/// Reads a record, as the change that made it; none if this is no record.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<Change> {
    let (tenant, kind, id) = split(key)?;
    if kind == EVENT {
        let event = event(key, value)?;
        return Some(Change { tenant, record: RecordChange::Event { id: event.id, before: None, after: Some(event) } });
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::model::{Attribution, Cause, Now, SessionUpdate};
    use crate::registry::model::{
        EventKind, IdScale, Lease, PackedAttribution, Segment, Service, ServiceInfo, ServiceUpdated, Session,
        SessionInfo, StringList, TenantRecord, ValueRemove, ValueUpdate,
    };
    use crate::registry::state::tests::{at, own, session, set, state, timeout_of_service};
    use crate::registry::store::value::ATTRIBUTED;

    /// One change of each kind.
    fn changes() -> Vec<Change> {
        let mut state = state();
        let ahead = Now { mono: 0, wall: at(86_400_000).wall };
        set(&mut state, ahead, "/name/ahead", "x"); // the tenant's ids are ahead afterwards
        own(&mut state, at(0), "own-1", 3);
        let (id, _) = session(&mut state, at(0), 30, &["api-1", "api-2"]);
        set(&mut state, at(1), "/name/key", "old");
        set(&mut state, at(2), "/name/key", "größer");
        state.remove_value(at(3), 1, "/name/key", &Attribution::default()).unwrap();
        let metadata = Some(StringList::new(["a", "b"]));
        state
            .update_session(at(0), 1, &id, &SessionUpdate { timeout: None, metadata }, &Attribution::default())
            .unwrap();
        let by = Attribution { reason: Some("größer".into()), ..Attribution::default() };
        state.update_service(at(4), 1, "own-1", |_| Ok(timeout_of_service(5)), &by).unwrap();
        let (other, _) = session(&mut state, at(5), 30, &["api-3"]);
        state.delete_session(at(6), 1, &other, &by).unwrap();
        state.sweep(at(3_000), usize::MAX);
        state.delete_service(at(3_001), 1, "api-1", &Attribution::default()).unwrap();
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
                kinds |= 1 << (26 + (value[0] & !ATTRIBUTED));
            }
        }
        assert_eq!(kinds.count_ones(), 5 + 10, "every kind of record, and every kind of event");
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
        let event_id = Uuid1::of_parts(1, 2);
        let by = |kind, attribution| {
            let after = Some(Event { id: event_id, kind, attribution: PackedAttribution::of(&attribution) });
            RecordChange::Event { id: event_id, before: None, after }
        };
        let event = |kind| by(kind, Attribution::default());
        let opened = || Arc::new(SessionInfo { id: session, timeout: 30, metadata: StringList::new(["a", "b"]) });
        let known = Attribution {
            cause: Some(Cause::Replaced),
            reason: Some("why".into()),
            user: Some("joe".into()),
            address: Some([192, 0, 2, 7].into()),
            agent: Some("curl".into()),
            last_heard: Some(258),
        };
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
            event(EventKind::ServiceTimeout(own.clone())),
            event(EventKind::SessionTimeout([member.clone()].into())),
            event(EventKind::ValueUpdate(Box::new(update(None)))),
            event(EventKind::ValueUpdate(Box::new(update(Some(Arc::clone(&old)))))),
            event(EventKind::ValueRemove(Box::new(ValueRemove { id, old }))),
            // Those above are all that format 2 had.
            by(EventKind::Remove(own.clone()), known.clone()),
            by(EventKind::SessionTimeout([member].into()), known),
            event(EventKind::ServiceUpdate(Box::new(ServiceUpdated { old: own.clone(), new: own }))),
            event(EventKind::SessionCreate(opened())),
            event(EventKind::SessionUpdate(opened())),
            event(EventKind::SessionRemove(opened())),
        ];
        let written = slots.map(|record| {
            let change = Change { tenant: 7, record };
            let RecordWrite { key, value } = RecordWrite::encode(&change);
            let value = value.unwrap();
            assert_eq!(decode(&key, &value), Some(change));
            format!("{} {}", key.escape_ascii(), value.escape_ascii())
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

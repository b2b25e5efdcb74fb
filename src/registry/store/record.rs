//! The form that records have on disk: a key that sorts, and a value that is as short as it can be.
//!
//! A key is a letter for the kind, the tenant, and the id. What is read back is a [`Change`] with nothing before, so that
//! a restart is the sum of all that was ever changed. Holders come back without their tokens and deadlines: these live
//! in memory only.

use std::sync::Arc;

use crate::registry::model::StringList;
use crate::registry::model::Uuid1;
use crate::registry::model::{Change, RecordChange};
use crate::registry::model::{
    Event, EventKind, Lease, Service, ServiceInfo, ServiceKind, Session, SessionId, TenantId, ValueRemove, ValueUpdate,
};

const TENANT: u8 = b't';
const SESSION: u8 = b's';
const SERVICE: u8 = b'v';
const VALUE: u8 = b'c';
/// What keys of events start with. They are the only records that are not read as a whole at the start.
pub(crate) const EVENT: u8 = b'e';
/// What the keys of the registry itself start with.
pub(super) const META: u8 = b'm';

/// What is written: a key, and its new value, or none if it is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Write {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Option<Vec<u8>>,
}

impl Write {
    pub(crate) fn of(Change { tenant, slot }: &Change) -> Self {
        let value = |put: &mut dyn FnMut(&mut Vec<u8>)| {
            let mut value = Vec::new();
            put(&mut value);
            value
        };
        let (key, value) = match slot {
            RecordChange::Tenant { after, .. } => {
                (key(TENANT, *tenant, b""), after.map(|created| created.to_be_bytes().to_vec()))
            }
            RecordChange::Session { id, after, .. } => {
                let after = after.as_ref().map(|session| value(&mut |to| put_session(to, session)));
                (key(SESSION, *tenant, id.as_str().as_bytes()), after)
            }
            RecordChange::Service { id, after, .. } => {
                let after = after.as_ref().map(|service| value(&mut |to| put_service(to, service)));
                (key(SERVICE, *tenant, id.as_bytes()), after)
            }
            RecordChange::Value { id, after, .. } => {
                (key(VALUE, *tenant, id.as_bytes()), after.as_ref().map(|text| text.as_bytes().to_vec()))
            }
            RecordChange::Event { id, after, .. } => {
                (event_key(*tenant, *id), after.as_ref().map(|what| value(&mut |to| put_what(to, what))))
            }
        };
        Self { key, value }
    }
}

fn key(kind: u8, tenant: TenantId, id: &[u8]) -> Vec<u8> {
    [&[kind], &tenant.to_be_bytes()[..], id].concat()
}

/// Where an event lies: by tenant, then in the order of the feed.
pub(crate) fn event_key(tenant: TenantId, id: Uuid1) -> Vec<u8> {
    let (ticks, tail) = id.parts();
    key(EVENT, tenant, &[ticks.to_be_bytes(), tail.to_be_bytes()].concat())
}

/// The tenant and the id in the key of an event.
pub(super) fn event_of(key: &[u8]) -> Option<(TenantId, Uuid1)> {
    let mut key = Reader(key.strip_prefix(&[EVENT])?);
    let (tenant, ticks, tail) = (u32::from_be_bytes(key.array()?), key.array()?, key.array()?);
    Some((tenant, Uuid1::of_parts(u64::from_be_bytes(ticks), u64::from_be_bytes(tail))))
}

/// An event as it was written.
pub(crate) fn event(key: &[u8], value: &[u8]) -> Option<Event> {
    let (_, id) = event_of(key)?;
    Some(Event { id, what: Reader(value).what()? })
}

/// A record as it was written, as the change that made it; none if this is no record.
pub(super) fn read(key: &[u8], value: &[u8]) -> Option<Change> {
    if key.first() == Some(&EVENT) {
        let (tenant, _) = event_of(key)?;
        let Event { id, what } = event(key, value)?;
        return Some(Change { tenant, slot: RecordChange::Event { id, before: None, after: Some(what) } });
    }
    let (&kind, rest) = key.split_first()?;
    let (tenant, id) = rest.split_first_chunk()?;
    let tenant = u32::from_be_bytes(*tenant);
    let id = std::str::from_utf8(id).ok()?;
    let mut value = Reader(value);
    let slot = match kind {
        TENANT => RecordChange::Tenant { before: None, after: Some(u64::from_be_bytes(value.array()?)) },
        SESSION => RecordChange::Session { id: SessionId::parse(id)?, before: None, after: Some(value.session()?) },
        SERVICE => {
            let after = value.service(id)?;
            RecordChange::Service { id: after.about.id.clone(), before: None, after: Some(after) }
        }
        VALUE => {
            RecordChange::Value { id: id.into(), before: None, after: Some(std::str::from_utf8(value.0).ok()?.into()) }
        }
        _ => return None,
    };
    Some(Change { tenant, slot })
}

fn put_session(to: &mut Vec<u8>, session: &Session) {
    to.push(session.timeout);
    to.extend(session.holder.incarnation.to_be_bytes());
    put_bytes(to, session.metadata.bytes());
}

fn put_service(to: &mut Vec<u8>, service: &Service) {
    to.extend(service.holder.as_ref().map_or(0, |holder| holder.incarnation).to_be_bytes());
    put_about(to, &service.about);
}

/// All but the id.
fn put_about(to: &mut Vec<u8>, about: &ServiceInfo) {
    match about.life {
        ServiceKind::InSession(session) => {
            to.push(0);
            to.extend(session.as_str().as_bytes());
        }
        ServiceKind::Standalone { timeout } => to.push(timeout), // which is never 0
    }
    put_bytes(to, about.tags.bytes());
    put_bytes(to, about.metadata.bytes());
}

fn put_what(to: &mut Vec<u8>, what: &EventKind) {
    let named = |to: &mut Vec<u8>, kind, about: &ServiceInfo| {
        to.push(kind);
        put_bytes(to, about.id.as_bytes());
        put_about(to, about);
    };
    match what {
        EventKind::Join(about) => named(to, 0, about),
        EventKind::Remove(about) => named(to, 1, about),
        EventKind::ServiceTimeout(about) => named(to, 2, about),
        EventKind::SessionTimeout(services) => {
            to.push(3);
            for about in services {
                put_bytes(to, about.id.as_bytes());
                put_about(to, about);
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

/// Nothing in the registry has 4 GiB.
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

/// Takes apart what was put together above.
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

    fn session(&mut self) -> Option<Session> {
        let [timeout] = self.array()?;
        let holder = Lease::unheard(u64::from_be_bytes(self.array()?));
        Some(Session { timeout, holder, metadata: StringList::of_bytes(self.bytes()?)? })
    }

    fn service(&mut self, id: &str) -> Option<Service> {
        let incarnation = u64::from_be_bytes(self.array()?);
        let about = self.about(id.into())?;
        let holder = match about.life {
            ServiceKind::InSession(_) => None,
            ServiceKind::Standalone { .. } => Some(Box::new(Lease::unheard(incarnation))),
        };
        Some(Service { about, holder })
    }

    fn about(&mut self, id: Arc<str>) -> Option<Arc<ServiceInfo>> {
        let life = match self.array()? {
            [0] => ServiceKind::InSession(SessionId::parse(std::str::from_utf8(&self.array::<10>()?).ok()?)?),
            [timeout] => ServiceKind::Standalone { timeout },
        };
        let (tags, metadata) = (StringList::of_bytes(self.bytes()?)?, StringList::of_bytes(self.bytes()?)?);
        Some(Arc::new(ServiceInfo { id, tags, metadata, life }))
    }

    fn what(&mut self) -> Option<EventKind> {
        let [kind] = self.array()?;
        Some(match kind {
            0..3 => {
                let id = self.text()?;
                let make = [EventKind::Join, EventKind::Remove, EventKind::ServiceTimeout][usize::from(kind)];
                make(self.about(id)?)
            }
            3 => {
                let mut services = Vec::new();
                while !self.0.is_empty() {
                    let id = self.text()?;
                    services.push(self.about(id)?);
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
    use crate::registry::model::SessionUpdate;
    use crate::registry::state::tests::{at, own, session, set, state};

    /// One of everything, as changes.
    fn changes() -> Vec<Change> {
        let mut state = state();
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

    /// What does not survive: who was heard of when.
    fn forget(change: Change) -> Change {
        let forget = |holder: Lease| Lease::unheard(holder.incarnation);
        let slot = match change.slot {
            RecordChange::Session { id, after: Some(session), .. } => {
                let holder = forget(session.holder.clone());
                RecordChange::Session { id, before: None, after: Some(Session { holder, ..session }) }
            }
            RecordChange::Service { id, after: Some(service), .. } => {
                let holder = service.holder.map(|holder| Box::new(forget(*holder)));
                RecordChange::Service { id, before: None, after: Some(Service { holder, ..service }) }
            }
            RecordChange::Value { id, after, .. } => RecordChange::Value { id, before: None, after },
            other => other,
        };
        Change { tenant: change.tenant, slot }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut kinds = 0u64;
        for change in changes() {
            let Write { key, value: Some(value) } = Write::of(&change) else { continue };
            assert_eq!(read(&key, &value), Some(forget(change)));
            kinds |= 1 << (key[0] - b'a');
            if key[0] == EVENT {
                kinds |= 1 << (26 + value[0]);
            }
        }
        assert_eq!(kinds.count_ones(), 5 + 6, "every kind of record, and every kind of event");
    }

    /// What an earlier version has written is still there: another form would need another number in `start`.
    #[test]
    fn records_have_the_form_they_always_had() {
        let session = SessionId::parse("seABCDEFGH").unwrap();
        let about = |life| {
            let (tags, metadata) = (StringList::new(["web"]), StringList::new(["port", "80"]));
            Arc::new(ServiceInfo { id: "web-1".into(), tags, metadata, life })
        };
        let (own, member) = (about(ServiceKind::Standalone { timeout: 30 }), about(ServiceKind::InSession(session)));
        let holder = Lease::unheard(258);
        let service = |about: &Arc<ServiceInfo>, holder: Option<&Lease>| {
            let after = Some(Service { about: about.clone(), holder: holder.cloned().map(Box::new) });
            RecordChange::Service { id: "web-1".into(), before: None, after }
        };
        let event = |what| RecordChange::Event { id: Uuid1::of_parts(1, 2), before: None, after: Some(what) };
        let (id, old, new) = (Arc::from("key"), Arc::from("old"), Arc::from("new"));
        let update = |old| ValueUpdate { id: Arc::clone(&id), old, new: Arc::clone(&new) };
        let after = Some(Session { metadata: StringList::new(["a", "b"]), timeout: 30, holder: holder.clone() });
        let slots = [
            RecordChange::Tenant { before: None, after: Some(258) },
            RecordChange::Session { id: session, before: None, after },
            service(&own, Some(&holder)),
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
        let written = slots.map(|slot| {
            let Write { key, value } = Write::of(&Change { tenant: 7, slot });
            format!("{} {}", key.escape_ascii(), value.unwrap().escape_ascii())
        });
        assert_eq!(written.join("\n"), include_str!("record.txt").trim_end());
    }

    #[test]
    fn what_is_cut_short_is_no_record() {
        for change in changes() {
            let Write { key, value: Some(value) } = Write::of(&change) else { continue };
            for end in 0..value.len() {
                read(&key, &value[..end]); // and does not panic; what ends with a list or text has a shorter form
            }
            for end in 0..5 {
                assert_eq!(read(&key[..end], &value), None);
            }
        }
    }

    #[test]
    fn keys_of_events_sort_like_the_feed() {
        let ids = [(1, 9), (2, 1), (2, 2), (1 << 40, 0)].map(|(ticks, tail)| Uuid1::new(ticks, tail));
        let keys = ids.map(|id| event_key(7, id));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| event_of(&key).unwrap()), ids.map(|id| (7, id)));
    }
}

//! The values of records: their parts, one after the other.

use std::sync::Arc;

use crate::registry::model::{
    Event, EventKind, Lease, Service, ServiceInfo, ServiceKind, ServiceUpdated, Session, SessionId, SessionInfo,
    TenantRecord, ValueRemove, ValueUpdate,
};
use crate::registry::model::{IdScale, Segment};
use crate::registry::model::{PackedAttribution, StringList, Uuid1};

/// In the first byte of an event: who made the change follows, before the rest.
pub(super) const ATTRIBUTED: u8 = 0x80;

/// Without what is ahead, if nothing is: the form from before there was such a thing. The version that wrote it reads
/// the first 8 bytes of either form.
pub(super) fn put_tenant(to: &mut Vec<u8>, TenantRecord { created, ids }: &TenantRecord) {
    to.extend(created.to_be_bytes());
    if *ids != IdScale::default() {
        to.extend(ids.ahead.to_be_bytes());
    }
    for Segment { until, ahead } in &ids.past {
        let (ticks, tail) = until.parts();
        to.extend([ticks, tail, *ahead].map(u64::to_be_bytes).as_flattened());
    }
}

pub(super) fn put_session(to: &mut Vec<u8>, session: &Session) {
    to.push(session.timeout);
    to.extend(session.lease.incarnation.to_be_bytes());
    put_bytes(to, session.metadata.bytes());
}

pub(super) fn put_service(to: &mut Vec<u8>, service: &Service) {
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

/// Without the part about who made the change, if nothing is known about that: the form of format 2, which had none.
pub(super) fn put_event(to: &mut Vec<u8>, event: &Event) {
    let number = event_number(&event.kind);
    match event.attribution.bytes() {
        [] => to.push(number),
        attribution => {
            to.push(ATTRIBUTED | number);
            put_bytes(to, attribution);
        }
    }
    put_event_content(to, &event.kind);
}

fn event_number(kind: &EventKind) -> u8 {
    match kind {
        EventKind::Join(_) => 0,
        EventKind::Remove(_) => 1,
        EventKind::ServiceTimeout(_) => 2,
        EventKind::SessionTimeout(_) => 3,
        EventKind::ValueUpdate(_) => 4,
        EventKind::ValueRemove(_) => 5,
        EventKind::ServiceUpdate(_) => 6,
        EventKind::SessionCreate(_) => 7,
        EventKind::SessionUpdate(_) => 8,
        EventKind::SessionRemove(_) => 9,
    }
}

fn put_event_content(to: &mut Vec<u8>, kind: &EventKind) {
    let named = |to: &mut Vec<u8>, info: &ServiceInfo| {
        put_bytes(to, info.id.as_bytes());
        put_info(to, info);
    };
    match kind {
        EventKind::Join(info) | EventKind::Remove(info) | EventKind::ServiceTimeout(info) => named(to, info),
        EventKind::SessionTimeout(services) => services.iter().for_each(|info| named(to, info)),
        EventKind::ValueUpdate(update) => {
            put_bytes(to, update.id.as_bytes());
            put_bytes(to, update.new.as_bytes());
            if let Some(old) = &update.old {
                put_bytes(to, old.as_bytes());
            }
        }
        EventKind::ValueRemove(removal) => {
            put_bytes(to, removal.id.as_bytes());
            put_bytes(to, removal.old.as_bytes());
        }
        EventKind::ServiceUpdate(update) => {
            named(to, &update.new);
            put_info(to, &update.old);
        }
        EventKind::SessionCreate(session) | EventKind::SessionUpdate(session) | EventKind::SessionRemove(session) => {
            to.extend(session.id.as_str().as_bytes());
            to.push(session.timeout);
            put_bytes(to, session.metadata.bytes());
        }
    }
}

/// No part of a record has 4 GiB.
fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    to.extend(bytes);
}

/// Reads the parts of a record.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
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

    pub(super) fn tenant(&mut self) -> Option<TenantRecord> {
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

    pub(super) fn session(&mut self) -> Option<Session> {
        let [timeout] = self.array()?;
        let lease = Lease::restored(u64::from_be_bytes(self.array()?));
        Some(Session { timeout, lease, metadata: StringList::of_bytes(self.bytes()?)? })
    }

    pub(super) fn service(&mut self, id: &str) -> Option<Service> {
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
            [0] => ServiceKind::InSession(self.session_id()?),
            [timeout] => ServiceKind::Standalone { timeout },
        };
        let (tags, metadata) = (StringList::of_bytes(self.bytes()?)?, StringList::of_bytes(self.bytes()?)?);
        Some(Arc::new(ServiceInfo { id, tags, metadata, kind }))
    }

    fn session_id(&mut self) -> Option<SessionId> {
        SessionId::parse(std::str::from_utf8(&self.array::<10>()?).ok()?)
    }

    fn session_info(&mut self) -> Option<Arc<SessionInfo>> {
        let id = self.session_id()?;
        let [timeout] = self.array()?;
        Some(Arc::new(SessionInfo { id, timeout, metadata: StringList::of_bytes(self.bytes()?)? }))
    }

    pub(super) fn event(&mut self, id: Uuid1) -> Option<Event> {
        let [kind] = self.array()?;
        let attribution = match kind & ATTRIBUTED {
            0 => PackedAttribution::default(),
            _ => PackedAttribution::of_bytes(self.bytes()?)?,
        };
        Some(Event { id, kind: self.event_kind(kind & !ATTRIBUTED)?, attribution })
    }

    fn event_kind(&mut self, kind: u8) -> Option<EventKind> {
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
            6 => {
                let id = self.text()?;
                let (new, old) = (self.info(id.clone())?, self.info(id)?);
                EventKind::ServiceUpdate(Box::new(ServiceUpdated { old, new }))
            }
            7 => EventKind::SessionCreate(self.session_info()?),
            8 => EventKind::SessionUpdate(self.session_info()?),
            9 => EventKind::SessionRemove(self.session_info()?),
            _ => return None,
        })
    }
}

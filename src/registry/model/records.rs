//! The records of the registry, in compact form, with shared parts.

use std::sync::Arc;

use super::attribution::{Cause, PackedAttribution};
use super::ids::SessionId;
use super::lease::Lease;
use super::page::Entry;
use super::string_list::StringList;
use super::time::IdScale;
use super::uuid::Uuid1;

/// The bytes of member names, quotes and indentation of a session or a service in a list: a lower bound.
const MIN_OBJECT_BYTES: usize = 120;

/// A tenant.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TenantRecord {
    /// When it was created, in milliseconds since 1970.
    pub(crate) created: u64,
    pub(crate) ids: IdScale,
}

/// A session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Session {
    pub(crate) metadata: StringList,
    /// In seconds.
    pub(crate) timeout: u8,
    pub(crate) lease: Lease,
}

/// A session with its id, as an entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct NamedSession {
    pub(crate) id: SessionId,
    pub(crate) session: Session,
}

impl NamedSession {
    pub(crate) fn info(&self) -> Arc<SessionInfo> {
        let Session { timeout, metadata, .. } = &self.session;
        Arc::new(SessionInfo { id: self.id, timeout: *timeout, metadata: metadata.clone() })
    }
}

impl Entry for NamedSession {
    fn marker(&self) -> String {
        self.id.as_str().to_owned()
    }

    fn min_bytes(&self) -> usize {
        MIN_OBJECT_BYTES + self.session.metadata.bytes().len()
    }
}

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Service {
    pub(crate) info: Arc<ServiceInfo>,
    /// The lease of a service with heartbeats of its own; a service in a session has none.
    pub(crate) lease: Option<Box<Lease>>,
}

/// The description of a service. It is never changed in place, so that events can share it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceInfo {
    pub(crate) id: Arc<str>,
    pub(crate) tags: StringList,
    pub(crate) metadata: StringList,
    pub(crate) kind: ServiceKind,
}

/// The heartbeats that keep a service alive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum ServiceKind {
    /// Those of a session.
    InSession(SessionId),
    /// Its own, with this timeout in seconds.
    Standalone { timeout: u8 },
}

impl ServiceInfo {
    /// Returns a lower bound of its size in any JSON.
    pub(crate) fn min_bytes(&self) -> usize {
        MIN_OBJECT_BYTES + self.id.len() + self.tags.bytes().len() + self.metadata.bytes().len()
    }
}

/// A service as an entry of a list, with the lease that keeps it alive: its own or, on request, its session's.
#[derive(Clone, Debug)]
pub(crate) struct ListedService {
    pub(crate) info: Arc<ServiceInfo>,
    /// In seconds.
    pub(crate) timeout: Option<u8>,
    /// In milliseconds since 1970.
    pub(crate) last_seen: Option<u64>,
}

impl Entry for ListedService {
    fn marker(&self) -> String {
        self.info.id.to_string()
    }

    fn min_bytes(&self) -> usize {
        self.info.min_bytes()
    }
}

/// A configuration value with its id, as an entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct NamedValue {
    pub(crate) id: Arc<str>,
    pub(crate) value: Arc<str>,
}

impl Entry for NamedValue {
    fn marker(&self) -> String {
        self.id.to_string()
    }

    fn min_bytes(&self) -> usize {
        self.id.len() + self.value.len()
    }
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: Uuid1,
    pub(crate) kind: EventKind,
    pub(crate) attribution: PackedAttribution,
}

/// An event as an entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct ListedEvent {
    pub(crate) event: Event,
    /// In milliseconds since 1970.
    pub(crate) timestamp: u64,
    /// Only with the members that clients of the original know.
    pub(crate) is_strict: bool,
}

impl Entry for ListedEvent {
    fn marker(&self) -> String {
        self.event.marker()
    }

    fn min_bytes(&self) -> usize {
        self.event.min_bytes()
    }
}

/// The content of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EventKind {
    Join(Arc<ServiceInfo>),
    Remove(Arc<ServiceInfo>),
    ServiceTimeout(Arc<ServiceInfo>),
    /// A session expired, with the services in it, sorted by id.
    SessionTimeout(Box<[Arc<ServiceInfo>]>),
    ValueUpdate(Box<ValueUpdate>),
    ValueRemove(Box<ValueRemove>),
    ServiceUpdate(Box<ServiceUpdated>),
    SessionCreate(Arc<SessionInfo>),
    SessionUpdate(Arc<SessionInfo>),
    SessionRemove(Arc<SessionInfo>),
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Join,
    Remove,
    ServiceTimeout,
    SessionTimeout,
    ValueUpdate,
    ValueRemove,
    ServiceUpdate,
    SessionCreate,
    SessionUpdate,
    SessionRemove,
}

impl EventType {
    /// Returns whether only requests that ask for more types than the original had see it.
    pub(crate) fn is_extended(self) -> bool {
        matches!(self, Self::ServiceUpdate | Self::SessionCreate | Self::SessionUpdate | Self::SessionRemove)
    }
}

impl EventKind {
    pub(crate) fn event_type(&self) -> EventType {
        match self {
            Self::Join(_) => EventType::Join,
            Self::Remove(_) => EventType::Remove,
            Self::ServiceTimeout(_) => EventType::ServiceTimeout,
            Self::SessionTimeout(_) => EventType::SessionTimeout,
            Self::ValueUpdate(_) => EventType::ValueUpdate,
            Self::ValueRemove(_) => EventType::ValueRemove,
            Self::ServiceUpdate(_) => EventType::ServiceUpdate,
            Self::SessionCreate(_) => EventType::SessionCreate,
            Self::SessionUpdate(_) => EventType::SessionUpdate,
            Self::SessionRemove(_) => EventType::SessionRemove,
        }
    }

    /// Returns the cause, as far as the type tells it: a service is removed for one of several.
    pub(crate) fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::Join(_) => Cause::Registered,
            Self::ServiceTimeout(_) | Self::SessionTimeout(_) => Cause::Expired,
            Self::ValueUpdate(update) if update.old.is_none() => Cause::Set,
            Self::ValueUpdate(_) | Self::ServiceUpdate(_) | Self::SessionUpdate(_) => Cause::Updated,
            Self::ValueRemove(_) => Cause::Removed,
            Self::SessionCreate(_) => Cause::Opened,
            Self::Remove(_) | Self::SessionRemove(_) => return None,
        })
    }
}

/// A service was changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceUpdated {
    pub(crate) old: Arc<ServiceInfo>,
    pub(crate) new: Arc<ServiceInfo>,
}

/// The description of a session in an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionInfo {
    pub(crate) id: SessionId,
    /// In seconds.
    pub(crate) timeout: u8,
    pub(crate) metadata: StringList,
}

/// A configuration value got a new value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueUpdate {
    pub(crate) id: Arc<str>,
    pub(crate) old: Option<Arc<str>>,
    pub(crate) new: Arc<str>,
}

/// A configuration value was removed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueRemove {
    pub(crate) id: Arc<str>,
    pub(crate) old: Arc<str>,
}

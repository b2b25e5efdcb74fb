//! The records of the registry, in compact form, with shared parts.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::lease::Lease;
use super::page::Entry;
use super::string_list::StringList;
use super::uuid::Uuid1;

/// The bytes of member names, quotes and indentation of a session or a service in a list: a lower bound.
const MIN_OBJECT_BYTES: usize = 120;

/// A tenant. Everything that an account has belongs to its tenant, and tenants are separate.
pub(crate) type TenantId = u32;

/// `se` and 8 letters or digits. Stored inline: every heartbeat searches a million of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId([u8; 10]);

/// The order of their bytes. All start the same, and the rest compares as one number: a search in a million of them is a
/// large part of a heartbeat.
impl Ord for SessionId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for SessionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number());
    }
}

impl SessionId {
    fn number(self) -> u64 {
        let [_, _, rest @ ..] = self.0;
        u64::from_be_bytes(rest)
    }

    /// Makes an id; `random` returns each of the 8 characters.
    pub(crate) fn random(mut random: impl FnMut() -> char) -> Self {
        let mut id = *b"se00000000";
        for place in &mut id[2..] {
            *place = u8::try_from(random()).unwrap_or(b'0');
        }
        Self(id)
    }

    /// Returns the id with this text, if it can be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Self(text.as_bytes().try_into().ok()?);
        (id.0.starts_with(b"se") && id.0.iter().all(u8::is_ascii_alphanumeric)).then_some(id)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // it is ASCII
    }
}

impl Borrow<[u8]> for SessionId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
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
        }
    }
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

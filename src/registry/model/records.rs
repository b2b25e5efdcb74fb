//! The records of the registry, in compact form, with shared parts.

use std::sync::Arc;

use super::ids::SessionId;
use super::lease::Lease;
use super::page::Entry;
use super::string_list::StringList;
use super::time::IdScale;

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

/// The description of a session in an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionInfo {
    pub(crate) id: SessionId,
    /// In seconds.
    pub(crate) timeout: u8,
    pub(crate) metadata: StringList,
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

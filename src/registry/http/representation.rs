//! The shapes of records on the wire.
//!
//! A service has two forms. A registry can also be told to give every service the members of both forms, for clients
//! that want them. Clients of `wire` read either, so the larger shape is known here alone.

use serde::{Serialize, Serializer};

use crate::registry::model::{
    Attribution, Cause, Entry, EventKind, ListedEvent, ListedService, NamedSession, NamedValue, Resource, ServiceInfo,
    ServiceKind, SessionId, StringList,
};
use crate::registry::state::SessionOverview;
use crate::wire;

/// The members of services in responses to `GET /services` and `GET /services/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceShape {
    /// Those of their form: `session_id`, or `heartbeat_timeout` and `last_seen`.
    #[default]
    Form,
    /// Those of both forms. A service in a session has the timeout and the last heartbeat of that; one that sends its
    /// own heartbeats has null for a session.
    Union,
}

impl ServiceShape {
    /// A service in a session shows that session's lease.
    pub(super) fn needs_session(self) -> bool {
        self == Self::Union
    }
}

/// A service, and its shape on the wire.
#[derive(Clone, Debug)]
pub(super) struct ShapedService {
    pub(super) service: ListedService,
    pub(super) shape: ServiceShape,
}

/// The members of both forms, in the order that each form has.
#[derive(Debug, Serialize)]
struct Union {
    id: String,
    session_id: Option<String>,
    tags: Vec<String>,
    metadata: wire::Metadata,
    heartbeat_timeout: Option<u32>,
    last_seen: Option<u64>,
}

impl Serialize for ShapedService {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ListedService { info, timeout, last_seen } = &self.service;
        let (id, tags) = (info.id.to_string(), info.tags.to_list());
        match (self.shape, info.kind) {
            (ServiceShape::Form, ServiceKind::InSession(session)) => in_session(info, session).serialize(serializer),
            (ServiceShape::Form, ServiceKind::Standalone { timeout }) => {
                let (metadata, heartbeat_timeout) = (metadata(&info.metadata), u32::from(timeout));
                wire::OwnService { id, tags, metadata, heartbeat_timeout, last_seen: *last_seen }.serialize(serializer)
            }
            (ServiceShape::Union, kind) => {
                let session_id = match kind {
                    ServiceKind::InSession(session) => Some(session.as_str().to_owned()),
                    ServiceKind::Standalone { .. } => None,
                };
                let (metadata, heartbeat_timeout) = (metadata(&info.metadata), timeout.map(u32::from));
                Union { id, session_id, tags, metadata, heartbeat_timeout, last_seen: *last_seen }.serialize(serializer)
            }
        }
    }
}

impl Entry for ShapedService {
    fn marker(&self) -> String {
        self.service.marker()
    }

    fn min_bytes(&self) -> usize {
        self.service.min_bytes()
    }
}

impl Serialize for NamedSession {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        session(self).serialize(serializer)
    }
}

impl Serialize for SessionOverview {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let services = self.services.iter().map(|info| in_session(info, self.session.id)).collect();
        wire::Overview { session: session(&self.session), services }.serialize(serializer)
    }
}

impl Serialize for NamedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wire::ConfigurationValue { id: self.id.to_string(), value: self.value.to_string() }.serialize(serializer)
    }
}

impl Serialize for ListedEvent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let known = if self.is_strict { Attribution::default() } else { self.event.attribution.unpack() };
        let Attribution { cause, reason, user, address, agent, last_heard } = known;
        let cause = cause.or_else(|| self.event.kind.cause()).filter(|_| !self.is_strict);
        let by = wire::EventBy { user, address: address.map(|address| address.to_string()), agent };
        wire::Event {
            id: self.event.id.to_string(),
            timestamp: self.timestamp,
            kind: self.event.kind.event_type().name().to_owned(),
            payload: payload(&self.event.kind),
            cause: cause.map(|cause| cause.name().to_owned()),
            reason,
            by: (by != wire::EventBy::default()).then_some(by),
            last_heard,
        }
        .serialize(serializer)
    }
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Deregistered => "deregistered",
            Self::SessionRemoved => "session removed",
            Self::Replaced => "replaced",
            Self::Expired => "expired",
            Self::Updated => "updated",
            Self::Set => "set",
            Self::Removed => "removed",
            Self::Opened => "opened",
        }
    }
}

impl Resource {
    /// The name in `GET /limits` and in faults.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Service => "service",
            Self::ConfigurationValue => "configuration_value",
        }
    }
}

/// The payload of an event, in the shape of its type.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Payload {
    Service(ServicePayload),
    Several(Vec<ServicePayload>),
    ValueUpdate {
        old_value: Option<String>,
        new_value: String,
        configuration_value_id: String,
    },
    ValueRemove {
        old_value: String,
        configuration_value_id: String,
    },
    ServiceUpdate {
        #[serde(flatten)]
        new: ServicePayload,
        old: ServicePayload,
    },
    Session {
        id: String,
        heartbeat_timeout: u8,
        metadata: wire::Metadata,
    },
}

/// A service in an event.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ServicePayload {
    InSession(wire::SessionService),
    Standalone { id: String, heartbeat_timeout: u8, tags: Vec<String>, metadata: wire::Metadata },
}

fn payload(event: &EventKind) -> Payload {
    match event {
        EventKind::Join(info) | EventKind::Remove(info) | EventKind::ServiceTimeout(info) => {
            Payload::Service(service_payload(info))
        }
        EventKind::SessionTimeout(services) => {
            Payload::Several(services.iter().map(|info| service_payload(info)).collect())
        }
        EventKind::ValueUpdate(value) => Payload::ValueUpdate {
            old_value: value.old.as_deref().map(str::to_owned),
            new_value: value.new.to_string(),
            configuration_value_id: value.id.to_string(),
        },
        EventKind::ValueRemove(value) => {
            Payload::ValueRemove { old_value: value.old.to_string(), configuration_value_id: value.id.to_string() }
        }
        EventKind::ServiceUpdate(update) => {
            Payload::ServiceUpdate { new: service_payload(&update.new), old: service_payload(&update.old) }
        }
        EventKind::SessionCreate(session) | EventKind::SessionUpdate(session) | EventKind::SessionRemove(session) => {
            Payload::Session {
                id: session.id.as_str().to_owned(),
                heartbeat_timeout: session.timeout,
                metadata: metadata(&session.metadata),
            }
        }
    }
}

fn service_payload(info: &ServiceInfo) -> ServicePayload {
    match info.kind {
        ServiceKind::InSession(session) => ServicePayload::InSession(in_session(info, session)),
        ServiceKind::Standalone { timeout } => ServicePayload::Standalone {
            id: info.id.to_string(),
            heartbeat_timeout: timeout,
            tags: info.tags.to_list(),
            metadata: metadata(&info.metadata),
        },
    }
}

fn session(named: &NamedSession) -> wire::Session {
    wire::Session {
        id: named.id.as_str().to_owned(),
        metadata: metadata(&named.session.metadata),
        heartbeat_timeout: u32::from(named.session.timeout),
        last_seen: named.session.lease.last_seen(),
    }
}

fn in_session(info: &ServiceInfo, session: SessionId) -> wire::SessionService {
    wire::SessionService {
        id: info.id.to_string(),
        session_id: session.as_str().to_owned(),
        tags: info.tags.to_list(),
        metadata: metadata(&info.metadata),
    }
}

fn metadata(list: &StringList) -> wire::Metadata {
    list.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

//! What is told of a service: what the original told of its form, or, for sites whose clients want the members of both
//! forms, all of them.
//!
//! Clients of the wire read either, so the larger shape is known here alone.

use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::registry::model::Entry;
use crate::registry::model::{Service, ServiceInfo, ServiceKind};
use crate::registry::state::Tenant;
use crate::wire;

/// Which members services have in answers to `GET /services` and `GET /services/{id}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceShape {
    /// Those of their form: `session_id`, or `heartbeat_timeout` and `last_seen`.
    #[default]
    Form,
    /// Those of both forms. A service in a session has the timeout and the last heartbeat of that; one that sends its
    /// own heartbeats has null for a session.
    Union,
}

/// A service as it is shown: what is needed of it to write the JSON when the lock is free again.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    about: Arc<ServiceInfo>,
    shape: ServiceShape,
    /// Timeout and last heartbeat: its own, or those of its session.
    timeout: Option<u8>,
    last_seen: Option<u64>,
}

/// The members of both forms, in the order that each of them has.
#[derive(Debug, Serialize)]
struct Union {
    id: String,
    session_id: Option<String>,
    tags: Vec<String>,
    metadata: wire::Metadata,
    heartbeat_timeout: Option<u32>,
    last_seen: Option<u64>,
}

impl Tenant {
    pub(crate) fn show(&self, service: &Service, shape: ServiceShape) -> Shown {
        let (timeout, last_seen) = match (service.about.life, shape) {
            (ServiceKind::Standalone { timeout }, _) => {
                (Some(timeout), service.holder.as_ref().and_then(|holder| holder.last_seen()))
            }
            (ServiceKind::InSession(_), ServiceShape::Form) => (None, None),
            (ServiceKind::InSession(id), ServiceShape::Union) => {
                let session = self.sessions.get(id);
                (session.map(|session| session.timeout), session.and_then(|session| session.holder.last_seen()))
            }
        };
        Shown { about: service.about.clone(), shape, timeout, last_seen }
    }
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { about, shape, timeout, last_seen } = self;
        let (id, tags, metadata) = (about.id.to_string(), about.tags.to_list(), about.metadata.to_metadata());
        let (timeout, last_seen) = (timeout.map(u32::from), *last_seen);
        match (shape, about.life) {
            (ServiceShape::Form, ServiceKind::InSession(session)) => about.in_session(session).serialize(serializer),
            (ServiceShape::Form, ServiceKind::Standalone { timeout }) => {
                let heartbeat_timeout = u32::from(timeout);
                wire::OwnService { id, tags, metadata, heartbeat_timeout, last_seen }.serialize(serializer)
            }
            (ServiceShape::Union, life) => {
                let session_id = match life {
                    ServiceKind::InSession(session) => Some(session.as_str().to_owned()),
                    ServiceKind::Standalone { .. } => None,
                };
                Union { id, session_id, tags, metadata, heartbeat_timeout: timeout, last_seen }.serialize(serializer)
            }
        }
    }
}

impl Entry for Shown {
    fn marker(&self) -> String {
        self.about.id.to_string()
    }

    fn min_bytes(&self) -> usize {
        self.about.min_bytes()
    }
}

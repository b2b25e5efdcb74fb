//! What is told of a service: what the original told of its form, or, for sites whose clients want the members of both
//! forms, all of them.
//!
//! Clients of the wire read either, so the larger shape is known here alone.

use serde::Serialize;

use super::objects::{Life, Service};
use super::state::Tenant;
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

/// A service as it is shown.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    Form(wire::Service),
    Union(Union),
}

/// The members of both forms, in the order that each of them has.
#[derive(Debug, Serialize)]
pub(crate) struct Union {
    id: String,
    session_id: Option<String>,
    tags: Vec<String>,
    metadata: wire::Metadata,
    heartbeat_timeout: Option<u32>,
    last_seen: Option<u64>,
}

impl Tenant {
    pub(super) fn show(&self, service: &Service, shape: ServiceShape) -> Shown {
        match (shape, service.to_wire()) {
            (ServiceShape::Form, service) => Shown::Form(service),
            (ServiceShape::Union, wire::Service::Own(own)) => Shown::Union(Union {
                id: own.id,
                session_id: None,
                tags: own.tags,
                metadata: own.metadata,
                heartbeat_timeout: Some(own.heartbeat_timeout),
                last_seen: own.last_seen,
            }),
            (ServiceShape::Union, wire::Service::InSession(member)) => {
                let session = match service.about.life {
                    Life::InSession(id) => self.sessions.get(id),
                    Life::Own { .. } => None,
                };
                Shown::Union(Union {
                    id: member.id,
                    session_id: Some(member.session_id),
                    tags: member.tags,
                    metadata: member.metadata,
                    heartbeat_timeout: session.map(|session| u32::from(session.timeout)),
                    last_seen: session.and_then(|session| session.holder.last_seen()),
                })
            }
        }
    }
}

//! The bodies and parameters of requests about services.

use std::sync::Arc;

use super::json::Json;
use super::query::Query;
use super::validation;
use crate::registry::model::{NewService, NewServiceKind, ServiceFilter, ServiceKind, ServiceUpdate};
use crate::registry::state::DomainError;
use crate::wire::limits::{PAIRS, TAGS};

/// Checks an id in a path.
pub(crate) fn check_id(id: &str) -> Result<(), DomainError> {
    validation::parameter("serviceId", id, validation::service_id)
}

/// Returns the filter of a list. A service has all of it, so it names no more tags and pairs than a service can have.
pub(in crate::registry::http) fn filter(query: &Query<'_>) -> Result<ServiceFilter, DomainError> {
    let tags = query.values("tag");
    tags.iter().try_for_each(|tag| validation::parameter("tag", tag, validation::tag_parameter))?;
    at_most(TAGS, tags.len(), "tag")?;
    let pairs: Vec<(&str, &str)> = query.prefixed("metadata.").collect();
    pairs.iter().try_for_each(|(key, value)| {
        validation::parameter("metadata", value, |value| validation::metadata_parameter(key, value))
    })?;
    at_most(PAIRS, pairs.len(), "metadata")?;
    let prefixes = query.values("id_prefix");
    prefixes.iter().try_for_each(|prefix| validation::parameter("id_prefix", prefix, validation::tag_parameter))?;
    at_most(1, prefixes.len(), "id_prefix")?;
    Ok(ServiceFilter {
        tags: tags.into_iter().map(Arc::from).collect(),
        metadata: pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
        id_prefix: prefixes.concat(),
    })
}

fn at_most(most: usize, given: usize, name: &'static str) -> Result<(), DomainError> {
    let rule = || format!("Given {given} times; the most is {most}");
    if given <= most { Ok(()) } else { Err(DomainError::Parameter { name, rule: rule() }) }
}

/// A body with a session, or with nothing that tells the kind, is a service in a session.
pub(crate) fn new_service(body: &Json) -> Result<NewService, DomainError> {
    validation::body(body)?;
    let id = validation::required(body, "id", validation::service_id_field)?.into();
    let names_session = body.get("session_id").is_some_and(|session| *session != Json::Null);
    let is_standalone = !names_session && body.get("heartbeat_timeout").is_some();
    let session = match (is_standalone, names_session) {
        (true, _) => None,
        (false, true) => Some(validation::required(body, "session_id", validation::session_id)?.to_owned()),
        (false, false) => return Err(validation::missing("session_id")),
    };
    let tags = validation::optional(body, "tags", validation::tags)?.unwrap_or_default();
    let metadata = validation::optional(body, "metadata", validation::metadata)?.unwrap_or_default();
    let kind = match session {
        Some(session) => NewServiceKind::InSession(session),
        None => {
            let timeout = validation::required(body, "heartbeat_timeout", validation::heartbeat_timeout)?;
            NewServiceKind::Standalone { timeout }
        }
    };
    Ok(NewService { id, tags, metadata, kind })
}

/// Reads the changes to the service with this id. Its kind, if it exists, decides about fields that cannot change.
pub(crate) fn service_update(body: &Json, id: &str, kind: Option<ServiceKind>) -> Result<ServiceUpdate, DomainError> {
    validation::body(body)?;
    if validation::given(body, "id", validation::service_id_field)?.is_some_and(|given| given != id) {
        return Err(immutable("id"));
    }
    if let Some(ServiceKind::InSession(session)) = kind
        && body.get("session_id").is_some_and(|given| *given != Json::Null)
        && validation::required(body, "session_id", validation::session_id)? != session.as_str()
    {
        return Err(immutable("session_id"));
    }
    Ok(ServiceUpdate {
        tags: validation::optional(body, "tags", validation::tags)?,
        metadata: validation::optional(body, "metadata", validation::metadata)?,
        timeout: validation::given(body, "heartbeat_timeout", validation::heartbeat_timeout)?,
    })
}

fn immutable(field: &'static str) -> DomainError {
    DomainError::Field { field, rule: "Attempted to mutate immutable field".into() }
}

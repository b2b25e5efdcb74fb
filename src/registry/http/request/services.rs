//! The bodies and parameters of requests about services.

use super::json::Json;
use super::validation;
use crate::registry::model::{NewService, NewServiceKind, ServiceKind, ServiceUpdate};
use crate::registry::state::DomainError;

/// Checks an id in a path.
pub(crate) fn check_id(id: &str) -> Result<(), DomainError> {
    validation::parameter("serviceId", id, validation::service_id)
}

/// Returns the tag of a list, from all values of the parameter.
pub(crate) fn tag<'a>(values: &[&'a str]) -> Result<Option<&'a str>, DomainError> {
    match values {
        [] => Ok(None),
        [tag] => validation::parameter("tag", tag, validation::tag_parameter).map(|()| Some(*tag)),
        _ => Err(DomainError::Parameter { name: "tag", rule: "Not a string".into() }),
    }
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

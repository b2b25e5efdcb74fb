//! The bodies of requests about sessions.

use super::json::Json;
use super::validation;
use crate::registry::model::{NewSession, SessionUpdate};
use crate::registry::state::{DomainError, PresentedToken};

pub(crate) fn new_session(body: &Json) -> Result<NewSession, DomainError> {
    validation::body(body)?;
    let timeout = validation::required(body, "heartbeat_timeout", validation::heartbeat_timeout)?;
    let metadata = validation::optional(body, "metadata", validation::metadata)?.unwrap_or_default();
    Ok(NewSession { timeout, metadata })
}

pub(crate) fn session_update(body: &Json) -> Result<SessionUpdate, DomainError> {
    validation::body(body)?;
    let timeout = validation::given(body, "heartbeat_timeout", validation::heartbeat_timeout)?;
    let metadata = validation::optional(body, "metadata", validation::metadata)?;
    Ok(SessionUpdate { timeout, metadata })
}

/// The token of a heartbeat, of a session or a service.
pub(crate) fn presented_token(body: &Json) -> Result<PresentedToken<'_>, DomainError> {
    validation::body(body)?;
    let (token, text) = validation::required(body, "token", validation::token)?;
    Ok(PresentedToken { token, text })
}

//! The parameters of requests that remove something: why they do.

use super::validation;
use crate::registry::model::Cause;
use crate::registry::state::DomainError;

/// Returns the reason, from all values of the parameter. An empty one is none.
pub(crate) fn reason(values: &[&str]) -> Result<Option<String>, DomainError> {
    let reason = match values {
        [] => return Ok(None),
        [reason] => *reason,
        _ => return Err(DomainError::Parameter { name: "reason", rule: "Given more than once".into() }),
    };
    validation::parameter("reason", reason, validation::reason)?;
    Ok(Some(reason.to_owned()).filter(|reason| !reason.is_empty()))
}

/// Returns the cause, from all values of the parameter. The registry knows all other causes itself.
pub(crate) fn cause(values: &[&str]) -> Result<Option<Cause>, DomainError> {
    match values {
        [] => Ok(None),
        ["replaced"] => Ok(Some(Cause::Replaced)),
        _ => Err(DomainError::Parameter { name: "cause", rule: "Unknown cause. Valid causes are: replaced".into() }),
    }
}

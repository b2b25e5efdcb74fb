//! The parameters of the feed.

use crate::registry::model::{EventType, Uuid1};
use crate::registry::state::DomainError;

/// Returns the marker, from all values of the parameter.
pub(crate) fn marker(values: &[&str]) -> Result<Option<Uuid1>, DomainError> {
    match values {
        [] => Ok(None),
        [text] => Uuid1::parse(text).map(Some).map_err(DomainError::malformed),
        _ => Err(DomainError::malformed("Invalid UUID")),
    }
}

/// Returns whether the request asks for the types that the original did not have.
pub(crate) fn extended(values: &[&str]) -> Result<bool, DomainError> {
    match values {
        [] | ["false"] => Ok(false),
        ["true"] => Ok(true),
        _ => Err(DomainError::Parameter { name: "extended", rule: "Not true or false".into() }),
    }
}

/// Returns the type to filter by, from all values of the parameter.
pub(crate) fn event_type(values: &[&str], extended: bool) -> Result<Option<EventType>, DomainError> {
    let given = values.join(",");
    let all = || EventType::ALL.into_iter().filter(|kind| extended || !kind.is_extended());
    let known = all().find(|kind| kind.name() == given);
    if given.is_empty() || known.is_some() {
        return Ok(known);
    }
    let given: String = given.chars().filter(|char| !char.is_control()).collect();
    let names = all().map(EventType::name).collect::<Vec<_>>().join(",");
    Err(DomainError::Malformed(format!("Invalid type: {given}. Valid types are: {names}")))
}

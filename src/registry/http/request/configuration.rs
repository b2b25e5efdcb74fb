//! The paths and bodies of requests about configuration values.
//!
//! An id with a namespace starts with a slash. A path may omit it: `/configuration/ns/key` and
//! `/configuration//ns/key` are the same value. A slash at the end of a path names a namespace.

use std::sync::Arc;

use super::json::Json;
use super::validation;
use crate::registry::state::DomainError;

/// The values that a decoded path below `/configuration/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    All,
    /// All values below a namespace, which starts with a slash. The empty one contains every value with a namespace.
    Namespace(String),
    Value(String),
}

impl Target {
    /// Reads the path of a GET request.
    pub(crate) fn of_path(path: &str) -> Self {
        match path.strip_suffix('/') {
            Some(_) => Self::Namespace(format!("/{}", path.trim_matches('/')).trim_end_matches('/').to_owned()),
            None if path.is_empty() => Self::All,
            None => Self::Value(id_of_path(path)),
        }
    }
}

/// Returns the id of a value. A slash at its end stays, and breaks the rule for ids.
pub(crate) fn id_of_path(path: &str) -> String {
    let lacks_slash = path.contains('/') && !path.starts_with('/');
    if lacks_slash { format!("/{path}") } else { path.to_owned() }
}

pub(crate) fn check_id(id: &str) -> Result<(), DomainError> {
    validation::parameter("configurationId", id, validation::configuration_id)
}

/// Reads a new value. An `id` in the body is checked, but the one in the path counts.
pub(crate) fn new_value(body: &Json) -> Result<Arc<str>, DomainError> {
    validation::body(body)?;
    validation::given(body, "id", |value| match value {
        Json::Text(id) => validation::configuration_id(id),
        _ => Err("Not a string".into()),
    })?;
    Ok(validation::required(body, "value", validation::configuration_value)?.into())
}

//! request.

mod json;
pub(crate) mod validation;

pub(crate) use json::Json;

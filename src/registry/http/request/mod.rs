//! Parsing of requests: `json` reads bodies as the original did, `validation` holds the rules of their members.

mod json;
pub(crate) mod validation;

pub(crate) use json::Json;

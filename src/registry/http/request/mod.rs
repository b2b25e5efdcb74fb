//! Parsing of requests: `body` reads a body, `query` the parameters of a URL. `json` reads values as the original did,
//! `validation` holds the rules of their members, and a file for each resource turns them into what the domain takes.
//! `pagination` reads the parameters of lists.

pub(super) mod body;
pub(crate) mod configuration;
pub(crate) mod events;
mod json;
pub(crate) mod login;
pub(crate) mod pagination;
mod query;
pub(crate) mod removal;
pub(crate) mod services;
pub(crate) mod sessions;
pub(crate) mod validation;

pub(crate) use json::Json;
pub(super) use query::Query;

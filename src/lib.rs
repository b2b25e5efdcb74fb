//! Service registry: the client library, and (feature `registry`) the registry itself.
//!
//! Modules, in reading order: [`wire`] is the JSON of the API; [`client`] is what a program needs to register
//! itself; `registry` is the server.

pub mod client;
#[cfg(feature = "registry")]
pub mod registry;
pub mod wire;

//! Service registry: the client library, and (feature `registry`) the registry itself.
//!
//! Modules, in reading order: [`wire`] is the JSON of the API; [`client`] is what a program needs to register
//! itself; `registry` is the server.

pub mod client;
#[cfg(feature = "programs")]
#[doc(hidden)] // for the programs of this package
pub mod connection;
#[doc(hidden)] // for the programs of this package
pub mod control;
#[cfg(feature = "programs")]
#[doc(hidden)] // for the programs of this package
pub mod description;
#[cfg(feature = "registry")]
#[doc(hidden)] // for the programs of this package
pub mod endpoint;
#[doc(hidden)] // for the programs of this package
pub mod files;
#[cfg(feature = "programs")]
#[doc(hidden)] // for the programs of this package
pub mod logging;
#[cfg(feature = "registry")]
pub mod registry;
#[cfg(feature = "programs")]
#[doc(hidden)] // for the programs of this package
pub mod variables;
pub mod wire;

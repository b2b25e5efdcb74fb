//! HTTP: from the request to the domain and back.
//!
//! In reading order: `connection` accepts connections; `dispatch` is the life of a request with the help of `app`; it
//! becomes a `context` once its `credentials` are accepted; `router` finds the resource in `resources`; `request`
//! parses bodies; `forward` sends what belongs to another node there; `health` and `metrics` are about the registry
//! itself, and `authorization` is for their readers; `lookup` is for DNS; `page` is the page for people;
//! `representation` and `response` write what goes back, and `error` pairs errors with statuses.

mod app;
mod authorization;
#[cfg(feature = "etcd")]
mod clustered;
pub(super) mod connection;
mod context;
mod credentials;
mod dispatch;
mod error;
#[cfg(feature = "etcd")]
mod forward;
mod forwarded;
mod health;
#[cfg(feature = "dns")]
mod lookup;
mod metrics;
mod origin;
mod page;
mod public_url;
mod representation;
pub(super) mod request;
mod resources;
mod response;
mod router;

pub(super) use app::{App, Home};
#[cfg(feature = "etcd")]
pub(super) use clustered::Clustered;
pub use connection::{Timeouts, Tls, TlsFiles};
#[cfg(feature = "etcd")]
pub(super) use forward::{Peers, PeersConfig};
pub use forwarded::TrustedProxy;
#[cfg(feature = "dns")]
pub(super) use lookup::Selection;
pub use representation::ServiceShape;

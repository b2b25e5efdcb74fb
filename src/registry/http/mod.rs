//! HTTP: from the request to the domain and back.
//!
//! In reading order: `connection` accepts connections; `dispatch` is the life of a request with the help of `app`; it
//! becomes a `context` once its `credentials` are accepted; `router` finds the resource in `resources`; `request`
//! parses bodies; `representation` and `response` write what goes back, and `error` pairs errors with statuses.

mod app;
pub(super) mod connection;
mod context;
mod credentials;
mod dispatch;
mod error;
mod forwarded;
mod origin;
mod public_url;
mod representation;
pub(super) mod request;
mod resources;
mod response;
mod router;

pub(super) use app::{App, Home};
pub use connection::{Timeouts, Tls, TlsFiles};
pub use forwarded::TrustedProxy;
pub use representation::ServiceShape;

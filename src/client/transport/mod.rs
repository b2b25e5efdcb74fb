//! One request and its response: the URL, the connection, TLS, name lookup, the login, and the bounds of what is read.
//!
//! In reading order: `send` is the way of a call; `request` sends it once and reads the response; `connect` and
//! `connector` open connections, `bound` limits what a registry may send, `resolver` looks names up; `auth` and `login`
//! keep the token. The resources send `Call`s. `probe` is a request without all of that.

mod auth;
mod bound;
pub(super) mod connect;
mod connector;
mod login;
mod probe;
mod request;
mod resolver;
mod send;
mod timestamp;
pub(super) mod url;

pub(crate) use auth::Auth;
pub(crate) use connect::{Kind, TlsFiles};
pub(crate) use login::Credentials;
pub use probe::HttpProbe;
pub(crate) use request::{Answer, Call};
pub(crate) use send::Transport;
pub(crate) use url::ApiUrl;

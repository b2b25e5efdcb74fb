//! One request and its response: the URL, the connection, TLS, name lookup, the login, and the bounds of what is read.
//!
//! In reading order: `request` sends a call and reads the response; `connect` and `connector` open connections, `bound` limits
//! what a registry may send, `resolver` looks names up; `auth` and `login` keep the token. The resources send `Call`s.

mod auth;
mod bound;
pub(super) mod connect;
mod connector;
mod login;
mod request;
mod resolver;
mod timestamp;
pub(super) mod url;

pub(crate) use auth::Auth;
pub(crate) use connect::{Http, Kind, TlsFiles};
pub(crate) use login::Credentials;
pub(crate) use request::{Answer, Call};
pub(crate) use url::ApiUrl;

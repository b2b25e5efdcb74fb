//! transport.

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

//! One request and its response: the URL, the login, the connection, and the bounds of what is read.
//!
//! In reading order: `send` is the way of a call; `request` sends it once and reads the response; `connection` opens
//! connections; `auth` and `login` keep the token. The resources send `Call`s. `probe` is a request without all
//! of that.

mod auth;
mod connection;
mod login;
mod probe;
mod request;
mod send;
mod timestamp;
pub(super) mod url;

pub(crate) use auth::Auth;
pub(crate) use connection::{Http, TlsFiles};
pub(crate) use login::Credentials;
pub use probe::HttpProbe;
pub(crate) use request::{Answer, Call, Query};
pub(crate) use send::Transport;
pub(crate) use url::ApiUrl;

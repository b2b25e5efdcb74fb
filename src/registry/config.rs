//! The configuration of a registry.

use std::path::PathBuf;
use std::time::Duration;

use super::access::Users;
use super::http::{ServiceShape, Timeouts, Tls, TrustedProxy};
use super::model::Clock;
use super::store::{Opener, recovery};

/// How a registry is to be.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) users: Option<Users>,
    pub(super) allow_remote_anonymous: bool,
    pub(super) host_names: Vec<String>,
    pub(super) trusted_proxies: Vec<TrustedProxy>,
    pub(super) tls: Option<Tls>,
    pub(super) compatibility: Compatibility,
    pub(super) clock: Clock,
    pub(super) max_connections: usize,
    pub(super) timeouts: Timeouts,
    pub(super) data_dir: Option<(PathBuf, Opener)>,
    pub(super) events_retention: Option<Duration>,
    pub(super) service_shape: ServiceShape,
}

impl Config {
    /// A registry that lets everyone in: any name and key log in, a token is not required, and paths without a tenant
    /// mean tenant 1. It listens on loopback only, and refuses what a web page in somebody's browser could send it.
    #[must_use]
    pub fn anonymous() -> Self {
        Self {
            users: None,
            allow_remote_anonymous: false,
            host_names: Vec::new(),
            trusted_proxies: Vec::new(),
            tls: None,
            compatibility: Compatibility::default(),
            clock: Clock::system(),
            max_connections: 10_000,
            timeouts: Timeouts::default(),
            data_dir: None,
            events_retention: None,
            service_shape: ServiceShape::Form,
        }
    }

    /// A registry for these users and nobody else.
    #[must_use]
    pub fn with_users(users: Users) -> Self {
        Self { users: Some(users), ..Self::anonymous() }
    }

    /// Without users, lets other machines in as well: everyone who can reach the listener may do everything.
    #[must_use]
    pub fn allow_remote_anonymous(self, allow_remote_anonymous: bool) -> Self {
        Self { allow_remote_anonymous, ..self }
    }

    /// Names that a registry without users is reached by. It refuses requests for any other name: they come from web
    /// pages whose name was made to lead here. Loopback names and its own addresses need not be given.
    #[must_use]
    pub fn host_names(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { host_names: names.into_iter().collect(), ..self }
    }

    /// Proxies that are believed about whom they ask for: what a client's address counts for, above all failed logins, then
    /// goes by `X-Forwarded-For` or `Forwarded`. From anybody else these headers count for nothing.
    #[must_use]
    pub fn trusted_proxies(self, proxies: impl IntoIterator<Item = TrustedProxy>) -> Self {
        Self { trusted_proxies: proxies.into_iter().collect(), ..self }
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Hides events that clients of the time did not know: `service.remove` for a service that lives in a session.
    /// Some old clients stop reading the feed at a type they do not know.
    #[must_use]
    pub fn strict_feed(self, strict_feed: bool) -> Self {
        Self { compatibility: Compatibility { strict_feed, ..self.compatibility }, ..self }
    }

    /// Takes heartbeats for the sessions `null` and `None`, which some old clients send, for those of the token's owner.
    /// To find it, all holders of the tenant are looked through.
    #[must_use]
    pub fn lenient_heartbeats(self, lenient_heartbeats: bool) -> Self {
        Self { compatibility: Compatibility { lenient_heartbeats, ..self.compatibility }, ..self }
    }

    /// Takes the time from somewhere else than the system's clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Keeps everything in a directory, which is made if there is none: what was acknowledged outlives the process,
    /// however it ends. Without one, the registry keeps everything in memory.
    #[must_use]
    pub fn data_dir(self, path: impl Into<PathBuf>) -> Self {
        Self { data_dir: Some((path.into(), recovery::open)), ..self }
    }

    /// How long events are kept; 30 days unless told otherwise.
    #[must_use]
    pub fn events_retention(self, retention: Duration) -> Self {
        Self { events_retention: Some(retention), ..self }
    }

    /// Which members services have in answers. Some old clients want those of their own form in every service.
    #[must_use]
    pub fn service_shape(self, service_shape: ServiceShape) -> Self {
        Self { service_shape, ..self }
    }

    /// How many connections may be open at a time (10,000 unless told otherwise). When there is one more, an idle one
    /// is closed: one from the address that has most of them.
    #[must_use]
    pub fn max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// How long a connection is waited for.
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }
}

/// What is done only for the sake of some old clients.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compatibility {
    pub(super) strict_feed: bool,
    pub(super) lenient_heartbeats: bool,
}

//! The configuration of a registry.

use std::path::PathBuf;
use std::time::Duration;

use super::access::Users;
#[cfg(feature = "etcd")]
use super::cluster::ClusterConfig;
use super::http::{ServiceShape, Timeouts, Tls, TrustedProxy};
use super::model::Clock;
use super::store::{Opener, recovery};

/// The configuration of a registry.
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
    #[cfg(feature = "etcd")]
    pub(super) cluster: Option<ClusterConfig>,
}

impl Config {
    /// An open registry: any name and key log in, no request needs a token, and paths without a tenant
    /// mean tenant 1. It listens on loopback only, and refuses requests that a web page could make a browser send.
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
            #[cfg(feature = "etcd")]
            cluster: None,
        }
    }

    /// A registry for these users.
    #[must_use]
    pub fn with_users(users: Users) -> Self {
        Self { users: Some(users), ..Self::anonymous() }
    }

    /// Allows an open registry to listen beyond loopback: every client that can reach the listener may do everything.
    #[must_use]
    pub fn allow_remote_anonymous(self, allow_remote_anonymous: bool) -> Self {
        Self { allow_remote_anonymous, ..self }
    }

    /// Names of an open registry. It refuses requests for any other name: they come from web
    /// pages whose name was changed to lead here. Loopback names and its own addresses need not be given.
    #[must_use]
    pub fn host_names(self, names: impl IntoIterator<Item = String>) -> Self {
        Self { host_names: names.into_iter().collect(), ..self }
    }

    /// Trusted proxies: failed logins, and all else that is counted for a client's address, then go by
    /// `X-Forwarded-For` or `Forwarded`. From other peers these headers are ignored.
    #[must_use]
    pub fn trusted_proxies(self, proxies: impl IntoIterator<Item = TrustedProxy>) -> Self {
        Self { trusted_proxies: proxies.into_iter().collect(), ..self }
    }

    /// Serves TLS only.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Hides events that old clients do not know: `service.remove` for a service in a session, and the types that are
    /// listed on request. Some old clients stop reading the feed at an unknown type. Hides also the members of events
    /// that the original did not have.
    #[must_use]
    pub fn strict_feed(self, strict_feed: bool) -> Self {
        Self { compatibility: Compatibility { strict_feed, ..self.compatibility }, ..self }
    }

    /// Accepts heartbeats for the sessions `null` and `None`, which some old clients send, as those of the token's
    /// owner. To find it, the registry searches all leases of the tenant.
    #[must_use]
    pub fn lenient_heartbeats(self, lenient_heartbeats: bool) -> Self {
        Self { compatibility: Compatibility { lenient_heartbeats, ..self.compatibility }, ..self }
    }

    /// Takes the time from another source than the system's clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// Keeps all data in a directory, which is created if it is missing: acknowledged changes survive the process,
    /// however it ends. Without a directory, all data is in memory.
    #[must_use]
    pub fn data_dir(self, path: impl Into<PathBuf>) -> Self {
        Self { data_dir: Some((path.into(), recovery::open)), ..self }
    }

    /// Keeps all data in etcd, and shares the work with all other registries that do so. Replaces
    /// [`data_dir`](Self::data_dir).
    #[cfg(feature = "etcd")]
    #[must_use]
    pub fn cluster(self, cluster: ClusterConfig) -> Self {
        Self { cluster: Some(cluster), ..self }
    }

    /// How long events are kept; 30 days by default, in a cluster a day.
    #[must_use]
    pub fn events_retention(self, retention: Duration) -> Self {
        Self { events_retention: Some(retention), ..self }
    }

    /// The members of services in responses. Some old clients want those of their own form in every service.
    #[must_use]
    pub fn service_shape(self, service_shape: ServiceShape) -> Self {
        Self { service_shape, ..self }
    }

    /// The most open connections (10,000 by default). If there is one more, an idle one
    /// is closed, of the address that has most of them.
    #[must_use]
    pub fn max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }

    /// Sets the time limits of connections.
    #[must_use]
    pub fn timeouts(self, timeouts: Timeouts) -> Self {
        Self { timeouts, ..self }
    }
}

/// Behaviour for the sake of some old clients.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compatibility {
    pub(super) strict_feed: bool,
    pub(super) lenient_heartbeats: bool,
}

//! The App, which all requests need: the engine, the users, the limits, and what the options say about responses.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use rustls::ServerConfig;

#[cfg(feature = "etcd")]
use super::clustered::Clustered;
use super::connection::{Timeouts, Tls};
#[cfg(feature = "etcd")]
use super::forward::Peers;
#[cfg(all(test, feature = "etcd"))]
use super::forward::test::Table;
use super::forwarded::TrustedProxy;
use super::metrics::Metrics;
use super::representation::ServiceShape;
use super::resources::{Interrupts, PageShares, Places};
use super::response::ResponseIds;
use crate::registry::access::{Authenticator, LoginThrottle, RateLimiter, Users, Waiting};
use crate::registry::config::Compatibility;
use crate::registry::counters::Counters;
use crate::registry::engine::Engine;
#[cfg(feature = "dns")]
use crate::registry::model::TenantId;
use crate::registry::model::{Clock, Now};

/// One connection in this many may be a login that waits, up to this maximum: each of them takes about 25 kB.
const WAITING: usize = 4;
const MOST_WAITING: usize = 500;

/// Everything that requests need.
#[derive(Debug)]
pub(in crate::registry) struct App {
    pub(in crate::registry) home: Home,
    /// The clock of everything but deadlines and timestamps, for which each engine has one.
    clock: Clock,
    pub(super) authenticator: ArcSwap<Authenticator>,
    tls: RwLock<Option<Tls>>,
    pub(super) login_throttle: LoginThrottle,
    pub(super) waiting: Waiting,
    pub(super) trusted_proxies: Vec<TrustedProxy>,
    pub(super) listening: SocketAddr,
    /// Names of an open registry, besides its addresses.
    pub(super) host_names: Vec<String>,
    pub(super) compatibility: Compatibility,
    pub(super) timeouts: Timeouts,
    pub(super) service_shape: ServiceShape,
    pub(super) rate_limiter: RateLimiter,
    pub(super) ids: ResponseIds,
    pub(super) lists: PageShares,
    pub(super) interrupts: Interrupts,
    pub(super) followers: Arc<Places>,
    pub(super) metrics: Metrics,
    /// The other nodes of the cluster.
    #[cfg(feature = "etcd")]
    pub(super) peers: Option<Arc<Peers>>,
    /// Where all shards are, in tests.
    #[cfg(all(test, feature = "etcd"))]
    pub(super) table: Option<Table>,
}

/// Where the data of accounts is.
#[derive(Debug)]
pub(in crate::registry) enum Home {
    /// That of all accounts is here.
    Alone(Arc<Engine>),
    /// That of some accounts is here, and that of the others at other nodes.
    #[cfg(feature = "etcd")]
    Cluster(Arc<Clustered>),
}

impl App {
    pub(in crate::registry) fn new(
        home: Home,
        authenticator: Authenticator,
        tls: Option<Tls>,
        listening: SocketAddr,
        host_names: Vec<String>,
        compatibility: Compatibility,
        timeouts: Timeouts,
    ) -> Self {
        let (authenticator, tls) = (ArcSwap::from_pointee(authenticator), RwLock::new(tls));
        let (login_throttle, ids, lists) = (LoginThrottle::default(), ResponseIds::new(), PageShares::default());
        let (waiting, trusted_proxies) = (Waiting::new(0), Vec::new());
        let clock = match &home {
            Home::Alone(engine) => engine.clock().clone(),
            #[cfg(feature = "etcd")]
            Home::Cluster(_) => Clock::system(),
        };
        #[cfg(feature = "etcd")]
        let peers = match &home {
            Home::Alone(_) => None,
            Home::Cluster(cluster) => Some(cluster.peers.clone()),
        };
        Self {
            home,
            clock,
            authenticator,
            tls,
            login_throttle,
            waiting,
            trusted_proxies,
            listening,
            host_names,
            compatibility,
            timeouts,
            service_shape: ServiceShape::default(),
            rate_limiter: RateLimiter::default(),
            ids,
            lists,
            interrupts: Interrupts::default(),
            followers: Arc::new(Places::new(0)),
            metrics: Metrics::default(),
            #[cfg(feature = "etcd")]
            peers,
            #[cfg(all(test, feature = "etcd"))]
            table: None,
        }
    }

    /// Sets the connection limit, and the proxies whose word about their clients counts.
    pub(in crate::registry) fn for_connections(self, most: usize, trusted_proxies: Vec<TrustedProxy>) -> Self {
        let waiting = Waiting::new((most / WAITING).min(MOST_WAITING));
        Self { waiting, trusted_proxies, followers: Arc::new(Places::new(most)), ..self }
    }

    /// Sets the counters, which the engine shares.
    pub(in crate::registry) fn counting(self, counters: Arc<Counters>) -> Self {
        Self { metrics: Metrics::new(counters), ..self }
    }

    pub(in crate::registry) fn with_shape(self, service_shape: ServiceShape) -> Self {
        Self { service_shape, ..self }
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Returns the tenant of an account: of its number, or of a user's name; without either, that of an open registry.
    #[cfg(feature = "dns")]
    pub(in crate::registry) fn tenant_of(&self, account: Option<&str>) -> Option<TenantId> {
        self.authenticator.load().tenant_of(account)
    }

    #[cfg(feature = "dns")]
    pub(in crate::registry) fn count_dns_query(&self, result: &'static str) {
        self.metrics.count_dns_query(result);
    }

    /// Replaces the users.
    pub(in crate::registry) fn replace_users(&self, users: Users) {
        let authenticator = Arc::new(self.authenticator.load().with(users));
        #[cfg(feature = "etcd")]
        if let Home::Cluster(cluster) = &self.home {
            cluster.node.replace_users(authenticator.users_fingerprint(), authenticator.tenants());
        }
        self.authenticator.store(authenticator);
        self.interrupts.users_replaced();
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|tls| tls.0.clone())
    }

    /// Replaces the certificate, for new connections.
    pub(in crate::registry) fn replace_tls(&self, tls: Tls) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }
}

//! The server: built from a configuration and a listener, serves until it is told to stop.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

#[cfg(unix)]
use nix::sys::socket::{Backlog, listen};

use super::access::{Authenticator, Users};
#[cfg(feature = "etcd")]
use super::clustered;
use super::config::Config;
use super::counters::Counters;
#[cfg(feature = "dns")]
use super::dns::{self, Dns, DnsThread};
use super::engine::Engine;
use super::error::Error;
use super::http::{self, App, Home, Tls};
use super::model::Keys;
use super::state::State;
use super::store::{OpenedStore, recovery};

/// A registry, ready to serve.
#[derive(Debug)]
pub struct Registry {
    listener: TcpListener,
    address: SocketAddr,
    app: Arc<App>,
    opened: Option<OpenedStore>,
    max_connections: usize,
    metrics: Option<TcpListener>,
    /// Other machines may reach it.
    #[cfg(feature = "dns")]
    is_for_others: bool,
    #[cfg(feature = "dns")]
    dns: Option<(Dns, StartDns)>,
}

/// Behind a pointer: a program that never asks for DNS does not contain it.
#[cfg(feature = "dns")]
type StartDns = fn(Dns, Arc<App>) -> io::Result<DnsThread>;

impl Registry {
    /// Builds a registry with a listener, and loads the data directory. Clients may connect from now on; they are
    /// answered once it serves.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoopback`], [`Error::Listener`], [`Error::Random`], [`Error::Thread`], and with a data directory
    /// [`Error::InUse`], [`Error::DataDir`].
    pub fn bind(mut config: Config, listener: TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(Error::Listener)?;
        let is_for_others = config.users.is_some() || config.allow_remote_anonymous;
        check_reach(is_for_others, address)?;
        listener.set_nonblocking(true).map_err(Error::Listener)?;
        // More than the usual 128: connections wait here while the registry starts, or is stopped.
        #[cfg(unix)]
        listen(&listener, Backlog::MAXALLOWABLE).map_err(|error| Error::Listener(error.into()))?;
        http::connection::bound_send_buffers(&listener).map_err(Error::Listener)?;
        let retention = config.events_retention.map(|kept| u64::try_from(kept.as_millis()).unwrap_or(u64::MAX));
        let counters: Arc<Counters> = Arc::default();
        let (home, authenticator, opened) = home(&mut config, retention, &counters)?;
        let Config {
            tls, host_names, trusted_proxies, compatibility, timeouts, max_connections, service_shape, ..
        } = config;
        let app = App::new(home, authenticator, tls, address, host_names, compatibility, timeouts);
        let app = app.for_connections(max_connections, trusted_proxies).with_shape(service_shape).counting(counters);
        Ok(Self {
            listener,
            address,
            app: Arc::new(app),
            opened,
            max_connections,
            metrics: None,
            #[cfg(feature = "dns")]
            is_for_others,
            #[cfg(feature = "dns")]
            dns: None,
        })
    }

    /// Answers DNS queries as well, while it serves.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoopback`] like the listener, and [`Error::NoAccount`].
    #[cfg(feature = "dns")]
    pub fn with_dns(self, dns: Dns) -> Result<Self, Error> {
        let address = dns.local_addr();
        check_reach(self.is_for_others, address)?;
        if let Some(account) = dns.account.as_ref().filter(|account| self.app.tenant_of(Some(account)).is_none()) {
            return Err(Error::NoAccount(account.clone()));
        }
        Ok(Self { dns: Some((dns, dns::start)), ..self })
    }

    /// Returns the address of the listener.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves the metrics and the health on a listener of their own as well, over plain HTTP and to everyone who reaches
    /// it.
    ///
    /// # Errors
    ///
    /// [`Error::Listener`].
    pub fn metrics_on(self, listener: TcpListener) -> Result<Self, Error> {
        listener.set_nonblocking(true).map_err(Error::Listener)?;
        http::connection::bound_send_buffers(&listener).map_err(Error::Listener)?;
        Ok(Self { metrics: Some(listener), ..self })
    }

    /// Returns the handle that changes it while it serves.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(self.app.clone())
    }

    /// Serves until `shutdown` is ready. Then it accepts no more connections, finishes running requests, for at most 5
    /// seconds, and returns. It runs on the current tokio runtime, of either flavor, with io and time enabled. If the
    /// future is dropped instead, it stops at once.
    ///
    /// # Errors
    ///
    /// If the listener cannot be handed to the runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let metrics = self.metrics.map(tokio::net::TcpListener::from_std).transpose()?;
        #[cfg(feature = "dns")]
        let _dns = self.dns.map(|(dns, start)| start(dns, self.app.clone())).transpose()?;
        #[cfg(feature = "etcd")]
        if let Home::Cluster(cluster) = &self.app.home {
            let cluster = cluster.clone();
            let shutdown = async {
                shutdown.await;
                cluster.retire().await;
            };
            http::connection::serve(self.app, listener, self.max_connections, metrics, shutdown).await;
            cluster.node.quit().await;
            return Ok(());
        }
        let serve = http::connection::serve(self.app, listener, self.max_connections, metrics, shutdown);
        match &self.opened {
            None => serve.await,
            Some(OpenedStore { disk, folder }) => tokio::select! {
                () = serve => {}
                () = recovery::give_copies(folder, disk.clone()) => {}
            },
        }
        Ok(())
    }
}

/// Opens the place of the data.
fn home(
    config: &mut Config,
    retention: Option<u64>,
    counters: &Arc<Counters>,
) -> Result<(Home, Authenticator, Option<OpenedStore>), Error> {
    let users = config.users.take();
    #[cfg(feature = "etcd")]
    if let Some(cluster) = config.cluster.take() {
        let (authenticator, cluster) = clustered::open(cluster, users, retention, counters.clone())?;
        return Ok((Home::Cluster(Arc::new(cluster)), authenticator, None));
    }
    let now = config.clock.now();
    let (mut state, opened) = match &config.data_dir {
        None => (State::new(Arc::new(Keys::random().map_err(|error| Error::Random(error.to_string()))?)), None),
        Some((path, open)) => {
            let opened = open(path)?;
            let state = recovery::state(&*opened.disk, now);
            (state.map_err(|source| Error::DataDir { path: path.clone(), source })?, Some(opened))
        }
    };
    if let Some(retention) = retention {
        state.retention = retention;
    }
    let authenticator = Authenticator::new(state.keys.clone(), users);
    let disk = opened.as_ref().map(|opened| opened.disk.clone());
    let engine = Engine::new(config.clock.clone(), state, disk, counters.clone()).map_err(Error::Thread)?;
    engine.create_tenants(now, authenticator.tenants());
    engine.align_ids(now);
    Ok((Home::Alone(Arc::new(engine)), authenticator, opened))
}

/// Refuses an address that other machines reach, unless they may.
fn check_reach(is_for_others: bool, address: SocketAddr) -> Result<(), Error> {
    if is_for_others || address.ip().to_canonical().is_loopback() { Ok(()) } else { Err(Error::NotLoopback(address)) }
}

/// Changes a registry while it serves.
#[derive(Clone, Debug)]
pub struct Control(Arc<App>);

impl Control {
    /// Returns as soon as the lock on the registry's data could be taken, which every request needs.
    pub fn wait_responsive(&self) {
        match &self.0.home {
            Home::Alone(engine) => engine.wait_responsive(),
            #[cfg(feature = "etcd")]
            Home::Cluster(cluster) => cluster.node.wait_responsive(),
        }
    }

    /// Replaces the users. Tokens of users that are gone, or have other credentials, are void.
    pub fn replace_users(&self, users: Users) {
        self.0.replace_users(users);
    }

    /// Replaces the certificate, for new connections.
    pub fn replace_tls(&self, tls: Tls) {
        self.0.replace_tls(tls);
    }
}

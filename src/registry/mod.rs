//! The registry: the server that sessions and services are kept in.
//!
//! A [`Registry`] is built from a [`Config`] and a listener, and serves until it is told to stop:
//!
//! ```
//! use service_registry::registry::{Config, Registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let registry = Registry::bind(Config::anonymous(), listener)?;
//! println!("listening on http://{}", registry.local_addr());
//! # let until_told = async {};
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(registry.serve(until_told))?;
//! # Ok(())
//! # }
//! ```
//!
//! The rooms, in the order in which a request passes them: `http` reads requests and writes responses, with `access` for users
//! and limits; `engine` is the lock, the commit thread and the expiry task; `state` holds the rules, `model` the data, and
//! `store` what must survive.

mod access;
mod engine;
mod http;
mod model;
mod state;
mod store;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[cfg(unix)]
use nix::sys::socket::{Backlog, listen};

pub use access::Users;
pub use access::hash_key;
pub use http::ServiceShape;
pub use http::Timeouts;
pub use http::TrustedProxy;
pub use http::{Tls, TlsFiles};
pub use model::{Clock, ManualClock};
pub use store::{backup, restore};

use access::Authenticator;
use engine::Engine;
use http::App;
use model::Keys;
use state::State;
use store::{OpenedStore, Opener, recovery};

/// How a registry is to be.
#[derive(Clone, Debug)]
pub struct Config {
    users: Option<Users>,
    allow_remote_anonymous: bool,
    host_names: Vec<String>,
    trusted_proxies: Vec<TrustedProxy>,
    tls: Option<Tls>,
    compatibility: Compatibility,
    clock: Clock,
    max_connections: usize,
    timeouts: Timeouts,
    data_dir: Option<(PathBuf, Opener)>,
    events_retention: Option<Duration>,
    service_shape: ServiceShape,
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
struct Compatibility {
    strict_feed: bool,
    lenient_heartbeats: bool,
}

/// Why a registry cannot be. The cause in the words of the system, where there is one, is the `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A registry that lets everyone in would be reachable from other machines. Give it users, or a listener on a
    /// loopback address.
    #[error("a registry without users listens on loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    /// The listener cannot be used.
    #[error("the listener cannot be used")]
    Listener(#[source] io::Error),
    /// The users file is not one.
    #[error("users file: {0}")]
    Users(String),
    /// The data directory cannot be used.
    #[error("data directory {}", path.display())]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another process uses the data directory.
    #[error("data directory {} is in use by {}", path.display(), holder(*pid))]
    InUse {
        /// Which.
        path: PathBuf,
        /// The process, if it has said so.
        pid: Option<u32>,
    },
    /// There is a registry in the data directory, and nobody said that it may be replaced.
    #[error("there is a registry in {} already", .0.display())]
    Occupied(PathBuf),
    /// A backup cannot be written, or is none.
    #[error("backup {}", path.display())]
    Backup {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The thread that writes to the disk cannot be started.
    #[error("no thread can be started")]
    Thread(#[source] io::Error),
    /// Certificate, key or authority of clients cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The system has no random numbers to make keys of.
    #[error("no random numbers for keys: {0}")]
    Random(String),
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// A registry that is about to serve.
#[derive(Debug)]
pub struct Registry {
    listener: TcpListener,
    address: SocketAddr,
    front: Arc<App>,
    opened: Option<OpenedStore>,
    max_connections: usize,
}

impl Registry {
    /// Builds a registry behind a listener, with what is in the data directory. Clients may connect from now on; they are answered once it serves.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoopback`], [`Error::Listener`], [`Error::Random`], [`Error::Thread`], and with a data directory
    /// [`Error::InUse`], [`Error::DataDir`].
    pub fn bind(config: Config, listener: TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(Error::Listener)?;
        if config.users.is_none() && !config.allow_remote_anonymous && !address.ip().to_canonical().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        listener.set_nonblocking(true).map_err(Error::Listener)?;
        // More than the usual 128: connections that come while the registry starts, or does not run, wait here.
        #[cfg(unix)]
        listen(&listener, Backlog::MAXALLOWABLE).map_err(|error| Error::Listener(error.into()))?;
        http::connection::bound_send_buffers(&listener).map_err(Error::Listener)?;
        let now = config.clock.now();
        let (mut state, opened) = match &config.data_dir {
            None => (State::new(Arc::new(Keys::random().map_err(|error| Error::Random(error.to_string()))?)), None),
            Some((path, open)) => {
                let opened = open(path)?;
                let state = recovery::state(&*opened.disk, now);
                (state.map_err(|source| Error::DataDir { path: path.clone(), source })?, Some(opened))
            }
        };
        if let Some(retention) = config.events_retention {
            state.retention = u64::try_from(retention.as_millis()).unwrap_or(u64::MAX);
        }
        state.shape = config.service_shape;
        let authenticator = Authenticator::new(state.keys.clone(), config.users);
        let disk = opened.as_ref().map(|opened| opened.disk.clone());
        let engine = Engine::new(config.clock, state, disk).map_err(Error::Thread)?;
        engine.create_tenants(now, authenticator.tenants());
        let Config { tls, host_names, trusted_proxies, compatibility, timeouts, max_connections, .. } = config;
        let front = App::new(engine, authenticator, tls, address, host_names, compatibility, timeouts);
        let front = Arc::new(front.for_connections(max_connections, trusted_proxies));
        Ok(Self { listener, address, front, opened, max_connections })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What changes it while it serves.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(self.front.clone())
    }

    /// Serves until `shutdown` is ready; then accepts no more, finishes what is under way, for 5 seconds at most, and
    /// returns. It runs on the tokio runtime it is polled on, of either flavor, with io and time enabled. If the
    /// future is dropped instead, it stops at once.
    ///
    /// # Errors
    ///
    /// If the listener cannot be handed to the runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        let serve = http::connection::serve(self.front, listener, self.max_connections, shutdown);
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

/// Changes a registry while it serves.
#[derive(Clone, Debug)]
pub struct Control(Arc<App>);

impl Control {
    /// Other users from now on. The tokens of those who are gone, or have other credentials, are void.
    pub fn replace_users(&self, users: Users) {
        self.0.replace_users(users);
    }

    /// Another certificate, for connections that are opened from now on.
    pub fn replace_tls(&self, tls: Tls) {
        self.0.replace_tls(tls);
    }
}

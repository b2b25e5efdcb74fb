//! The registry: the server that sessions and services are kept in.
//!
//! A [`Registry`] is built from a [`Config`] and a listener, and serves until it is told to stop:
//!
//! ```
//! use service_registry::registry::{Config, Registry};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! let registry = Registry::bind(Config::open(), listener)?;
//! println!("listening on http://{}", registry.local_addr());
//! # let until_told = async {};
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(registry.serve(until_told))?;
//! # Ok(())
//! # }
//! ```
//!
//! Inside, `http` reads requests and writes answers; the files beside it are the rules, which know neither HTTP nor
//! what time it is; `store` keeps what must survive. `engine` is where they meet.

mod accounts;
mod changes;
mod clock;
mod configuration;
mod deadlines;
mod engine;
mod events;
mod expiry;
mod heartbeats;
mod http;
mod json;
mod limits;
mod objects;
mod overview;
mod packed;
mod pages;
mod rates;
mod refusal;
mod services;
mod sessions;
mod state;
mod store;
mod tokens;
mod users;
mod uuid1;
mod validation;

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

pub use clock::{Clock, ManualClock};
pub use users::Users;

use accounts::Accounts;
use engine::Engine;
use http::Front;
use state::State;
use store::Store;
use tokens::Keys;

/// How a registry is to be.
#[derive(Clone, Debug)]
pub struct Config {
    users: Option<Users>,
    strict_feed: bool,
    clock: Clock,
    max_connections: usize,
}

impl Config {
    /// A registry that lets everyone in: any name and key log in, a token is not required, and paths without a tenant
    /// mean tenant 1. It listens on loopback only, and refuses what a web page in somebody's browser could send it.
    #[must_use]
    pub fn open() -> Self {
        Self { users: None, strict_feed: false, clock: Clock::system(), max_connections: 10_000 }
    }

    /// A registry for these users and nobody else.
    #[must_use]
    pub fn with_users(users: Users) -> Self {
        Self { users: Some(users), ..Self::open() }
    }

    /// Hides events that clients of the time did not know: `service.remove` for a service that lives in a session.
    /// Some old clients stop reading the feed at a type they do not know.
    #[must_use]
    pub fn strict_feed(self, strict_feed: bool) -> Self {
        Self { strict_feed, ..self }
    }

    /// Takes the time from somewhere else than the system's clock.
    #[must_use]
    pub fn clock(self, clock: Clock) -> Self {
        Self { clock, ..self }
    }

    /// How many connections may be open at a time (10,000 unless told otherwise); more wait to be accepted.
    #[must_use]
    pub fn max_connections(self, max_connections: usize) -> Self {
        Self { max_connections, ..self }
    }
}

/// Why a registry cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A registry that lets everyone in would be reachable from other machines. Give it users, or a listener on a
    /// loopback address.
    #[error("a registry without users listens on loopback addresses only, and {0} is none")]
    NotLoopback(SocketAddr),
    /// The listener cannot be used.
    #[error("listener: {0}")]
    Listener(#[source] io::Error),
    /// The users file is not one.
    #[error("users file: {0}")]
    Users(String),
    /// The system has no random numbers to make keys of.
    #[error("no random numbers for keys: {0}")]
    Random(String),
}

/// A registry that is about to serve.
#[derive(Debug)]
pub struct Registry {
    listener: TcpListener,
    address: SocketAddr,
    front: Arc<Front>,
    max_connections: usize,
}

impl Registry {
    /// Builds a registry behind a listener. Clients may connect from now on; they are answered once it serves.
    ///
    /// # Errors
    ///
    /// [`Error::NotLoopback`], [`Error::Listener`], [`Error::Random`].
    pub fn bind(config: Config, listener: TcpListener) -> Result<Self, Error> {
        let address = listener.local_addr().map_err(Error::Listener)?;
        if config.users.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(Error::NotLoopback(address));
        }
        listener.set_nonblocking(true).map_err(Error::Listener)?;
        let keys = Arc::new(Keys::random().map_err(|error| Error::Random(error.to_string()))?);
        let accounts = Accounts::new(keys.clone(), config.users);
        let mut state = State::new(keys);
        for tenant in accounts.tenants() {
            state.contact(config.clock.now(), tenant);
        }
        let engine = Engine::new(config.clock, state, Store::Memory);
        let front = Arc::new(Front::new(engine, accounts, address, config.strict_feed));
        Ok(Self { listener, address, front, max_connections: config.max_connections })
    }

    /// The address it listens on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
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
        http::connections::serve(self.front, listener, self.max_connections, shutdown).await;
        Ok(())
    }
}

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
//! The rooms, in the order in which a request passes them: `server` builds the registry from its `config`; `http` reads
//! requests and writes responses, with `access` for users and limits; `engine` is the lock, the commit thread and the
//! expiry task; `state` holds the rules, `model` the data, and `store` what must survive. `dns` answers other questions
//! about the same data. `counters` is handed to all that count.

mod access;
#[cfg(feature = "etcd")]
mod cluster;
#[cfg(feature = "etcd")]
mod clustered;
mod config;
mod counters;
#[cfg(feature = "dns")]
mod dns;
mod engine;
mod error;
mod http;
mod model;
mod server;
mod state;
mod store;
#[cfg(feature = "etcd")]
mod switches;

pub use access::{Users, hash_key};
#[cfg(feature = "etcd")]
pub use cluster::{ClusterConfig, ClusterReport, cluster_report, restore_etcd};
pub use config::Config;
#[cfg(feature = "dns")]
pub use dns::Dns;
pub use error::Error;
pub use http::{ServiceShape, Timeouts, Tls, TlsFiles, TrustedProxy};
pub use model::{Clock, ManualClock};
pub use server::{Control, Registry};
#[cfg(feature = "etcd")]
pub use store::{EtcdConfig, backup_etcd};
pub use store::{backup, restore};

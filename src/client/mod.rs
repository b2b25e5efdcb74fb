//! The client: registers a program, keeps it registered, and finds others.
//!
//! ```no_run
//! # async fn example() -> Result<(), service_registry::client::Error> {
//! use service_registry::client::{Client, ServicePayload};
//! use service_registry::wire::Metadata;
//!
//! let client = Client::builder().registry_url("http://127.0.0.1:7117").build()?;
//! let mut session = client.sessions().create(30, &Metadata::new()).await?;
//! session.heartbeater.start(); // in the background, until `session` is dropped or the registry has lost it
//! let payload = ServicePayload { tags: vec!["api".to_owned()], ..ServicePayload::default() };
//! client.services().register(&session.id, "my-host1-api0", &payload).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Client`] has one handle for each resource of the API. It keeps one connection, logs in once and
//! again after a 401, and never follows redirects. All calls need a running tokio runtime.

mod builder;
mod error;
mod heartbeater;
mod resources;
mod schedule;
mod transport;

use std::fmt;
use std::sync::Arc;

use url::Url;

pub use builder::{ClientBuilder, DEFAULT_REQUEST_TIMEOUT, Region};
pub use error::{Cause, Error, NoAnswer, Phase, Setting};
pub use heartbeater::{HeartBeater, HeartbeatEvent};
pub use resources::Account;
pub use resources::Configuration;
pub use resources::ListOptions;
pub use resources::Views;
pub use resources::{CopiedServices, ServiceFilter, ServiceWatcher, ServicesCopy, Watched};
pub use resources::{DEFAULT_POLL_INTERVAL, EventsPoller};
pub use resources::{EventFollower, Followed};
pub use resources::{EventOptions, Events};
pub use resources::{NewSession, SessionUpdate, Sessions};
pub use resources::{ServiceList, Stale};
pub use resources::{ServicePayload, ServiceUpdate, Services};
pub use schedule::backoff;

#[doc(hidden)] // for the programs of this package
pub use transport::HttpProbe;

use resources::ResponseCache;
use transport::{Answer, Call, Transport};

/// A client of one registry and account. Cheap to clone: clones share connection and token.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    remembered: ResponseCache,
}

impl Client {
    /// Returns the address of the API: the registry's with `/v1.0`.
    #[must_use]
    pub fn registry_url(&self) -> &Url {
        self.inner.transport.base.url()
    }

    async fn send(&self, call: Call<'_>) -> Result<Answer, Error> {
        self.inner.transport.send(call).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("registry_url", &self.registry_url().as_str()).finish_non_exhaustive()
    }
}

//! The endpoints of registries, tried in turn, and the credentials for them, which may change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use service_registry::client::{Client, Error};
use service_registry::connection::{Access, Key, Secret, cure};

use super::embedded;
use crate::process::Blocking;

/// How long the file system may take to read the key.
const FILE_SYSTEM_LIMIT: Duration = Duration::from_secs(2);

/// The endpoints, and which of them is current. Clones share this.
#[derive(Clone)]
pub(crate) struct Endpoints {
    inner: Arc<Mutex<Inner>>,
    reading: Blocking,
    may_host: bool,
}

struct Inner {
    access: Access,
    key: Option<Secret>,
    clients: Vec<Client>,
    current: usize,
}

/// The consequence of a failed request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailOver {
    /// The wrapper hosts a registry from now on; the next attempt finds it.
    Hosting,
    /// Another client is to be used from now on.
    NextEndpoint,
    Same,
}

impl Endpoints {
    /// `key` is the key of the credentials, as it was read. With `may_host` the wrapper hosts a registry if it finds
    /// none.
    pub(super) fn new(access: Access, key: Option<Secret>, may_host: bool) -> Result<Self, Error> {
        let clients = access.clients(key.as_ref())?;
        let inner = Arc::new(Mutex::new(Inner { access, key, clients, current: 0 }));
        Ok(Self { inner, reading: Blocking::default(), may_host })
    }

    /// Returns the client of the current endpoint.
    pub(super) fn current(&self) -> Client {
        let inner = self.lock();
        inner.clients[inner.current].clone()
    }

    /// Returns the number of endpoints.
    pub(super) fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// Returns what to add to an error: the options that may cure it, or that no registry was named.
    pub(super) fn hint(&self, error: &Error) -> &'static str {
        if self.lock().access.urls.is_empty() && error.is_connect() {
            "; no --registry-url was given, so the wrapper looks on this machine (in a container: in this container only)"
        } else {
            cure(error)
        }
    }

    /// Hosts a registry if the options allow it and no other process does. Returns whether that has just begun.
    pub(super) fn host(&self) -> bool {
        self.may_host && embedded::host()
    }

    /// Reacts to a failed request: hosts a registry if no other does, or moves to the next endpoint if this one does
    /// not answer.
    pub(super) fn fail_over(&self, error: &Error) -> FailOver {
        if error.is_connect() && self.host() {
            return FailOver::Hosting;
        }
        let is_silent = error.status().is_none_or(|status| status >= 500);
        let mut inner = self.lock();
        if !is_silent || inner.clients.len() == 1 {
            return FailOver::Same;
        }
        inner.current = (inner.current + 1) % inner.clients.len();
        FailOver::NextEndpoint
    }

    /// Reads the key again after the registry has refused it. Returns true if the clients have another one now.
    pub(super) async fn read_key_again(&self) -> bool {
        let (access, known) = {
            let inner = self.lock();
            (inner.access.clone(), inner.key.clone())
        };
        let Some((_, Key::File(file))) = access.credentials.clone() else { return false };
        let read = move || {
            let key = access.key()?;
            if key == known { Ok(None) } else { Ok::<_, anyhow::Error>(Some((access.clients(key.as_ref())?, key))) }
        };
        match self.reading.run(FILE_SYSTEM_LIMIT, read).await {
            Some(Ok(Some((clients, key)))) => {
                tracing::info!("the registry refused the API key; the file holds another one now");
                let mut inner = self.lock();
                (inner.clients, inner.key) = (clients, key);
                return true;
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => tracing::warn!("{error:#}"),
            None => {
                let file = file.display();
                tracing::warn!(
                    "API key file {file}: the file system has not answered for {FILE_SYSTEM_LIMIT:?}; see its mount"
                );
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

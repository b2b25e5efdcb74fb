//! A copy of a list of services, kept up to date.

use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::service_filter::ServiceFilter;
use super::service_watcher::{ServiceWatcher, Watched, is_same};
use crate::client::{Error, Services};
use crate::wire::Service;

/// A copy of a list of services that is always up to date, from
/// [`Services::copy`](crate::client::Services::copy).
///
/// ```no_run
/// # async fn example(client: service_registry::client::Client) -> Result<(), service_registry::client::Error> {
/// use service_registry::client::ServiceFilter;
///
/// let mut copy = client.services().copy(ServiceFilter::tag("api"));
/// let first = copy.changed().await?; // version 1
/// println!("{} services", first.services.len());
/// // At any time, without a request:
/// let now = copy.current();
/// println!("version {}: {} services", now.version, now.services.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ServicesCopy {
    copy: watch::Receiver<State>,
    /// The last version that [`changed`](Self::changed) returned.
    seen: u64,
    task: AbortHandle,
}

/// A version of the list.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CopiedServices {
    /// Rises with every change: 1 for the first list, 0 before it. Heartbeats are no changes.
    pub version: u64,
    /// The services, by id.
    pub services: Vec<Service>,
    /// Why the registry does not answer, if it does not: then this version may be out of date.
    pub interrupted: Option<Error>,
}

#[derive(Clone, Debug, Default)]
struct State {
    newest: Arc<CopiedServices>,
    /// Why there will be no further versions.
    ended: Option<Error>,
}

impl Services<'_> {
    /// Keeps a copy of the list of services that have all of this, in a task of its own.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn copy(self, filter: ServiceFilter) -> ServicesCopy {
        let (sender, copy) = watch::channel(State::default());
        let task = tokio::spawn(keep(self.watch(filter), sender)).abort_handle();
        ServicesCopy { copy, seen: 0, task }
    }
}

impl ServicesCopy {
    /// Returns the newest version. Sends no request.
    #[must_use]
    pub fn current(&self) -> Arc<CopiedServices> {
        self.copy.borrow().newest.clone()
    }

    /// Waits for a version that this has not returned yet, and returns the newest one. May be dropped while it waits.
    ///
    /// # Errors
    ///
    /// An error that will not pass by itself, such as wrong credentials: there will be no further versions.
    pub async fn changed(&mut self) -> Result<Arc<CopiedServices>, Error> {
        let seen = self.seen;
        let is_due = |state: &State| state.newest.version > seen || state.ended.is_some();
        let state = match self.copy.wait_for(is_due).await {
            Ok(state) => state.clone(),
            Err(_) => return Err(Error::invalid("the runtime that kept the copy has ended; make a new one")),
        };
        match state.ended {
            Some(error) if state.newest.version == seen => Err(error),
            _ => {
                self.seen = state.newest.version;
                Ok(state.newest)
            }
        }
    }
}

impl Drop for ServicesCopy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep(mut watcher: ServiceWatcher, sender: watch::Sender<State>) {
    while let Some(next) = watcher.next().await {
        sender.send_modify(|state| {
            let before = &state.newest;
            let newest = match next {
                Ok(Watched::List(services)) => {
                    // After an interruption an unchanged list comes again.
                    let is_new = before.version == 0 || !is_same(&before.services, &services);
                    CopiedServices { version: before.version + u64::from(is_new), services, interrupted: None }
                }
                Ok(Watched::Interrupted(error)) => {
                    CopiedServices { interrupted: Some(error), services: before.services.clone(), ..**before }
                }
                Err(error) => {
                    state.ended = Some(error.clone());
                    CopiedServices { interrupted: Some(error), services: before.services.clone(), ..**before }
                }
            };
            state.newest = Arc::new(newest);
        });
    }
}

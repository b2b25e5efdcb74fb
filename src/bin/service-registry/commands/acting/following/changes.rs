//! The list of services that a filter selects, and its changes, as the registry tells them.

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::Value;
use service_registry::client::{ServiceWatcher, Watched};
use service_registry::wire::Service;
use tokio::time::{Instant, sleep_until};

use crate::commands::reading::services::Filter;
use crate::connection::Connection;
use crate::exit::Failure;

/// The pause before the next registry is asked, so that registries that are all away are not asked without end.
const BEFORE_THE_NEXT: Duration = Duration::from_secs(1);

/// What the registry has told.
pub(crate) enum Change {
    /// The services, without the times of their heartbeats. After an outage it may be the last list again.
    List(Vec<Value>),
    /// The registry does not answer. Told once for each outage; the last list still counts.
    Away(Failure),
}

/// Follows the list.
pub(crate) struct Changes<'a> {
    connection: &'a Connection,
    filter: &'a Filter,
    watcher: ServiceWatcher,
    /// A registry of an earlier version takes one.
    most_tags: usize,
    /// When another registry is to be asked.
    moves_at: Option<Instant>,
}

impl<'a> Changes<'a> {
    pub(crate) fn new(connection: &'a Connection, filter: &'a Filter) -> Self {
        let most_tags = usize::MAX;
        Self { connection, filter, watcher: watcher(connection, filter, most_tags), most_tags, moves_at: None }
    }

    /// Waits for the next change. May be dropped and called again; not after an error.
    ///
    /// # Errors
    ///
    /// The registry refuses the request.
    pub(crate) async fn next(&mut self) -> Result<Change, Failure> {
        if let Some(at) = self.moves_at {
            sleep_until(at).await;
            self.start_again();
        }
        let mut next = self.watcher.next().await;
        if matches!(&next, Some(Err(error)) if error.status() == Some(400)) && self.most_tags > 1 {
            self.most_tags = 1;
            self.start_again();
            next = self.watcher.next().await;
        }
        match next {
            Some(Ok(Watched::List(services))) => {
                // An earlier version also ignores most filters.
                let services = services.iter().map(described).filter(|service| self.filter.wants(service));
                Ok(Change::List(services.collect()))
            }
            Some(Ok(Watched::Interrupted(error))) => {
                self.moves_at = self.connection.fail_over(&error).then(|| Instant::now() + BEFORE_THE_NEXT);
                Ok(Change::Away(self.connection.failure(&error)))
            }
            Some(Err(error)) => Err(self.connection.failure(&error)),
            // It ends after an error only.
            _ => std::future::pending().await,
        }
    }

    fn start_again(&mut self) {
        self.watcher = watcher(self.connection, self.filter, self.most_tags);
        self.moves_at = None;
    }
}

fn watcher(connection: &Connection, filter: &Filter, most_tags: usize) -> ServiceWatcher {
    connection.client().services().watch(filter.of_library(most_tags))
}

/// Returns a service without what heartbeats change.
fn described(service: &Service) -> Value {
    let mut service = serde_json::to_value(service).unwrap_or_default();
    if let Some(members) = service.as_object_mut() {
        members.remove("last_seen");
    }
    service
}

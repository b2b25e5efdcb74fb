//! The list of services that a filter selects, and its changes.

use std::time::Duration;

use service_registry::client::Error;
use service_registry::wire::Service;
use tokio::time::{Instant, sleep_until};

use super::filter::Filter;
use crate::connection::Connection;
use crate::exit::Failure;

/// The pause between two looks at the list.
const EVERY: Duration = Duration::from_secs(1);

/// What a look has found.
pub(super) enum Change {
    /// The first list, or another one than before. Heartbeats are no change.
    List(Vec<Service>),
    /// The registry does not answer, or not with a list. The last list still counts.
    Away(Failure),
}

/// Follows the list.
pub(super) struct Changes<'a> {
    connection: &'a Connection,
    filter: &'a Filter,
    /// The last list, without what heartbeats change.
    known: Option<Vec<Service>>,
    next_look: Instant,
}

impl<'a> Changes<'a> {
    pub(super) fn new(connection: &'a Connection, filter: &'a Filter) -> Self {
        Self { connection, filter, known: None, next_look: Instant::now() }
    }

    /// Waits for the next change. May be dropped and called again.
    ///
    /// # Errors
    ///
    /// The registry refuses the request.
    pub(super) async fn next(&mut self) -> Result<Change, Failure> {
        loop {
            sleep_until(self.next_look).await;
            let looked = self.look().await;
            self.next_look = Instant::now() + EVERY;
            match looked {
                Ok(list) => {
                    let compared: Vec<Service> = list.iter().map(without_heartbeats).collect();
                    if self.known.as_ref() != Some(&compared) {
                        self.known = Some(compared);
                        return Ok(Change::List(list));
                    }
                }
                Err(error) => {
                    let failure = self.connection.failure(&error);
                    self.connection.fail_over(&error);
                    return if error.is_retryable() { Ok(Change::Away(failure)) } else { Err(failure) };
                }
            }
        }
    }

    async fn look(&self) -> Result<Vec<Service>, Error> {
        let services = self.connection.client().services();
        let list = match self.filter.tag() {
            Some(tag) => services.list_all_for_tag(tag).await?,
            None => services.list_all().await?,
        };
        match list.stale {
            Some(stale) => Err(stale.error),
            None => Ok(list.services.into_iter().filter(|service| self.filter.matches(service)).collect()),
        }
    }
}

/// Returns the part of a service that a change is about.
fn without_heartbeats(service: &Service) -> Service {
    let mut service = service.clone();
    if let Service::Own(own) = &mut service {
        own.last_seen = None;
    }
    service
}

//! The list of services that a filter selects, and its changes.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::commands::reading::services::{Filter, find};
use crate::connection::Connection;
use crate::exit::Failure;

/// The pause between two looks at the list.
const EVERY: Duration = Duration::from_secs(1);

/// What a look has found.
pub(super) enum Change {
    /// The first list, or another one than before. Heartbeats are no change.
    List(Vec<Value>),
    /// The registry does not answer, or not with a list. The last list still counts.
    Away(Failure),
}

/// Follows the list.
pub(super) struct Changes<'a> {
    connection: &'a Connection,
    filter: &'a Filter,
    /// The last list, without what heartbeats change.
    known: Option<Vec<Value>>,
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
            let looked = find(self.connection.client(), self.filter, |_| {}).await;
            self.next_look = Instant::now() + EVERY;
            match looked {
                Ok(list) => {
                    let compared: Vec<Value> = list.iter().map(without_heartbeats).collect();
                    if self.known.as_ref() != Some(&compared) {
                        self.known = Some(compared);
                        return Ok(Change::List(list));
                    }
                }
                Err(error) => {
                    let failure = self.connection.failure(&error);
                    let _ = self.connection.fail_over(&error);
                    return if error.is_retryable() { Ok(Change::Away(failure)) } else { Err(failure) };
                }
            }
        }
    }
}

/// Returns the part of a service that a change is about.
fn without_heartbeats(service: &Value) -> Value {
    let mut service = service.clone();
    if let Some(members) = service.as_object_mut() {
        members.remove("last_seen");
    }
    service
}

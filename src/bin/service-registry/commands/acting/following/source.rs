//! The lists of services, one after the other, numbered. After an outage a list may be held back.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;
use tracing::{info, warn};

use super::super::time::until;
use super::changes::{Change, Changes};
use crate::commands::reading::services::Filter;
use crate::connection::Connection;
use crate::exit::Failure;

/// A list, and its number among those of this process, from 1 up.
#[derive(Clone)]
pub(crate) struct Listed {
    pub(crate) version: u64,
    pub(crate) services: Vec<Value>,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.services == other.services
    }
}

/// The lists.
pub(crate) struct Source<'a> {
    changes: Changes<'a>,
    version: u64,
    last: Option<Vec<Value>>,
    is_away: bool,
    /// How long after an outage a service that was listed before it stays in the lists.
    hold: Duration,
    /// From an outage until then, if services are missing.
    held_until: Option<Instant>,
    /// The list as the registry has it, while another one is given out.
    held: Option<Vec<Value>>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(connection: &'a Connection, filter: &'a Filter, hold: Duration) -> Self {
        let changes = Changes::new(connection, filter);
        Self { changes, version: 0, last: None, is_away: false, hold, held_until: None, held: None }
    }

    /// Waits for the next list. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Listed, Failure> {
        loop {
            let change = tokio::select! {
                change = self.changes.next() => change?,
                () = until(self.held_until) => match self.release() {
                    Some(services) => Change::List(services),
                    None => continue,
                },
            };
            match change {
                Change::List(services) => {
                    if std::mem::take(&mut self.is_away) {
                        info!("the registry answers again");
                        self.held_until = (!self.hold.is_zero()).then(|| Instant::now() + self.hold);
                    }
                    let services = self.completed(services);
                    if self.last.as_ref() != Some(&services) {
                        self.version += 1;
                        self.last = Some(services.clone());
                        return Ok(Listed { version: self.version, services });
                    }
                }
                Change::Away(failure) => {
                    (self.held_until, self.held) = (None, None);
                    if !std::mem::replace(&mut self.is_away, true) {
                        warn!("the registry does not answer; its last list counts until it does: {:#}", failure.error);
                    }
                }
            }
        }
    }

    /// Adds the services that an outage may have cost their places, while they may still come back.
    fn completed(&mut self, mut services: Vec<Value>) -> Vec<Value> {
        if self.held_until.is_none() {
            return services;
        }
        let missing = missing(self.last.as_deref().unwrap_or_default(), &services);
        if missing.is_empty() {
            (self.held_until, self.held) = (None, None);
            return services;
        }
        if self.held.is_none() {
            let (count, hold) = (missing.len(), self.hold.as_secs_f64());
            warn!("missing after the outage: {count} services; they stay listed for {hold} s, or until all are back");
        }
        self.held = Some(services.clone());
        services.extend(missing);
        services.sort_by(|one, other| one["id"].as_str().cmp(&other["id"].as_str()));
        services
    }

    /// Returns the list as it is, when its services have had their time.
    fn release(&mut self) -> Option<Vec<Value>> {
        self.held_until = None;
        let held = self.held.take()?;
        let count = missing(self.last.as_deref().unwrap_or_default(), &held).len();
        warn!("not back after the outage: {count} services; they are no longer listed");
        Some(held)
    }
}

/// Returns those of the last list that have no namesake in the next one.
fn missing(last: &[Value], next: &[Value]) -> Vec<Value> {
    let ids: BTreeSet<&str> = next.iter().filter_map(|service| service["id"].as_str()).collect();
    last.iter().filter(|service| service["id"].as_str().is_none_or(|id| !ids.contains(id))).cloned().collect()
}

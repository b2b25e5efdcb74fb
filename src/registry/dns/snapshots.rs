//! Keeps what was read of a tag until one of its services changes: a query then takes no lock of the registry. What was
//! read at another node of a cluster answers the queries that came before, so that one query at a time goes there.
//!
//! Only tags that have services are kept, and a bounded number of services: anybody can ask for any name.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::sync::futures::OwnedNotified;
use tokio::time::sleep;

use super::account_reader::Owner;
use super::snapshot::Snapshot;
use crate::registry::engine::{Engine, Topic, Waiter};
use crate::registry::http::{App, Selection};
use crate::registry::model::TenantId;

/// The most tags that are kept.
const MAX_TAGS: usize = 4_096;
/// The most tags that may be read beside these: more than there are queries at a time.
const MAX_READ: usize = 1_024;
/// The most services of all tags that are kept; each takes about a hundred bytes beside its record.
const MAX_SERVICES: usize = 262_144;
/// A tag with more services than this is not read again at once when they change.
const SMALL: usize = 1_000;
/// How long it is kept in any case, for each of its services: about ten times as long as reading it takes.
const PAUSE: Duration = Duration::from_micros(10);
/// How soon an account is read again whose owner did not answer.
const RETRY: Duration = Duration::from_millis(50);

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Snapshots(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    tags: HashMap<Key, Tag>,
    /// The services of all tags.
    services: usize,
}

type Key = (TenantId, String);

#[derive(Debug, Default)]
struct Tag {
    /// A query holds the lock while it reads: others wait for it instead of reading the same.
    reading: Arc<tokio::sync::Mutex<Option<Reading>>>,
    services: usize,
}

#[derive(Debug)]
struct Reading {
    snapshot: Arc<Snapshot>,
    /// None if it was read at another node.
    watch: Option<Watch>,
    /// When the reading began.
    at: Instant,
}

/// Notices changes in an engine.
#[derive(Debug)]
struct Watch {
    waiter: Waiter,
    /// Ready once a service has changed since before the reading.
    change: Pin<Box<OwnedNotified>>,
}

impl Snapshots {
    /// Returns the services of a selection. Without an owner that answers, this takes until there is one.
    pub(super) async fn get(&self, app: &App, tenant: TenantId, selection: &Selection) -> Arc<Snapshot> {
        loop {
            {
                let owner = Owner::of(app, tenant).await;
                if let Some(snapshot) = self.of_owner(&owner, tenant, selection).await
                    && owner.confirms().await
                {
                    return snapshot;
                }
            } // before the pause, since a handover waits for the owner to be dropped
            sleep(RETRY).await;
        }
    }

    async fn of_owner(&self, owner: &Owner<'_>, tenant: TenantId, selection: &Selection) -> Option<Arc<Snapshot>> {
        let read = async || Some(Arc::new(Snapshot::of(owner.read(tenant, selection).await?)));
        let Selection::Tag(tag) = selection else { return read().await };
        let (key, asked) = ((tenant, tag.clone()), Instant::now());
        let kept = self.lock().enter(&key);
        let mut reading = kept.lock().await;
        if let Some(reading) = reading.as_mut()
            && reading.is_current(owner.engine(), asked)
        {
            return Some(reading.snapshot.clone());
        }
        let old = reading.take().and_then(|old| old.watch);
        let (watch, at) = (owner.engine().map(|engine| Watch::of(engine, tenant, tag, old)), Instant::now());
        let Some(snapshot) = read().await else {
            self.lock().keep(key, 0);
            return None;
        };
        *reading = Some(Reading { snapshot: snapshot.clone(), watch, at });
        drop(reading);
        self.lock().keep(key, snapshot.services.len());
        Some(snapshot)
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Returns the place of a tag. A query that is given up while it reads leaves its tag behind.
    fn enter(&mut self, key: &Key) -> Arc<tokio::sync::Mutex<Option<Reading>>> {
        let reading = self.tags.entry(key.clone()).or_default().reading.clone();
        self.make_room(key, MAX_TAGS + MAX_READ);
        reading
    }

    /// Keeps a tag that has services, as far as there is room.
    fn keep(&mut self, key: Key, services: usize) {
        if services == 0 {
            return self.remove(&key);
        }
        if let Some(tag) = self.tags.get_mut(&key) {
            self.services = self.services - tag.services + services;
            tag.services = services;
        }
        self.make_room(&key, MAX_TAGS);
    }

    /// Removes others than this tag.
    fn make_room(&mut self, key: &Key, most: usize) {
        while self.services > MAX_SERVICES || self.tags.len() > most {
            let Some(other) = self.tags.keys().find(|other| *other != key).cloned() else { return };
            self.remove(&other);
        }
    }

    fn remove(&mut self, key: &Key) {
        if let Some(tag) = self.tags.remove(key) {
            self.services -= tag.services;
        }
    }
}

impl Watch {
    /// Notices changes from now on.
    fn of(engine: &Engine, tenant: TenantId, tag: &str, old: Option<Self>) -> Self {
        let old = old.map(|old| old.waiter).filter(|waiter| waiter.is_of(engine));
        let waiter = old.unwrap_or_else(|| engine.waiter(tenant, Topic::Tag(tag.into())));
        Self { change: Box::pin(waiter.woken()), waiter }
    }

    fn is_unchanged(&mut self) -> bool {
        // The change stays ready: it is asked for only as long as it is not.
        self.change.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    }
}

impl Reading {
    /// Returns whether it answers a query that came then, for the owner with this engine, or for one elsewhere.
    fn is_current(&mut self, engine: Option<&Engine>, asked: Instant) -> bool {
        let services = self.snapshot.services.len();
        let is_new = match (&mut self.watch, engine) {
            (Some(watch), Some(engine)) if watch.waiter.is_of(engine) => watch.is_unchanged(),
            // Changes there are not noticed, so it answers only the queries that have waited for it.
            (None, None) => self.at >= asked,
            _ => return false, // the owner was another one
        };
        is_new || services > SMALL && self.at.elapsed() < PAUSE * u32::try_from(services).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_services_that_are_kept_are_bounded() {
        let mut table = Table::default();
        let mut keep = |tag: usize, services: usize| {
            let key = (1, tag.to_string());
            table.enter(&key);
            table.keep(key.clone(), services);
            let counted: usize = table.tags.values().map(|tag| tag.services).sum();
            assert_eq!(counted, table.services);
            (table.tags.len(), table.services, table.tags.contains_key(&key))
        };
        for tag in 0..MAX_TAGS {
            keep(tag, 1);
        }
        assert_eq!(keep(MAX_TAGS, 2), (MAX_TAGS, MAX_TAGS + 1, true));
        assert_eq!(keep(MAX_TAGS, 0), (MAX_TAGS - 1, MAX_TAGS - 1, false));
        let (tags, services, is_kept) = keep(MAX_TAGS, MAX_SERVICES);
        assert_eq!((tags, services, is_kept), (1, MAX_SERVICES, true));
        assert_eq!(keep(0, MAX_SERVICES + 1), (1, MAX_SERVICES + 1, true), "a tag alone is kept in any case");
        for tag in 0..3 * MAX_TAGS {
            table.enter(&(2, tag.to_string())); // and given up
        }
        assert_eq!(table.tags.len(), MAX_TAGS + MAX_READ);
    }
}

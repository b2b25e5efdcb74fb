//! A page of the feed: from the disk as far as it is old, from memory for the rest.

use std::io;
use std::sync::Arc;

use super::engine::Engine;
use super::events::{Feed, Part};
use super::objects::{Event, TenantId};
use super::pending::Scope;
use super::store::Disk;
use super::store::record::{self, event_key};
use super::uuid1::Uuid1;

impl Engine {
    /// Up to `most` events from there on, oldest first.
    pub(crate) async fn feed(
        &self,
        tenant: TenantId,
        mut from: Uuid1,
        most: usize,
        feed: &Feed,
    ) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        while events.len() < most {
            let part = self
                .run(tenant, Scope::Nothing, |state| state.feed_part(tenant, from, most - events.len(), feed))
                .await;
            match (part, &self.disk) {
                (Part::OnDisk(until), Some(disk)) => {
                    let (disk, feed, most) = (disk.clone(), feed.clone(), most - events.len());
                    // On a thread where nobody has to wait for it.
                    let old = tokio::task::spawn_blocking(move || old(&disk, tenant, from, until, most, &feed));
                    events.extend(old.await.map_err(io::Error::other)??);
                    from = until;
                }
                (Part::OnDisk(until), None) => from = until, // without a disk nothing ever leaves the memory
                (Part::Rest(rest), _) => {
                    events.extend(rest);
                    break;
                }
            }
        }
        Ok(events)
    }
}

fn old(
    disk: &Arc<dyn Disk>,
    tenant: TenantId,
    from: Uuid1,
    until: Uuid1,
    most: usize,
    feed: &Feed,
) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    disk.scan(&event_key(tenant, from), &event_key(tenant, until), &mut |key, value| {
        let event = record::event(key, value).ok_or_else(|| io::Error::other("an event cannot be read"))?;
        if feed.wants(&event) {
            events.push(event);
        }
        Ok(events.len() < most)
    })?;
    Ok(events)
}

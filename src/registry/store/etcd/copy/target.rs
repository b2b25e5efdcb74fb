//! Where a cluster has the records of a file.

use super::writing::Writing;
use crate::registry::Error;
use crate::registry::model::{TenantId, Uuid1};
use crate::registry::store::etcd::shard::event_page;
use crate::registry::store::record::{self, META, event_key, event_of};

/// The most events of a page, and the bytes after which it ends: an event leaves with the youngest one in its page.
const PAGE_EVENTS: usize = 100;
const PAGE_BYTES: usize = 64 * 1024;

/// Returns the shard of an account among this many.
pub(in crate::registry) type ShardOf = fn(TenantId, u16) -> u16;

/// Puts the records of a file where a cluster has them.
pub(super) struct Target<'a, 'b> {
    writing: &'a mut Writing<'b>,
    shards: u16,
    shard_of: ShardOf,
    /// The page of events that is being filled.
    events: Option<EventPage>,
}

struct EventPage {
    tenant: TenantId,
    last: Uuid1,
    value: Vec<u8>,
    count: usize,
}

impl<'a, 'b> Target<'a, 'b> {
    pub(super) fn new(writing: &'a mut Writing<'b>, shards: u16, shard_of: ShardOf) -> Self {
        Self { writing, shards, shard_of, events: None }
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        if key.first() == Some(&META) {
            return Ok(());
        }
        if let Some((tenant, id)) = event_of(key) {
            return self.put_event(tenant, id, value);
        }
        let Some(tenant) = record::tenant_of(key) else { return Ok(()) }; // it was decoded before
        let shard = (self.shard_of)(tenant, self.shards);
        self.writing.put(self.writing.place.layout.record(shard, key), value.to_vec())
    }

    fn put_event(&mut self, tenant: TenantId, id: Uuid1, value: &[u8]) -> Result<(), Error> {
        let is_room = |page: &EventPage| {
            let has_room = page.count < PAGE_EVENTS && page.value.len() + value.len() < PAGE_BYTES;
            has_room && page.tenant == tenant && page.last < id
        };
        if !self.events.as_ref().is_some_and(is_room) {
            self.end_page()?;
        }
        let page = self.events.get_or_insert(EventPage { tenant, last: id, value: Vec::new(), count: 0 });
        event_page::put(&mut page.value, id, value);
        (page.last, page.count) = (id, page.count + 1);
        Ok(())
    }

    /// Writes the page of events that is being filled.
    pub(super) fn end_page(&mut self) -> Result<(), Error> {
        let Some(EventPage { tenant, last, value, .. }) = self.events.take() else { return Ok(()) };
        let shard = (self.shard_of)(tenant, self.shards);
        self.writing.put(self.writing.place.layout.record(shard, &event_key(tenant, last)), value)
    }
}

//! Reads pages of the feed: old events from disk, the others from memory.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use tokio::task::yield_now;

use super::Engine;
use super::pending::Scope;
use crate::registry::model::Listing;
use crate::registry::model::Uuid1;
use crate::registry::model::{Event, TenantId};
use crate::registry::state::{Feed, Rest};
use crate::registry::store::Backend;
use crate::registry::store::record;
use crate::registry::store::record::event_key;

/// The most old events that one request reads. There may be millions, none of which is of the requested type.
const MAX_OLD_EVENTS: usize = 100_000;

impl Engine {
    /// Returns a page of the events from this one on, oldest first.
    pub(crate) async fn feed(&self, tenant: TenantId, mut from: Uuid1, feed: &Feed) -> io::Result<Listing<Event>> {
        let mut page = Listing::default();
        loop {
            match (
                self.read(tenant, Scope::Nothing, |state| state.feed_part(tenant, from, feed, &mut page)).await,
                &self.disk,
            ) {
                (Rest::End, _) => return Ok(page),
                (Rest::InMemory(next), _) => {
                    from = next;
                    yield_now().await;
                }
                (Rest::OnDisk(until), Some(disk)) => {
                    let (disk, feed, begun) = (disk.clone(), feed.clone(), std::mem::take(&mut page));
                    // On a thread that no other request needs.
                    let old = tokio::task::spawn_blocking(move || old(&disk, tenant, from..until, &feed, begun));
                    page = old.await.map_err(io::Error::other)??;
                    if page.next.is_some() {
                        return Ok(page);
                    }
                    from = until;
                }
                (Rest::OnDisk(until), None) => from = until, // without a disk all events are in memory
            }
        }
    }
}

/// Adds old events from disk to a page.
fn old(
    disk: &Arc<dyn Backend>,
    tenant: TenantId,
    range: Range<Uuid1>,
    feed: &Feed,
    mut page: Listing<Event>,
) -> io::Result<Listing<Event>> {
    let mut read = 0;
    disk.scan(&event_key(tenant, range.start), &event_key(tenant, range.end), &mut |key, value| {
        let event = record::event(key, value).ok_or_else(|| io::Error::other("an event cannot be read"))?;
        read += 1;
        if read > MAX_OLD_EVENTS {
            page.next = Some(event.id.to_string());
            return Ok(false);
        }
        Ok(!feed.wants(&event) || page.add(event, feed.limit))
    })?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::EventType;
    use crate::registry::model::{Change, RecordChange};
    use crate::registry::model::{EventKind, PackedAttribution, ValueRemove};
    use crate::registry::store::CommitError;
    use crate::registry::store::RecordWrite;
    use crate::registry::store::Visit;

    /// A disk with any number of removals of a value.
    #[derive(Debug)]
    struct Endless;

    impl Backend for Endless {
        fn commit(&self, _: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
            Ok(())
        }

        fn scan(&self, _: &[u8], _: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
            for ticks in 1.. {
                let kind = EventKind::ValueRemove(Box::new(ValueRemove { id: "key".into(), old: "x".into() }));
                let (id, attribution) = (Uuid1::new(ticks, 0), PackedAttribution::default());
                let record = RecordChange::Event { id, before: None, after: Some(Event { id, kind, attribution }) };
                let RecordWrite { key, value } = RecordWrite::encode(&Change { tenant: 1, record });
                if !visit(&key, &value.unwrap())? {
                    break;
                }
            }
            Ok(())
        }

        fn scan_back(&self, _: &[u8], _: &[u8], _: &mut Visit<'_>) -> io::Result<()> {
            Ok(())
        }

        fn dump(&self, _: &mut Visit<'_>) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn search_for_a_type_ends_and_continues_there() {
        let disk: Arc<dyn Backend> = Arc::new(Endless);
        let read = |kind, limit| {
            let feed = Feed { from: None, kind: Some(kind), strict: false, extended: false, limit };
            old(&disk, 1, Uuid1::lowest(0)..Uuid1::lowest(1 << 59), &feed, Listing::default()).unwrap()
        };
        let none = read(EventType::Join, 1);
        let end = Uuid1::new(MAX_OLD_EVENTS as u64 + 1, 0).to_string();
        assert_eq!((none.values.len(), none.next), (0, Some(end)));
        let some = read(EventType::ValueRemove, 2);
        assert_eq!((some.values.len(), some.next), (2, Some(Uuid1::new(3, 0).to_string())));
    }
}

//! Makes the operations of a transaction from its writes. Each key is written at most once, as etcd demands: the last
//! write wins.

use std::collections::{BTreeMap, BTreeSet};

use super::cut::{Request, Write};
use super::event_page;
use super::reader::ShardReader;
use crate::registry::model::{TenantId, Uuid1};
use crate::registry::store::etcd::client::{EtcdError, Operation};
use crate::registry::store::record::event_key;

/// In bytes. etcd refuses 1.5 MiB by default.
const TOO_LARGE: usize = 1_500_000;
/// What an operation takes beside its key and its value.
const OVERHEAD: usize = 32;

#[derive(Debug, Default)]
struct Builder<'a> {
    /// By the key in etcd; none removes it.
    writes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    ranges: BTreeSet<(Vec<u8>, Vec<u8>)>,
    added: BTreeMap<TenantId, BTreeMap<Uuid1, &'a [u8]>>,
    removed: BTreeMap<TenantId, BTreeSet<Uuid1>>,
}

/// Returns the operations; none if they are too large for etcd. Reads pages of events of which some events are removed:
/// the operations are valid as long as nothing else is written to the shard.
pub(super) async fn operations(
    reader: &ShardReader,
    part: &[Request<'_>],
) -> Result<Option<Vec<Operation>>, EtcdError> {
    let mut builder = Builder::default();
    part.iter().flatten().for_each(|write| builder.add(reader, write));
    let mut kept = BTreeMap::new();
    for (tenant, removed) in std::mem::take(&mut builder.removed) {
        let (Some(first), Some(last)) = (removed.first(), removed.last()) else { continue };
        for (key, events) in reader.event_pages(tenant, *first, *last).await? {
            if !events.iter().any(|(id, _)| removed.contains(id)) {
                continue;
            }
            builder.writes.insert(key, None);
            let rest = events.into_iter().filter(|(id, _)| !removed.contains(id));
            kept.entry(tenant).or_insert_with(BTreeMap::new).extend(rest);
        }
    }
    for (tenant, events) in builder.added {
        let events = events.into_iter().map(|(id, event)| (id, event.to_vec()));
        kept.entry(tenant).or_default().extend(events);
    }
    for (tenant, events) in kept {
        let Some((last, _)) = events.last_key_value() else { continue };
        let key = reader.key(&event_key(tenant, *last));
        let mut page = Vec::new();
        events.iter().for_each(|(id, event)| event_page::put(&mut page, *id, event));
        builder.writes.insert(key, Some(page));
    }
    let ranges = builder.ranges.into_iter().map(|(from, to)| Operation::DeleteRange { from, to });
    let writes = builder.writes.into_iter().map(|(key, value)| match value {
        Some(value) => Operation::put(key, value),
        None => Operation::Delete { key },
    });
    let operations: Vec<Operation> = ranges.chain(writes).collect();
    let size: usize = operations.iter().map(size).sum();
    Ok((size <= TOO_LARGE).then_some(operations))
}

impl<'a> Builder<'a> {
    fn add(&mut self, reader: &ShardReader, write: &Write<'a>) {
        match *write {
            Write::Put(key, value) => _ = self.writes.insert(reader.key(key), Some(value.to_vec())),
            Write::Delete(key) => _ = self.writes.insert(reader.key(key), None),
            Write::DeleteSession(key) => {
                let from = reader.key(key);
                let to = [&from[..], b"0"].concat(); // follows all services in it: 0 follows /
                self.writes.retain(|key, _| !(&from..&to).contains(&key));
                self.ranges.insert((from, to));
            }
            Write::AddEvent(tenant, id, event) => _ = self.added.entry(tenant).or_default().insert(id, event),
            Write::RemoveEvent(tenant, id) => {
                self.removed.entry(tenant).or_default().insert(id);
                if let Some(added) = self.added.get_mut(&tenant) {
                    added.remove(&id);
                }
            }
        }
    }
}

fn size(operation: &Operation) -> usize {
    let bytes = match operation {
        Operation::Put { key, value, .. } => key.len() + value.len(),
        Operation::Delete { key } => key.len(),
        Operation::DeleteRange { from, to } => from.len() + to.len(),
    };
    bytes + OVERHEAD
}

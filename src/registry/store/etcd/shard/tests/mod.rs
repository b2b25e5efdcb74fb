//! Shards in a real etcd, and in one whose answers get lost.

mod commits;
mod failover;
mod load;
mod random;
mod records;

use std::collections::BTreeMap;
use std::time::Duration;

use super::ShardStore;
use crate::registry::model::{TenantId, Uuid1};
use crate::registry::store::etcd::Layout;
use crate::registry::store::etcd::client::{EtcdClient, Operation};
use crate::registry::store::record::event_key;
use crate::registry::store::{Backend, RecordWrite};

/// What a store holds.
type Records = BTreeMap<Vec<u8>, Vec<u8>>;

const SHARD: u16 = 7;

fn layout() -> Layout {
    Layout::new("/test/")
}

/// Takes the shard, as a node does.
async fn take(client: &EtcdClient) -> ShardStore {
    let owner = Operation::put(layout().owner(SHARD), format!("{}", fastrand::u64(..)));
    let revision = client.transact(Vec::new(), vec![owner]).await.unwrap().revision;
    let sequence = client.get(&layout().sequence(SHARD)).await.unwrap().map(|found| found.value).unwrap_or_default();
    let runtime = tokio::runtime::Handle::current();
    let mut store = ShardStore::new(client.clone(), layout(), SHARD, revision, sequence, runtime);
    store.pause = Duration::from_millis(1);
    store
}

/// Calls a store from where it may wait.
fn wait<T>(act: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(act)
}

fn dump(store: &ShardStore) -> Records {
    let mut records = Records::new();
    wait(|| {
        store.dump(&mut |key, value| {
            assert!(records.last_key_value().is_none_or(|(last, _)| last[..] < *key), "in order");
            records.insert(key.to_vec(), value.to_vec());
            Ok(true)
        })
    })
    .unwrap();
    records
}

fn apply(records: &mut Records, requests: &[Vec<RecordWrite>]) {
    for RecordWrite { key, value } in requests.iter().flatten().cloned() {
        match value {
            Some(value) => _ = records.insert(key, value),
            None => _ = records.remove(&key),
        }
    }
}

/// Returns the requests that undo these, the last one first.
fn undo(mut records: Records, requests: &[Vec<RecordWrite>]) -> Vec<Vec<RecordWrite>> {
    let mut undo = Vec::new();
    for request in requests {
        let mut writes = Vec::new();
        for write in request {
            writes.push(RecordWrite { key: write.key.clone(), value: records.get(&write.key).cloned() });
            apply(&mut records, &[vec![write.clone()]]);
        }
        writes.reverse();
        undo.push(writes);
    }
    undo.reverse();
    undo
}

fn key(tenant: TenantId, rest: &str) -> Vec<u8> {
    [b"d", &tenant.to_be_bytes()[..], rest.as_bytes()].concat()
}

fn put(tenant: TenantId, rest: &str, value: &str) -> RecordWrite {
    RecordWrite { key: key(tenant, rest), value: Some(value.as_bytes().to_vec()) }
}

fn remove(tenant: TenantId, rest: &str) -> RecordWrite {
    RecordWrite { key: key(tenant, rest), value: None }
}

fn event(tenant: TenantId, ticks: u64, value: &str) -> RecordWrite {
    RecordWrite { key: event_key(tenant, Uuid1::new(ticks, 1)), value: Some(value.as_bytes().to_vec()) }
}

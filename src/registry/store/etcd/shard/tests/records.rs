//! What is read is what was written, as a map of records would have it; and etcd accepts every commit.

use std::sync::Arc;

use fastrand::Rng;

use super::{Records, apply, dump, event, put, remove, take, undo, wait};
use crate::registry::model::{TenantId, Uuid1};
use crate::registry::store::etcd::client::EtcdClient;
use crate::registry::store::etcd::client::fixture::Etcd;
use crate::registry::store::etcd::client::fragile::Fragile;
use crate::registry::store::record::event_key;
use crate::registry::store::{Backend, RecordWrite};

/// Makes requests like those of the registry.
struct Requests {
    random: Rng,
    ticks: u64,
    /// With the number of services.
    sessions: Vec<(TenantId, String, usize)>,
}

impl Requests {
    fn next(&mut self) -> Vec<RecordWrite> {
        let tenant = self.random.u32(1..4);
        let text = "x".repeat([9, 100, 10_000][self.random.usize(..3)]);
        let mut writes = match self.random.u32(..8) {
            0..3 => {
                let (session, services) = (format!("sse{:08}", self.random.u32(..99_999_999)), self.random.usize(..8));
                self.sessions.push((tenant, session.clone(), services));
                let services = (0..services).map(|number| put(tenant, &format!("{session}/{number}"), &text));
                [put(tenant, &session, "session")].into_iter().chain(services).collect()
            }
            3 => self.expire(1),
            4 => vec![put(tenant, &format!("c{}", self.random.u32(..20)), &text)],
            5 => vec![remove(tenant, &format!("c{}", self.random.u32(..20)))],
            6 => vec![put(tenant, "t", "tenant")],
            _ if self.random.u32(..20) == 0 => self.expire(400),
            _ => (0..self.random.usize(..200)).map(|number| put(tenant, &format!("v{number:03}"), &text)).collect(),
        };
        self.ticks += 1;
        writes.push(event(tenant, self.ticks, &text));
        writes
    }

    fn expire(&mut self, most: usize) -> Vec<RecordWrite> {
        let mut writes = Vec::new();
        let count = self.sessions.len().min(most);
        for (tenant, session, services) in self.sessions.drain(..count) {
            writes.extend((0..services).map(|number| remove(tenant, &format!("{session}/{number}"))));
            writes.push(remove(tenant, &session));
            self.ticks += 1;
            writes.push(event(tenant, self.ticks, &"x".repeat(services * 100)));
        }
        writes
    }
}

async fn behaves_like_a_map(client: EtcdClient, commits: usize, seed: u64) {
    let mut store = take(&client).await;
    let mut requests = Requests { random: Rng::with_seed(seed), ticks: 0, sessions: Vec::new() };
    let mut records = Records::new();
    for number in 0..commits {
        let count = if requests.random.u32(..20) == 0 { 300 } else { requests.random.usize(1..10) };
        let group: Vec<_> = (0..count).map(|_| requests.next()).collect();
        let before = records.clone();
        wait(|| store.commit(&group)).unwrap();
        apply(&mut records, &group);
        if requests.random.u32(..8) == 0 {
            wait(|| store.commit(&undo(before.clone(), &group))).unwrap();
            records = before;
            requests.sessions.retain(|(tenant, session, _)| records.contains_key(&super::key(*tenant, session)));
        }
        check_ranges(&store, &records, &mut requests);
        if number % 50 == 0 {
            assert!(dump(&store) == records, "seed {seed}, after {number}");
            store = take(&client).await;
        }
    }
    assert!(dump(&store) == records, "seed {seed}");
}

/// Compares some ranges in both directions.
fn check_ranges(store: &impl Backend, records: &Records, requests: &mut Requests) {
    let (tenant, bound) = (requests.random.u32(1..4), requests.ticks + 2);
    let mut some_event = || event_key(tenant, Uuid1::lowest(requests.random.u64(..bound)));
    let (one, other) = (some_event(), some_event());
    let last = event_key(tenant, Uuid1::of_parts(u64::MAX, u64::MAX));
    let whole = super::key(tenant, "");
    for (from, to) in
        [(one.clone().min(other.clone()), one.clone().max(other)), (one, last), (whole.clone(), vec![b'e'])]
    {
        let most = requests.random.usize(1..300);
        let expected: Vec<_> = records.range(from.clone()..to.clone()).take(most).map(pair).collect();
        let mut found = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(found.len() < most)
        };
        wait(|| store.scan(&from, &to, &mut visit)).unwrap();
        assert!(found == expected, "{}..{}", from.escape_ascii(), to.escape_ascii());
        if from == whole {
            continue;
        }
        let expected: Vec<_> = records.range(from.clone()..to.clone()).rev().take(most).map(pair).collect();
        let mut found = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            found.push((key.to_vec(), value.to_vec()));
            Ok(found.len() < most)
        };
        wait(|| store.scan_back(&from, &to, &mut visit)).unwrap();
        assert!(found == expected, "back {}..{}", from.escape_ascii(), to.escape_ascii());
    }
}

fn pair((key, value): (&Vec<u8>, &Vec<u8>)) -> (Vec<u8>, Vec<u8>) {
    (key.clone(), value.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_in_a_real_etcd_behaves_like_a_map() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    behaves_like_a_map(etcd.client(), 120, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shard_behaves_like_a_map() {
    for seed in 2..4 {
        behaves_like_a_map(EtcdClient::fragile(&Arc::new(Fragile::default())), 80, seed).await;
    }
}

/// More pages than are read at once.
#[tokio::test(flavor = "multi_thread")]
async fn many_pages_of_events_are_read_from_both_ends() {
    let etcd = Arc::new(Fragile::default());
    let store = take(&EtcdClient::fragile(&etcd)).await;
    let mut records = Records::new();
    for number in 1..3_000 {
        let group = [vec![event(1, (1 << 50) + number * 7, "x"), event(1, (1 << 50) + number * 7 + 1, "y")]];
        wait(|| store.commit(&group)).unwrap();
        apply(&mut records, &group);
    }
    let (from, to) = (event_key(1, Uuid1::lowest(0)), event_key(1, Uuid1::of_parts(u64::MAX, u64::MAX)));
    let mut found = Vec::new();
    wait(|| {
        store.scan_back(&from, &to, &mut |key, _| {
            Ok({
                found.push(key.to_vec());
                true
            })
        })
    })
    .unwrap();
    assert!(found.into_iter().rev().eq(records.keys().cloned()));
    assert!(dump(&store) == records);
}

/// Nothing below one shard's number is another's.
#[tokio::test(flavor = "multi_thread")]
async fn shards_are_apart() {
    let etcd = Arc::new(Fragile::default());
    let client = EtcdClient::fragile(&etcd);
    let store = take(&client).await;
    wait(|| store.commit(&[vec![put(u32::MAX, "ckey", "x"), event(u32::MAX, 1, "x")]])).unwrap();
    let runtime = tokio::runtime::Handle::current();
    for shard in [super::SHARD - 1, super::SHARD + 1] {
        let other = super::ShardStore::new(client.clone(), super::layout(), shard, 0, Vec::new(), runtime.clone());
        assert!(dump(&other).is_empty());
    }
    assert_eq!(dump(&store).len(), 2);
}

//! Three members of a real etcd, whose leaders are killed and stopped while a shard commits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Records, apply, dump, event, put, take, undo, wait};
use crate::registry::store::etcd::EtcdConfig;
use crate::registry::store::etcd::client::EtcdClient;
use crate::registry::store::etcd::client::fixture::Etcd;
use crate::registry::store::{Backend, CommitError};

/// Returns the index of the leader, as a member sees it that is not stopped.
async fn leader(members: &[Etcd], asked: usize) -> usize {
    let client = members[asked].client();
    let known = client.members().await.unwrap();
    for (index, member) in members.iter().enumerate() {
        let of = known.iter().find(|known| known.urls.contains(&member.url)).unwrap();
        if client.status(of).await.is_ok_and(|status| status.leader == of.id) {
            return index;
        }
    }
    panic!("no leader");
}

/// Commits until it is told to stop; returns what is acknowledged, and the longest time of a commit.
fn commit_all(store: &impl Backend, stop: &AtomicBool) -> (Records, Duration, usize) {
    let (mut records, mut longest, mut failed) = (Records::new(), Duration::ZERO, 0);
    for number in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let group = [vec![put(1, "ccount", &format!("{number}")), event(1, number, "x")]];
        let start = Instant::now();
        match store.commit(&group) {
            Ok(()) => apply(&mut records, &group),
            Err(CommitError::Fenced) => panic!("there is one owner"),
            Err(CommitError::Failed(error)) => {
                eprintln!("{number}: {error}");
                failed += 1;
                let undo = undo(records.clone(), &group);
                while store.commit(&undo).is_err() {}
            }
        }
        longest = longest.max(start.elapsed());
    }
    (records, longest, failed)
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_outlast_leaders() {
    let Some(mut members) = Etcd::start_cluster(3).await else { return };
    let endpoints = members.iter().map(|member| member.url.clone()).collect();
    let client = EtcdClient::new(&EtcdConfig { endpoints, ..members[0].config() }).unwrap();
    let (store, stop) = (Arc::new(take(&client).await), Arc::new(AtomicBool::new(false)));
    let commits = {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::task::spawn_blocking(move || commit_all(&*store, &stop))
    };
    let some_commits = async || {
        let revision = async || client.get(b"x").await.and(client.range(b"a", b"b").await).map(|found| found.revision);
        let (start, first) = (Instant::now(), revision().await.unwrap_or(i64::MAX));
        while !revision().await.is_ok_and(|now| now > first.saturating_add(20)) {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing is committed");
            tokio::time::sleep(Duration::from_millis(20)).await; // between two looks
        }
    };
    some_commits().await;
    for _ in 0..2 {
        let stopped = leader(&members, 0).await;
        members[stopped].signal("-STOP");
        some_commits().await;
        members[stopped].signal("-CONT");
        some_commits().await;
    }
    let killed = leader(&members, 0).await;
    drop(members.remove(killed));
    some_commits().await;
    stop.store(true, Ordering::Relaxed);
    let (records, longest, failed) = commits.await.unwrap();
    eprintln!("{} commits, {failed} failed, the longest took {longest:?}", records.len() - 1);
    assert!(dump(&store) == records);
    wait(|| store.commit(&[vec![put(1, "ccount", "end")]])).unwrap();
}

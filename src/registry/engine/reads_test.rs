//! Tests: what reads see of changes that are not on disk yet, and may never be.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::commit_test::{Bench, FailureMode};
use super::pending::Scope;
use crate::registry::model::ManualClock;
use crate::registry::model::Page;
use crate::registry::state::State;
use crate::registry::state::tests::own;

fn poll<T>(future: impl Future<Output = T> + Unpin) -> Poll<T> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

impl Bench {
    async fn values(&self) -> usize {
        let page = Page { limit: 100, marker: None };
        self.engine.read(1, Scope::Values, |state| state.values(1, &page, None)).await.values.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn read_waits_for_a_pending_write_of_its_record() {
    for (failure_mode, is_kept) in [(FailureMode::Fine, true), (FailureMode::Full, false), (FailureMode::Lying, false)]
    {
        let bench = Bench::new();
        assert!(bench.set("key", "old").await);
        let (mut set, mut add) = (Box::pin(bench.set("key", "new")), Box::pin(bench.set("added", "new")));
        let (mut value, mut added) = (Box::pin(bench.value("key")), Box::pin(bench.value("added")));
        let mut values = Box::pin(bench.values());
        {
            let mut held = bench.disk.failure_mode.lock().unwrap(); // no commit gets beyond this
            assert!(poll(&mut set).is_pending() && poll(&mut add).is_pending());
            assert!(poll(&mut value).is_pending() && poll(&mut added).is_pending() && poll(&mut values).is_pending());
            assert_eq!(poll(Box::pin(bench.value("another"))), Poll::Ready(None), "it has nothing to wait for");
            *held = failure_mode;
        }
        assert_eq!(value.await.as_deref(), Some(if is_kept { "new" } else { "old" }), "{failure_mode:?}");
        assert_eq!((added.await.is_some(), values.await), (is_kept, if is_kept { 2 } else { 1 }), "{failure_mode:?}");
        assert_eq!((set.await, add.await), (is_kept, is_kept), "{failure_mode:?}");
    }
}

/// Else readers would wait for one failure after the other.
#[tokio::test(flavor = "multi_thread")]
async fn reads_neither_wait_nor_see_attempts_while_the_disk_fails() {
    let bench = Bench::new();
    assert!(bench.set("key", "old").await);
    bench.disk.set_failure(FailureMode::Full);
    assert!(!bench.set("key", "new").await);
    let mut tried = Box::pin(bench.set("key", "new"));
    {
        let _held = bench.disk.failure_mode.lock().unwrap(); // no commit gets beyond this
        assert!(poll(&mut tried).is_pending());
        assert_eq!(poll(Box::pin(bench.value("key"))), Poll::Ready(Some("old".to_owned())));
        assert_eq!(poll(Box::pin(bench.values())), Poll::Ready(1));
        assert_eq!(poll(Box::pin(bench.set("key", "old"))), Poll::Ready(true), "nothing to write");
    }
    assert!(!tried.await);
    bench.disk.set_failure(FailureMode::Fine);
    assert!(bench.set("key", "new").await);
}

/// The end of a service is a change like any other: it has not happened before it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn lease_stays_while_its_expiry_cannot_be_stored() {
    let hand = ManualClock::new(1_700_000_000_000);
    let bench = Bench::keeping_events_for(u64::MAX, &hand);
    let create = |state: &mut State| own(state, bench.clock.now(), "node-1", 3);
    assert!(bench.engine.write(create).await.is_some());
    let is_there = async || {
        let look = |state: &mut State| state.service(1, "node-1", false).is_ok();
        bench.engine.read_swept(bench.clock.now(), 1, Scope::Service { id: "node-1", with_session: false }, look).await
    };
    hand.jump(Duration::from_millis(3_000));
    bench.disk.set_failure(FailureMode::Full);
    assert!(is_there().await, "its end was undone, and is looked at again");
    assert!(is_there().await);
    bench.disk.set_failure(FailureMode::Fine);
    assert!(bench.set("key", "x").await);
    assert!(!is_there().await);
}

/// A refused change must not be there after a restart.
#[tokio::test(flavor = "multi_thread")]
async fn refused_change_is_off_the_disk_before_the_refusal() {
    let bench = Bench::new();
    assert!(bench.set("key", "old").await);
    let before = bench.after_restart();
    bench.disk.set_failure(FailureMode::LyingOnce);
    assert!(!bench.set("key", "new").await);
    assert_eq!(bench.after_restart(), before);
}

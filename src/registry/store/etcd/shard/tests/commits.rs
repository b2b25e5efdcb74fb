//! One commit after the other: what becomes of it when an answer is lost, the owner has changed, or etcd is full.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{apply, dump, event, put, remove, take, undo, wait};
use crate::registry::model::Uuid1;
use crate::registry::store::etcd::client::EtcdClient;
use crate::registry::store::etcd::client::fixture::Etcd;
use crate::registry::store::etcd::client::fragile::{Fault, Fragile};
use crate::registry::store::{Backend, CommitError, EventRange};

use super::Records;

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn commit_is_made_once_whatever_happens_to_its_answers() {
    use Fault::{Late, LostAfter, LostBefore, Refused};
    for faults in [
        vec![LostBefore],
        vec![LostAfter],
        vec![Refused],
        vec![Late],
        vec![LostAfter, LostAfter, LostBefore, Refused],
        vec![LostBefore, Late, LostAfter, LostBefore],
    ] {
        let etcd = Arc::new(Fragile::default());
        let mut store = take(&EtcdClient::fragile(&etcd)).await;
        store.time_limit = DEADLINE;
        let first = [vec![put(1, "ckey", "old"), event(1, 1, "old")]];
        wait(|| store.commit(&first)).unwrap();
        let made = etcd.made();
        etcd.next_faults(faults.clone());
        wait(|| store.commit(&[vec![put(1, "ckey", "new"), event(1, 2, "new")]])).unwrap();
        assert_eq!(etcd.made(), made + 1, "{faults:?}");
        let last = [vec![put(1, "ckey", "last"), event(1, 3, "last")]];
        wait(|| store.commit(&last)).unwrap();
        etcd.make_late();
        assert_eq!(etcd.made(), made + 2, "{faults:?}");
        let mut expected = Records::new();
        apply(&mut expected, &[vec![event(1, 1, "old"), event(1, 2, "new")]]);
        apply(&mut expected, &last);
        assert_eq!(dump(&store), expected, "{faults:?}");
    }
}

/// A group of several transactions, the last of which gets no answer.
#[tokio::test(flavor = "multi_thread")]
async fn undo_wins_whatever_became_of_the_failed_commit() {
    use Fault::{Late, LostAfter, LostBefore, NoSpace, Nothing, Refused};
    let request = |number: u64| {
        vec![
            put(1, &format!("v{number:03}"), "new"),
            put(1, "cshared", &format!("{number}")),
            remove(1, &format!("vold{number}")),
            event(1, 10 + number, "new"),
            event(2, 10 + number, "new"),
        ]
    };
    let group: Vec<_> = (0..100).map(request).collect();
    for made_before in 0..3 {
        for fault in [LostBefore, LostAfter, Late, NoSpace, Refused] {
            for late in ["before the undo", "in it", "after it"] {
                let what = format!("{fault:?} after {made_before}, late {late}");
                let etcd = Arc::new(Fragile::default());
                let mut store = take(&EtcdClient::fragile(&etcd)).await;
                store.time_limit = Duration::ZERO;
                let mut before = Records::new();
                let old =
                    [vec![put(1, "cshared", "old"), put(1, "vold7", "x"), event(1, 1, "old"), event(1, 2, "old")]];
                apply(&mut before, &old);
                wait(|| store.commit(&old)).unwrap();

                etcd.next_faults(std::iter::repeat_n(Nothing, made_before).chain([fault]));
                let failed = wait(|| store.commit(&group));
                assert!(matches!(failed, Err(CommitError::Failed(_))), "{what}");
                if late == "before the undo" {
                    etcd.make_late();
                }
                let undo = undo(before.clone(), &group);
                etcd.next_faults([LostAfter, Late]); // and the undo itself is lost twice
                let mut tries = 0;
                while wait(|| store.commit(&undo)).is_err() {
                    tries += 1;
                    assert!(tries < 3, "{what}");
                    if late == "in it" {
                        etcd.make_late();
                    }
                }
                etcd.make_late();
                assert_eq!(dump(&store), before, "{what}");
                wait(|| store.commit(&[vec![put(1, "cshared", "next"), event(1, 200, "next")]])).unwrap();
                assert_eq!(dump(&store).len(), before.len() + 1, "{what}");
            }
        }
    }
}

/// The undo is cut, too: what remains of a page of events after its first part belongs to requests that are still
/// there.
#[tokio::test(flavor = "multi_thread")]
async fn half_of_an_undo_leaves_whole_requests() {
    let etcd = Arc::new(Fragile::default());
    let mut store = take(&EtcdClient::fragile(&etcd)).await;
    store.time_limit = Duration::ZERO;
    // Small to make, large to undo: many removals of one large record each.
    let large = "x".repeat(100_000);
    let old: Vec<_> = (0..8).map(|number| vec![put(1, &format!("c{number}"), &large)]).collect();
    wait(|| store.commit(&old)).unwrap();
    let before = dump(&store);
    let group: Vec<_> =
        (0..8).map(|number| vec![remove(1, &format!("c{number}")), event(1, 1 + number, "removed")]).collect();
    etcd.next_faults([Fault::LostAfter]);
    wait(|| store.commit(&group)).unwrap_err();
    let undo = undo(before.clone(), &group);
    etcd.next_faults([Fault::Nothing, Fault::Nothing, Fault::LostBefore]); // the first moves on to the lost one
    wait(|| store.commit(&undo)).unwrap_err();
    let half = dump(&store);
    let mut wholes = vec![before];
    for request in &group {
        let mut next = wholes.last().unwrap().clone();
        apply(&mut next, std::slice::from_ref(request));
        wholes.push(next);
    }
    let place = wholes.iter().position(|whole| *whole == half);
    assert!(place.is_some_and(|requests| (1..8).contains(&requests)), "{place:?}");
    wait(|| store.commit(&undo)).unwrap();
    assert_eq!(dump(&store), wholes[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn previous_owner_writes_nothing() {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let client = etcd.client();
    let old = take(&client).await;
    let first = [vec![put(1, "ckey", "old"), event(1, 1, "old")]];
    wait(|| old.commit(&first)).unwrap();
    let new = take(&client).await;
    let before = dump(&new);
    let range = EventRange { tenant: 1, from: Uuid1::lowest(0), until: Uuid1::lowest(9) };
    for _ in 0..2 {
        let refused = wait(|| old.commit(&[vec![put(1, "ckey", "stale")]]));
        assert!(matches!(refused, Err(CommitError::Fenced)), "{refused:?}");
        assert!(matches!(wait(|| old.remove_events(&[range])), Err(CommitError::Fenced)));
        assert_eq!(dump(&new), before);
        wait(|| new.commit(&first)).unwrap();
    }
}

/// Its answer was lost, and it asks again only after another has taken the shard.
#[tokio::test(flavor = "multi_thread")]
async fn previous_owner_does_not_repeat_what_its_successor_has_overwritten() {
    for fault in [Fault::LostBefore, Fault::LostAfter, Fault::Late] {
        let etcd = Arc::new(Fragile::default());
        let mut old = take(&EtcdClient::fragile(&etcd)).await;
        old.time_limit = Duration::ZERO;
        etcd.next_faults([fault]);
        wait(|| old.commit(&[vec![put(1, "ckey", "old")]])).unwrap_err();
        let new = take(&EtcdClient::fragile(&etcd)).await;
        wait(|| new.commit(&[vec![put(1, "ckey", "new")]])).unwrap();
        let before = dump(&new);
        etcd.make_late();
        assert!(matches!(wait(|| old.commit(&[vec![remove(1, "ckey")]])), Err(CommitError::Fenced)));
        assert_eq!(dump(&new), before, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_etcd_refuses_writes_and_accepts_that_old_events_leave() {
    let Some(etcd) = Etcd::start(&["--quota-backend-bytes", "4000000"]).await else { return };
    let mut store = take(&etcd.client()).await;
    store.time_limit = DEADLINE;
    let large = "x".repeat(200_000);
    let full = (1..100).find_map(|number| wait(|| store.commit(&[vec![event(1, number, &large)]])).err());
    assert!(matches!(full, Some(CommitError::Failed(error)) if error.kind() == io::ErrorKind::StorageFull));
    let events = dump(&store).len();
    assert!(events > 5);
    let range = |tenant, until| EventRange { tenant, from: Uuid1::lowest(0), until: Uuid1::lowest(until) };
    assert_eq!(wait(|| store.remove_events(&[range(1, 4), range(2, 4)])).unwrap(), 2);
    assert_eq!(dump(&store).len(), events - 3);
}

/// Only as many as a transaction can have; a page with an event that stays is kept.
#[tokio::test(flavor = "multi_thread")]
async fn old_events_leave_page_by_page() {
    let etcd = Arc::new(Fragile::default());
    let store = take(&EtcdClient::fragile(&etcd)).await;
    for tenant in 0..200 {
        let first = [vec![event(tenant, 1, "a")], vec![event(tenant, 2, "b")]];
        wait(|| store.commit(&first)).unwrap();
        wait(|| store.commit(&[vec![event(tenant, 3, "c"), event(tenant, 4, "d")]])).unwrap();
    }
    let range = |tenant| EventRange { tenant, from: Uuid1::lowest(0), until: Uuid1::lowest(4) };
    let mut ranges: Vec<_> = (0..200).map(range).collect();
    let done = wait(|| store.remove_events(&ranges)).unwrap();
    assert_eq!((done, dump(&store).len()), (127, 800 - 2 * 127));
    ranges.drain(..done);
    assert_eq!(wait(|| store.remove_events(&ranges)).unwrap(), 73);
    assert_eq!((dump(&store).len(), wait(|| store.remove_events(&[])).unwrap()), (400, 0));
}

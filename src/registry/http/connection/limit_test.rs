//! The connection limit, without sockets.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::*;

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A table in which each idle connection may be evicted at once.
fn table(most: usize, most_unproven: usize) -> Arc<ConnectionTable> {
    let table = ConnectionTable::new(most, Timeouts::default(), Arc::default());
    Arc::new(ConnectionTable { most_unproven, grace: Duration::ZERO, ..Arc::into_inner(table).unwrap() })
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn insert(connections: &Arc<ConnectionTable>, last: u8) -> Permit {
    let place = poll_once(Box::pin(connections.acquire(address(last))).as_mut()).unwrap();
    place.connection.served_by(tokio::spawn(std::future::pending::<()>()).abort_handle());
    place
}

/// After the tasks have run.
async fn must_leave(place: &Permit) -> bool {
    tokio::task::yield_now().await;
    place.connection.task.get().unwrap().is_finished()
}

#[tokio::test]
async fn address_with_most_connections_loses_one() {
    let connections = table(4, 4);
    let alone = insert(&connections, 1);
    let crowd: Vec<Permit> = (0..3).map(|_| insert(&connections, 2)).collect();
    crowd[0].connection.begin();
    crowd[0].connection.end();
    crowd[1].connection.begin();
    {
        let mut next = Box::pin(connections.acquire(address(3)));
        assert!(poll_once(next.as_mut()).is_none());
    }
    assert!(must_leave(&crowd[2]).await, "the one that never asked");
    assert!(!must_leave(&crowd[0]).await && !must_leave(&crowd[1]).await && !must_leave(&alone).await);
    drop(crowd);
    drop(alone);
}

#[tokio::test]
async fn new_connection_waits_while_all_are_busy() {
    let connections = table(1, 1);
    let first = insert(&connections, 1);
    first.connection.begin();
    let mut next = Box::pin(connections.acquire(address(2)));
    assert!(poll_once(next.as_mut()).is_none());
    assert!(!must_leave(&first).await);
    drop(first);
    assert!(poll_once(next.as_mut()).is_some());
}

#[tokio::test]
async fn head_has_a_shorter_limit_than_an_idle_connection() {
    let connections = table(1, 1);
    let place = insert(&connections, 1);
    let connection = &place.connection;
    let left = |connection: &Connection| connection.deadline().map(|at| at.duration_since(connection.start).as_secs());
    assert_eq!(left(connection), Some(30));
    connection.heard();
    assert_eq!(left(connection), Some(10));
    connection.begin();
    assert_eq!(left(connection), None);
    connection.heard();
    assert_eq!(left(connection), None, "bytes of a body are no head");
    connection.end();
    connection.lasts();
    assert_eq!(left(connection), Some(150));
}

#[tokio::test]
async fn unproven_connections_have_a_limit_of_their_own() {
    let connections = table(100, 2);
    let proven: Vec<Permit> = (0..5).map(|_| insert(&connections, 2)).inspect(Permit::prove).collect();
    let [silent, refused] = [insert(&connections, 1), insert(&connections, 1)];
    refused.connection.begin();
    refused.connection.end();
    assert!(poll_once(Box::pin(connections.acquire(address(2))).as_mut()).is_none());
    assert!(must_leave(&silent).await);
    for place in proven.iter().chain([&refused]) {
        assert!(!must_leave(place).await);
    }
    refused.prove();
    drop(insert(&connections, 3)); // a place is free
    drop(silent);
    let _both = [insert(&connections, 3), insert(&connections, 3)];
    assert!(poll_once(Box::pin(connections.acquire(address(3))).as_mut()).is_none());
}

#[tokio::test]
async fn young_connection_is_not_evicted() {
    let connections = Arc::into_inner(table(1, 1)).unwrap();
    let connections = Arc::new(ConnectionTable { grace: Duration::from_secs(3600), ..connections });
    let young = insert(&connections, 1);
    assert!(poll_once(Box::pin(connections.acquire(address(2))).as_mut()).is_none());
    assert!(!must_leave(&young).await);
}

#[tokio::test]
async fn unproven_connection_that_owes_a_body_is_evicted() {
    let connections = table(100, 4);
    let places = [(); 4].map(|()| insert(&connections, 1));
    let [late, answered, proven, proven_too] = &places;
    for place in &places {
        place.connection.begin();
        place.connection.awaits();
    }
    answered.connection.heard();
    proven.prove();
    proven_too.prove();
    let _busy: Vec<Permit> =
        (0..2).map(|_| insert(&connections, 2)).inspect(|place| place.connection.begin()).collect();
    assert!(poll_once(Box::pin(connections.acquire(address(3))).as_mut()).is_none());
    for place in [answered, proven, proven_too] {
        assert!(!must_leave(place).await);
    }
    assert!(must_leave(late).await);
}

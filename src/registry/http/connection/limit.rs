//! The connection limit: which connections are open, what each is doing, and which one is evicted when there are too many.
//!
//! The address with the most connections loses one: first one that never sent a request, then the one
//! that has been idle longest. So a flood from one address makes room at its own cost. A request under way is never
//! interrupted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::timeouts::Timeouts;

/// The open connections.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    most: usize,
    timeouts: Timeouts,
    start: Instant,
    list: Mutex<List>,
    /// Notified when a connection has closed.
    left: Notify,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    connections: HashMap<u64, Arc<Connection>>,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) address: IpAddr,
    pub(super) timeouts: Timeouts,
    start: Instant,
    /// The number of requests, and in the lowest two bits the phase.
    phase: AtomicU64,
    /// When the phase was first seen to last, in microseconds since `start`.
    since: AtomicU64,
    /// The task that serves it.
    task: OnceLock<AbortHandle>,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle = 0,
    /// Part of a head has arrived.
    Head = 1,
    /// A request is being processed.
    Busy = 2,
}

/// A place in the table, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    connections: Arc<ConnectionTable>,
    number: u64,
    pub(super) connection: Arc<Connection>,
}

impl ConnectionTable {
    pub(super) fn new(most: usize, timeouts: Timeouts) -> Arc<Self> {
        Arc::new(Self { most, timeouts, start: Instant::now(), list: Mutex::default(), left: Notify::new() })
    }

    /// Accepts a connection, evicting another one if necessary; waits while all are busy.
    pub(super) async fn acquire(self: &Arc<Self>, address: IpAddr) -> Permit {
        loop {
            let left = self.left.notified();
            {
                let mut list = self.lock();
                if list.connections.len() < self.most {
                    return self.insert(&mut list, address);
                }
                evict(&list.connections, self.most / 100 + 1);
            }
            left.await;
        }
    }

    fn insert(self: &Arc<Self>, list: &mut List, address: IpAddr) -> Permit {
        let number = list.next;
        list.next += 1;
        let connection = Arc::new(Connection {
            address,
            timeouts: self.timeouts,
            start: self.start,
            phase: AtomicU64::new(Phase::Idle as u64),
            since: AtomicU64::new(0),
            task: OnceLock::new(),
        });
        connection.lasts();
        list.connections.insert(number, connection.clone());
        Permit { connections: self.clone(), number, connection }
    }

    /// Closes all connections without a request under way, at the end.
    pub(super) fn close_without_request(&self) {
        for connection in self.lock().connections.values() {
            if connection.has_no_request() {
                connection.evict();
            }
        }
    }

    /// Closes all connections.
    pub(super) fn abort_all(&self) {
        for connection in self.lock().connections.values() {
            connection.evict();
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Evicts several connections at once: a search for each new one would make a flood expensive.
fn evict(connections: &HashMap<u64, Arc<Connection>>, several: usize) {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for connection in connections.values() {
        *counts.entry(connection.address).or_default() += 1;
    }
    let idle = || connections.values().filter(|connection| connection.phase() != Phase::Busy);
    let Some(crowd) = idle().map(|connection| counts[&connection.address]).max() else { return };
    let mut crowd: Vec<&Arc<Connection>> = idle().filter(|connection| counts[&connection.address] == crowd).collect();
    crowd.sort_unstable_by_key(|connection| (connection.has_asked(), connection.since.load(Ordering::Relaxed)));
    for connection in crowd.into_iter().take(several) {
        connection.evict(); // it is idle, so no request is interrupted
        tracing::debug!(from = %connection.address, "a connection made room for others");
    }
}

impl Connection {
    /// Records that bytes have arrived.
    pub(super) fn heard(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Records that a whole head has arrived, and a request begins.
    pub(super) fn begin(&self) {
        let asked = self.phase.load(Ordering::Relaxed) >> 2;
        self.phase.store((asked + 1) << 2 | Phase::Busy as u64, Ordering::Relaxed);
    }

    /// Records that the request has been answered.
    pub(super) fn end(&self) {
        self.enter(Phase::Idle);
    }

    /// Returns the phase as a number that differs after each request.
    pub(super) fn doing(&self) -> u64 {
        self.phase.load(Ordering::Relaxed)
    }

    /// Starts the time of a phase that lasts longer than a moment.
    pub(super) fn lasts(&self) {
        let since = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
    }

    /// Sets the task to end when the connection is evicted.
    pub(super) fn served_by(&self, task: AbortHandle) {
        let _ = self.task.set(task); // it is set once
    }

    fn evict(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Returns how long the present phase may last. A request has limits of its own.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let since = self.start + Duration::from_micros(self.since.load(Ordering::Relaxed));
        match self.phase() {
            Phase::Idle if self.has_asked() => Some(since + self.timeouts.idle),
            Phase::Idle => Some(since + self.timeouts.newcomer),
            Phase::Head => Some(since + self.timeouts.head),
            Phase::Busy => None,
        }
    }

    /// The client has sent part of a head, or nothing. After a response it may still be reading that.
    fn has_no_request(&self) -> bool {
        match self.phase() {
            Phase::Idle => !self.has_asked(),
            Phase::Head => true,
            Phase::Busy => false,
        }
    }

    fn has_asked(&self) -> bool {
        self.doing() >> 2 > 0
    }

    fn phase(&self) -> Phase {
        match self.doing() & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(self.doing() >> 2 << 2 | phase as u64, Ordering::Relaxed);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.number);
        self.connections.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
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
        let connections = ConnectionTable::new(4, Timeouts::default());
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
        let connections = ConnectionTable::new(1, Timeouts::default());
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
        let connections = ConnectionTable::new(1, Timeouts::default());
        let place = insert(&connections, 1);
        let connection = &place.connection;
        let left =
            |connection: &Connection| connection.deadline().map(|at| at.duration_since(connection.start).as_secs());
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
}

//! The connection limit: which connections are open, what each is doing, and which one is evicted when there are too
//! many.
//!
//! The address with the most connections loses one: first one that never sent a request, then the one
//! that has been idle longest. So a flood from one address makes room at its own cost. A request under way is never
//! interrupted. Connections without an admitted request have a limit of their own: a flood of wrong logins would
//! otherwise take the memory of all connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::timeouts::Timeouts;
use crate::registry::counters::Counters;

/// The most connections without an admitted request. Each takes up to 30 kB.
const MOST_UNPROVEN: usize = 1000;
/// A connection that has waited for less is not evicted: its first request, or the rest of it, is probably on its way.
/// Otherwise clients that all reconnect at once, as after a restart, would evict each other.
const GRACE: Duration = Duration::from_millis(100);

/// The open connections.
#[derive(Debug)]
pub(super) struct ConnectionTable {
    most: usize,
    most_unproven: usize,
    grace: Duration,
    timeouts: Timeouts,
    counters: Arc<Counters>,
    start: Instant,
    list: Mutex<List>,
    /// The number of connections without an admitted request.
    unproven: AtomicUsize,
    /// Notified when a connection has closed, or is no longer unproven.
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
    /// The last read has found nothing.
    awaits_bytes: AtomicBool,
    /// A request was admitted: its credentials were right, or none were needed.
    is_proven: AtomicBool,
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
    pub(super) fn new(most: usize, timeouts: Timeouts, counters: Arc<Counters>) -> Arc<Self> {
        Arc::new(Self {
            most,
            most_unproven: MOST_UNPROVEN,
            grace: GRACE,
            timeouts,
            counters,
            start: Instant::now(),
            list: Mutex::default(),
            unproven: AtomicUsize::new(0),
            left: Notify::new(),
        })
    }

    /// Accepts a connection, evicting another one if necessary; waits while all are busy.
    pub(super) async fn acquire(self: &Arc<Self>, address: IpAddr) -> Permit {
        loop {
            let left = self.left.notified();
            {
                let mut list = self.lock();
                let is_full = list.connections.len() >= self.most;
                if !is_full && self.unproven.load(Ordering::Relaxed) < self.most_unproven {
                    return self.insert(&mut list, address);
                }
                self.evict(&list.connections, |connection| is_full || !connection.is_proven());
            }
            let _ = timeout(self.grace.max(Duration::from_millis(1)), left).await; // by then others may be evicted
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
            awaits_bytes: AtomicBool::new(false),
            is_proven: AtomicBool::new(false),
            task: OnceLock::new(),
        });
        connection.lasts();
        self.unproven.fetch_add(1, Ordering::Relaxed);
        list.connections.insert(number, connection.clone());
        self.counters.connections.inc();
        self.counters.connections_accepted.inc();
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

    /// Evicts several of these connections at once: a search for each new one would make a flood expensive.
    fn evict(&self, connections: &HashMap<u64, Arc<Connection>>, of: impl Fn(&Connection) -> bool) {
        let candidates = || connections.values().filter(|connection| of(connection));
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for connection in candidates() {
            *counts.entry(connection.address).or_default() += 1;
        }
        let idle = || candidates().filter(|connection| connection.is_evictable(self.grace));
        let Some(most) = idle().map(|connection| counts[&connection.address]).max() else { return };
        let mut crowd: Vec<&Arc<Connection>> =
            idle().filter(|connection| counts[&connection.address] == most).collect();
        crowd.sort_unstable_by_key(|connection| (connection.has_asked(), connection.since.load(Ordering::Relaxed)));
        for connection in crowd.into_iter().take(candidates().count() / 100 + 1) {
            connection.evict(); // it is idle, so no request is interrupted
            self.counters.connections_evicted.inc();
            tracing::debug!(from = %connection.address, "a connection made room for others");
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Records that bytes have arrived.
    pub(super) fn heard(&self) {
        self.awaits_bytes.store(false, Ordering::Relaxed);
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// Records that bytes are awaited. While a request is processed these are the rest of its body: hyper reads no
    /// further.
    pub(super) fn awaits(&self) {
        self.awaits_bytes.store(true, Ordering::Relaxed);
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

    fn is_proven(&self) -> bool {
        self.is_proven.load(Ordering::Relaxed)
    }

    /// Returns whether no request would be interrupted, nor one that is probably on its way.
    fn is_evictable(&self, grace: Duration) -> bool {
        let lasted = self.start.elapsed().saturating_sub(Duration::from_micros(self.since.load(Ordering::Relaxed)));
        match self.phase() {
            Phase::Idle | Phase::Head => self.has_asked() || lasted >= grace,
            Phase::Busy => !self.is_proven() && self.awaits_bytes.load(Ordering::Relaxed) && lasted >= grace,
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

impl Permit {
    /// Records that a request of the connection was admitted.
    pub(super) fn prove(&self) {
        if !self.connection.is_proven() && !self.connection.is_proven.swap(true, Ordering::Relaxed) {
            self.connections.unproven.fetch_sub(1, Ordering::Relaxed);
            self.connections.left.notify_one();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections.lock().connections.remove(&self.number);
        self.connections.counters.connections.dec();
        if !self.connection.is_proven() {
            self.connections.unproven.fetch_sub(1, Ordering::Relaxed);
        }
        self.connections.left.notify_one();
    }
}

#[cfg(test)]
#[path = "limit_test.rs"] // a child module, which sees the fields
mod tests;

//! Who is connected, what each is doing, and who has to leave when the house is full.
//!
//! Whoever has most connections loses one: of those, one that never asked anything before one that did, then the one
//! that has been idle longest. So a flood from one place makes room at its own cost. Nobody is interrupted in the
//! middle of a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::timeouts::Patience;

/// Those who are connected.
#[derive(Debug)]
pub(crate) struct Guests {
    most: usize,
    patience: Patience,
    start: Instant,
    list: Mutex<List>,
    /// Somebody has left.
    left: Notify,
}

#[derive(Debug, Default)]
struct List {
    next: u64,
    guests: HashMap<u64, Arc<Guest>>,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) address: IpAddr,
    pub(crate) patience: Patience,
    start: Instant,
    /// How many requests there were, and in the lowest two bits the phase.
    phase: AtomicU64,
    /// When the phase was first seen to last, in microseconds since `start`.
    since: AtomicU64,
    /// The task that serves it.
    task: OnceLock<AbortHandle>,
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle = 0,
    /// A head has begun to arrive.
    Head = 1,
    /// A request is being worked on.
    Busy = 2,
}

/// A place among the guests, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    guests: Arc<Guests>,
    number: u64,
    pub(crate) guest: Arc<Guest>,
}

impl Guests {
    pub(crate) fn new(most: usize, patience: Patience) -> Arc<Self> {
        Arc::new(Self { most, patience, start: Instant::now(), list: Mutex::default(), left: Notify::new() })
    }

    /// Lets somebody in, if need be in the place of somebody else; waits while everybody is busy.
    pub(crate) async fn welcome(self: &Arc<Self>, address: IpAddr) -> Place {
        loop {
            let left = self.left.notified();
            {
                let mut list = self.lock();
                if list.guests.len() < self.most {
                    return self.seat(&mut list, address);
                }
                shed(&list.guests, self.most / 100 + 1);
            }
            left.await;
        }
    }

    fn seat(self: &Arc<Self>, list: &mut List, address: IpAddr) -> Place {
        let number = list.next;
        list.next += 1;
        let guest = Arc::new(Guest {
            address,
            patience: self.patience,
            start: self.start,
            phase: AtomicU64::new(Phase::Idle as u64),
            since: AtomicU64::new(0),
            task: OnceLock::new(),
        });
        guest.lasts();
        list.guests.insert(number, guest.clone());
        Place { guests: self.clone(), number, guest }
    }

    /// Sends away whoever has begun nothing that could be finished; for the end.
    pub(crate) fn send_strangers_away(&self) {
        for guest in self.lock().guests.values() {
            if guest.is_strange() {
                guest.send_away();
            }
        }
    }

    /// Sends everybody away.
    pub(crate) fn show_out(&self) {
        for guest in self.lock().guests.values() {
            guest.send_away();
        }
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends some away, several at once: looking through all of them for each newcomer would make a flood expensive.
fn shed(guests: &HashMap<u64, Arc<Guest>>, several: usize) {
    let mut counts: HashMap<IpAddr, usize> = HashMap::new();
    for guest in guests.values() {
        *counts.entry(guest.address).or_default() += 1;
    }
    let idle = || guests.values().filter(|guest| guest.phase() != Phase::Busy);
    let Some(crowd) = idle().map(|guest| counts[&guest.address]).max() else { return };
    let mut crowd: Vec<&Arc<Guest>> = idle().filter(|guest| counts[&guest.address] == crowd).collect();
    crowd.sort_unstable_by_key(|guest| (guest.has_asked(), guest.since.load(Ordering::Relaxed)));
    for guest in crowd.into_iter().take(several) {
        guest.send_away(); // it waits, so nothing is cut in the middle
        tracing::debug!(from = %guest.address, "a connection made room for others");
    }
}

impl Guest {
    /// Bytes have arrived.
    pub(crate) fn heard(&self) {
        if self.phase() == Phase::Idle {
            self.enter(Phase::Head);
        }
    }

    /// A whole head has arrived, and a request begins.
    pub(crate) fn begin(&self) {
        let asked = self.phase.load(Ordering::Relaxed) >> 2;
        self.phase.store((asked + 1) << 2 | Phase::Busy as u64, Ordering::Relaxed);
    }

    /// The request has been answered.
    pub(crate) fn end(&self) {
        self.enter(Phase::Idle);
    }

    /// What it is doing, as a number that is another one after each request.
    pub(crate) fn doing(&self) -> u64 {
        self.phase.load(Ordering::Relaxed)
    }

    /// What it is doing now takes longer than a moment: its time is counted from here.
    pub(crate) fn lasts(&self) {
        let since = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.since.store(since, Ordering::Relaxed);
    }

    /// What to end when the place is needed for somebody else.
    pub(crate) fn served_by(&self, task: AbortHandle) {
        let _ = self.task.set(task); // there is one
    }

    fn send_away(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Until when the phase it is in may last. A request has limits of its own.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let since = self.start + Duration::from_micros(self.since.load(Ordering::Relaxed));
        match self.phase() {
            Phase::Idle if self.has_asked() => Some(since + self.patience.idle),
            Phase::Idle => Some(since + self.patience.newcomer),
            Phase::Head => Some(since + self.patience.head),
            Phase::Busy => None,
        }
    }

    /// It has sent part of a head, or nothing. Who has been answered may still be reading that.
    fn is_strange(&self) -> bool {
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

impl Drop for Place {
    fn drop(&mut self) {
        self.guests.lock().guests.remove(&self.number);
        self.guests.left.notify_one();
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

    fn seat(guests: &Arc<Guests>, last: u8) -> Place {
        let place = poll_once(Box::pin(guests.welcome(address(last))).as_mut()).unwrap();
        place.guest.served_by(tokio::spawn(std::future::pending::<()>()).abort_handle());
        place
    }

    /// Once the tasks have had their turn.
    async fn must_leave(place: &Place) -> bool {
        tokio::task::yield_now().await;
        place.guest.task.get().unwrap().is_finished()
    }

    #[tokio::test]
    async fn a_crowd_makes_room_at_its_own_cost() {
        let guests = Guests::new(4, Patience::default());
        let alone = seat(&guests, 1);
        let crowd: Vec<Place> = (0..3).map(|_| seat(&guests, 2)).collect();
        crowd[0].guest.begin();
        crowd[0].guest.end();
        crowd[1].guest.begin();
        {
            let mut next = Box::pin(guests.welcome(address(3)));
            assert!(poll_once(next.as_mut()).is_none());
        }
        assert!(must_leave(&crowd[2]).await, "the one that never asked");
        assert!(!must_leave(&crowd[0]).await && !must_leave(&crowd[1]).await && !must_leave(&alone).await);
        drop(crowd);
        drop(alone);
    }

    #[tokio::test]
    async fn nobody_is_interrupted_and_who_comes_waits() {
        let guests = Guests::new(1, Patience::default());
        let first = seat(&guests, 1);
        first.guest.begin();
        let mut next = Box::pin(guests.welcome(address(2)));
        assert!(poll_once(next.as_mut()).is_none());
        assert!(!must_leave(&first).await);
        drop(first);
        assert!(poll_once(next.as_mut()).is_some());
    }

    #[tokio::test]
    async fn a_head_has_less_time_than_silence() {
        let guests = Guests::new(1, Patience::default());
        let place = seat(&guests, 1);
        let guest = &place.guest;
        let left = |guest: &Guest| guest.deadline().map(|at| at.duration_since(guest.start).as_secs());
        assert_eq!(left(guest), Some(30));
        guest.heard();
        assert_eq!(left(guest), Some(10));
        guest.begin();
        assert_eq!(left(guest), None);
        guest.heard();
        assert_eq!(left(guest), None, "bytes of a body are no head");
        guest.end();
        guest.lasts();
        assert_eq!(left(guest), Some(150));
    }
}

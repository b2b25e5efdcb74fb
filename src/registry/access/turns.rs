//! Turns at work that is done one piece at a time. They are given out fairly: each address in turn, so that a flood
//! from one address waits in a queue of its own.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The most logins that may wait. Some clients wait no longer than 5 s for a response, and a hash takes about 25 ms.
const MAX_WAITING: usize = 160;

/// The queue in which a login waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Before all others: credentials that were right from their address before.
    Known,
    /// The queue of an address, which this number stands for.
    Address(u64),
}

/// Gives out turns.
#[derive(Debug)]
pub(super) struct Turns(Mutex<Queue>);

#[derive(Debug)]
struct Queue {
    is_busy: bool,
    waiting: usize,
    /// The queues that are not empty, in the order of their turns.
    lanes: VecDeque<(Lane, VecDeque<oneshot::Sender<Turn>>)>,
}

/// A turn. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn(&'static Turns);

impl Turns {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(Queue { is_busy: false, waiting: 0, lanes: VecDeque::new() }))
    }

    /// Waits for a turn. Returns none to the newest of the longest queue once too many wait.
    pub(super) async fn take(&'static self, lane: Lane) -> Option<Turn> {
        let turn = {
            let mut queue = self.lock();
            if !queue.is_busy {
                queue.is_busy = true;
                return Some(Turn(self));
            }
            queue.wait(lane)?
        };
        turn.await.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn wait(&mut self, lane: Lane) -> Option<oneshot::Receiver<Turn>> {
        if self.waiting == MAX_WAITING && !self.send_one_away(lane) {
            return None;
        }
        let (tell, told) = oneshot::channel();
        self.waiting += 1;
        match self.lanes.iter_mut().find(|(other, _)| *other == lane) {
            Some((_, waiting)) => waiting.push_back(tell),
            None if lane == Lane::Known => self.lanes.push_front((lane, VecDeque::from([tell]))),
            None => self.lanes.push_back((lane, VecDeque::from([tell]))),
        }
        Some(told)
    }

    /// Makes room in this queue, at the cost of the longest one, unless that is this queue itself.
    fn send_one_away(&mut self, lane: Lane) -> bool {
        let own = self.lanes.iter().find(|(other, _)| *other == lane).map_or(0, |(_, waiting)| waiting.len());
        let others = self.lanes.iter_mut().filter(|(other, _)| *other != Lane::Known && *other != lane);
        let Some((_, longest)) = others.max_by_key(|(_, waiting)| waiting.len()) else { return false };
        if lane != Lane::Known && longest.len() <= own + 1 {
            return false;
        }
        longest.pop_back();
        self.lanes.retain(|(_, waiting)| !waiting.is_empty());
        self.waiting -= 1;
        true
    }

    /// Returns the next one to get a turn.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let (lane, mut waiting) = self.lanes.pop_front()?;
        let next = waiting.pop_front()?; // an empty queue is removed
        self.waiting -= 1;
        match lane {
            _ if waiting.is_empty() => {}
            Lane::Known => self.lanes.push_front((lane, waiting)),
            Lane::Address(_) => self.lanes.push_back((lane, waiting)),
        }
        Some(next)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut queue = self.0.lock();
            let next = queue.next();
            queue.is_busy = next.is_some();
            next
        };
        // If the waiting login is gone, the turn comes back here and is dropped.
        drop(next.map(|next| next.send(Self(self.0))));
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiting = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    fn turns() -> &'static Turns {
        Box::leak(Box::new(Turns::new()))
    }

    fn poll(waiting: &mut Waiting) -> Poll<Option<Turn>> {
        waiting.as_mut().poll(&mut Context::from_waker(Waker::noop()))
    }

    /// What a request is told at once.
    fn now(turns: &'static Turns, lane: Lane) -> Option<Turn> {
        match poll(&mut (Box::pin(turns.take(lane)) as Waiting)) {
            Poll::Ready(turn) => turn,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// A request that waits.
    fn wait(turns: &'static Turns, lane: Lane) -> Waiting {
        let mut waiting: Waiting = Box::pin(turns.take(lane));
        assert!(poll(&mut waiting).is_pending());
        waiting
    }

    fn has_turn(waiting: &mut Waiting) -> Option<Turn> {
        match poll(waiting) {
            Poll::Ready(turn) => turn,
            Poll::Pending => None,
        }
    }

    #[test]
    fn addresses_take_turns_and_known_credentials_come_first() {
        let turns = turns();
        let first = now(turns, Lane::Address(1)).unwrap();
        let lanes = [1, 1, 1, 2, 3].map(Lane::Address).into_iter().chain([Lane::Known, Lane::Known]);
        let mut waiting: Vec<(usize, Waiting)> = lanes.map(|lane| wait(turns, lane)).enumerate().collect();
        let mut order = Vec::new();
        let mut turn = Some(first);
        while turn.take().is_some() {
            waiting.retain_mut(|(number, waiting)| {
                let has_turn = has_turn(waiting);
                let has_none = has_turn.is_none();
                if !has_none {
                    order.push(*number);
                    turn = has_turn;
                }
                has_none
            });
        }
        assert_eq!(order, [5, 6, 0, 3, 4, 1, 2]);
    }

    #[test]
    fn login_that_is_gone_gets_no_turn() {
        let turns = turns();
        let first = now(turns, Lane::Known).unwrap();
        let gone = wait(turns, Lane::Address(1));
        let mut next = wait(turns, Lane::Address(2));
        drop(gone);
        drop(first);
        drop(has_turn(&mut next).unwrap());
        assert!(now(turns, Lane::Address(3)).is_some(), "it is free");
    }

    /// A flood from one address, then from many.
    #[test]
    fn longest_queue_makes_room_for_other_addresses() {
        let turns = turns();
        let _first = now(turns, Lane::Known).unwrap();
        let mut flood: Vec<Waiting> = (0..MAX_WAITING).map(|_| wait(turns, Lane::Address(1))).collect();
        assert!(now(turns, Lane::Address(1)).is_none());
        let _others: Vec<Waiting> = (2..=MAX_WAITING as u64).map(|lane| wait(turns, Lane::Address(lane))).collect();
        assert!(now(turns, Lane::Address(0)).is_none(), "each address has one place");
        let _known = wait(turns, Lane::Known);
        flood.retain_mut(|waiting| poll(waiting).is_pending());
        assert!(flood.len() <= 1, "they have been sent away");
        assert_eq!(turns.lock().waiting, MAX_WAITING);
    }
}

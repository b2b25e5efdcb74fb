//! The queue of deadlines: which lease to check next, and when.
//!
//! A heartbeat moves the deadline in the lease alone; its entry stays where it was. When the entry is due, its
//! taker looks the lease up and puts it back at the real deadline, or expires it. So a heartbeat costs nothing
//! here, and an entry is handled at most once per timeout. An entry whose lease is gone, or has another entry by
//! now, is dropped when it is due.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::registry::model::ids::{SessionId, TenantId};

/// The owner of a lease.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Session(SessionId),
    Service(Arc<str>),
}

/// An entry of the queue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuedDeadline {
    /// The deadline, on the monotonic scale.
    pub(crate) due: u64,
    pub(crate) tenant: TenantId,
    pub(crate) owner: Owner,
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct DeadlineQueue(BinaryHeap<Reverse<QueuedDeadline>>);

impl DeadlineQueue {
    pub(crate) fn push(&mut self, due: u64, tenant: TenantId, owner: Owner) {
        self.0.push(Reverse(QueuedDeadline { due, tenant, owner }));
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<u64> {
        self.0.peek().map(|Reverse(entry)| entry.due)
    }

    /// Returns the next entry that is due.
    pub(crate) fn pop_due(&mut self, now: u64) -> Option<QueuedDeadline> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_due_in_order_of_time() {
        let mut queue = DeadlineQueue::default();
        for (due, id) in [(30, "late"), (10, "early"), (20, "middle")] {
            queue.push(due, 1, Owner::Service(id.into()));
        }
        assert_eq!(queue.next(), Some(10));
        assert_eq!(queue.pop_due(9), None);
        let order: Vec<u64> = std::iter::from_fn(|| queue.pop_due(25)).map(|entry| entry.due).collect();
        assert_eq!(order, [10, 20]);
        assert_eq!(queue.next(), Some(30));
    }
}

//! The queue of deadlines: who to look at next, and when.
//!
//! A heartbeat moves a deadline in the lease alone; its entry stays where it was. When the entry comes up, whoever
//! takes it looks the lease up and puts it back at the real deadline, or expires it. So a heartbeat costs nothing
//! here, and an entry is handled once per timeout at most. Entries whose lease is gone, or has another entry by
//! now, fall out when they come up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::records::{SessionId, TenantId};

/// Who has a deadline.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    Session(SessionId),
    Service(Arc<str>),
}

/// A deadline to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct QueuedDeadline {
    /// When, on the scale that nobody can set.
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

    /// When the next one comes up.
    pub(crate) fn next(&self) -> Option<u64> {
        self.0.peek().map(|Reverse(entry)| entry.due)
    }

    /// The next one, if it has come up.
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
    fn entries_come_up_by_time() {
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

//! The data that requests share with the commit thread: the state, and the queue of changes that wait to be committed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::hub::Hub;
use super::pending::{Pending, Scope};
use crate::registry::model::{Change, Now, TenantId};
use crate::registry::state::State;

/// The state and its queue, under one lock that is never held across an await.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) inner: Mutex<Inner>,
    /// Notified when changes were queued, or when no more will come.
    pub(super) submitted: Condvar,
    /// The requests that wait for a change.
    pub(super) hub: Arc<Hub>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) store: Store,
    /// The deadline that the expiry task waits for.
    pub(super) awaited: Option<u64>,
}

impl Shared {
    /// Takes the lock. A panic of another request that held it is a defect in that request alone.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until changes were queued, for at most `pause`; returns whether that time is over.
    pub(super) fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, pause: Duration) -> (MutexGuard<'a, Inner>, bool) {
        let (inner, waited) = self.submitted.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner);
        (inner, waited.timed_out())
    }
}

impl Inner {
    /// Lets the ids of events follow a clock that was set. The commit thread, which calls this, commits it next.
    pub(super) fn align_ids(&mut self, now: Now) {
        if !self.store.is_failing() {
            self.state.align_all_ids(now);
            let changes = self.state.take_changes();
            if !changes.is_empty() {
                drop(self.store.submit(changes)); // no request waits for it
            }
        }
    }

    /// Returns whether a deadline is earlier than the one that the expiry task waits for.
    pub(super) fn needs_earlier_wake_up(&self) -> bool {
        match (self.state.next_deadline(), self.awaited) {
            (Some(next), Some(awaited)) => next < awaited,
            (next, None) => next.is_some(),
            (None, _) => false,
        }
    }
}

/// The way of changes to the disk.
#[derive(Debug)]
pub(super) enum Store {
    /// There is no disk: everything is in memory only.
    Memory,
    /// Changes wait here for the commit thread.
    Durable(Queue),
}

/// Changes that wait to be committed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) batches: Vec<Batch>,
    /// The records that the batches change.
    pub(super) queued: Pending,
    /// The records that the running commit changes; none between commits.
    pub(super) in_flight: Option<Pending>,
    /// When the running commit began.
    pub(super) in_flight_since: Option<Instant>,
    /// Reads that wait for the running commit.
    pub(super) readers: Vec<oneshot::Sender<bool>>,
    /// The last commit has failed, and none has succeeded since.
    pub(super) failing: bool,
    /// No more changes will come.
    pub(super) closed: bool,
    /// The commit thread has ended, so no change can be stored.
    pub(super) ended: bool,
}

/// The changes of one request (none if it only waits), and the sender of their outcome.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) outcome: oneshot::Sender<bool>,
}

impl Store {
    /// Queues changes. Called while the state is locked, so that they are committed in the order in which they were
    /// made; the caller waits for the ticket afterwards. Not called while the store [fails](Self::is_failing).
    pub(super) fn submit(&mut self, changes: Vec<Change>) -> CommitTicket {
        let Self::Durable(queue) = self else { return CommitTicket::Durable };
        queue.queued.add(&changes);
        queue.push(changes)
    }

    /// For a request that changed nothing, because it found its work done or was refused: what it found must not be
    /// rolled back either, so it waits for all changes before.
    pub(super) fn all_durable(&mut self) -> CommitTicket {
        let Self::Durable(queue) = self else { return CommitTicket::Durable };
        let is_quiet = queue.queued.is_empty() && queue.in_flight.as_ref().is_none_or(Pending::is_empty);
        if is_quiet { CommitTicket::Durable } else { queue.push(Vec::new()) }
    }

    /// For a read: waits for the changes in its scope.
    pub(super) fn scope_durable(&mut self, tenant: TenantId, scope: Scope<'_>) -> CommitTicket {
        let Self::Durable(queue) = self else { return CommitTicket::Durable };
        if queue.queued.has(tenant, scope) {
            queue.push(Vec::new())
        } else if queue.in_flight.as_ref().is_some_and(|pending| pending.has(tenant, scope)) {
            let (reader, awaited) = oneshot::channel();
            queue.readers.push(reader);
            CommitTicket::Awaited(awaited)
        } else {
            CommitTicket::Durable
        }
    }

    /// Asks the commit thread to try whether the disk accepts writes again.
    pub(super) fn try_again(&mut self) -> CommitTicket {
        match self {
            Self::Durable(queue) if queue.ended => CommitTicket::RolledBack,
            Self::Durable(queue) => queue.push(Vec::new()),
            Self::Memory => CommitTicket::Durable,
        }
    }

    /// Returns whether the last commit failed. Then nothing is pending, and nothing may be submitted.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self, Self::Durable(queue) if queue.failing || queue.ended)
    }

    /// Ends the commit thread once everything is committed.
    pub(super) fn close(&mut self) {
        if let Self::Durable(queue) = self {
            queue.closed = true;
        }
    }
}

impl Queue {
    fn push(&mut self, changes: Vec<Change>) -> CommitTicket {
        let (outcome, awaited) = oneshot::channel();
        self.batches.push(Batch { changes, outcome });
        CommitTicket::Awaited(awaited)
    }
}

/// The outcome of a request's changes. The request is answered once it is known.
#[derive(Debug)]
#[must_use]
pub(super) enum CommitTicket {
    Durable,
    /// The outcome is awaited.
    Awaited(oneshot::Receiver<bool>),
    /// The changes were rolled back at once, because the disk accepts no writes.
    RolledBack,
}

impl CommitTicket {
    /// Waits until the changes are durable or rolled back; returns whether they are durable.
    pub(super) async fn durable(self) -> bool {
        match self {
            Self::Durable => true,
            Self::Awaited(outcome) => outcome.await.unwrap_or(false),
            Self::RolledBack => false,
        }
    }
}

//! Where the changes go that must survive.
//!
//! Requests put what they changed into the queue, under the lock of the state and so in its order, and wait for their
//! tickets. A thread of its own (`engine::commit`) takes whatever has gathered and commits it to the [`Backend`] at once: many
//! requests share one commit. `record` is the form of what is written, `fjall` the disk itself, `data_dir` the directory
//! and its lock, `recovery` the way back into memory, `backup` the copy that can be taken.

mod backup;
mod data_dir;
pub(super) mod fjall;
pub(super) mod record;
pub(super) mod recovery;

pub use backup::{backup, restore};
#[cfg(test)]
pub(crate) use record::EVENT;
pub(crate) use record::Write;
pub(crate) use recovery::{OpenedStore, Opener};

use std::fmt::Debug;
use std::io;

use tokio::sync::oneshot;

use super::engine::{Pending, Scope};
use super::model::Change;
use super::model::TenantId;

/// Sees a key and a value; says whether to go on.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<bool> + 'a;

/// What keeps records. A trait, so that tests can have one that fails, and so that a program without a data directory
/// does not contain what it does not use.
pub(super) trait Backend: Debug + Send + Sync {
    /// Writes all of it or nothing, and returns once it would survive a loss of power. After an error it may be there
    /// all the same.
    fn commit(&self, writes: &[Write]) -> io::Result<()>;

    /// Visits the records from the first key to before the second, which are both of events or both of none.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;

    /// The same, from the end.
    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;

    /// Visits everything there is at one point in time.
    fn dump(&self, visit: &mut Visit<'_>) -> io::Result<()>;
}

/// What requests hand over.
#[derive(Debug)]
pub(super) enum Store {
    /// Keeps nothing beyond what the registry has in memory.
    Memory,
    /// Hands it to the thread that commits.
    Backend(Queue),
}

/// What waits to be committed.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) batches: Vec<Batch>,
    /// What the batches change.
    pub(super) queued: Pending,
    /// What the commit changes that is under way; none between commits.
    pub(super) in_flight: Option<Pending>,
    /// Reads that wait for that commit.
    pub(super) readers: Vec<oneshot::Sender<bool>>,
    /// The last commit has failed, and none has succeeded since.
    pub(super) failing: bool,
    /// Nothing more will come.
    pub(super) closed: bool,
    /// The keeper is no more, so nothing can be kept.
    pub(super) ended: bool,
}

/// What one request changed (nothing if it only waits), and how it learns of its fate.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) changes: Vec<Change>,
    pub(super) receipt: oneshot::Sender<bool>,
}

impl Store {
    /// Takes changes, in the order they were made. To be called while the state is locked, so that the order is the
    /// same here and there; the wait for the receipt comes after. Never while it [fails](Self::is_failing).
    pub(super) fn submit(&mut self, changes: Vec<Change>) -> CommitTicket {
        let Self::Backend(queue) = self else { return CommitTicket::Kept };
        queue.queued.add(&changes);
        queue.push(changes)
    }

    /// For a request that changes nothing, because it found its work done, or refused to do it: what it found must not
    /// be undone either, so it waits for everything before.
    pub(super) fn kept_so_far(&mut self) -> CommitTicket {
        let Self::Backend(queue) = self else { return CommitTicket::Kept };
        let is_quiet = queue.queued.is_empty() && queue.in_flight.as_ref().is_none_or(Pending::is_empty);
        if is_quiet { CommitTicket::Kept } else { queue.push(Vec::new()) }
    }

    /// For a read: waits for the changes that it has seen, and for no others.
    pub(super) fn kept_of(&mut self, tenant: TenantId, scope: Scope<'_>) -> CommitTicket {
        let Self::Backend(queue) = self else { return CommitTicket::Kept };
        if queue.queued.has(tenant, scope) {
            queue.push(Vec::new())
        } else if queue.in_flight.as_ref().is_some_and(|pending| pending.has(tenant, scope)) {
            let (reader, awaited) = oneshot::channel();
            queue.readers.push(reader);
            CommitTicket::Awaited(awaited)
        } else {
            CommitTicket::Kept
        }
    }

    /// Has the keeper try whether the disk takes writes again.
    pub(super) fn try_again(&mut self) -> CommitTicket {
        match self {
            Self::Backend(queue) if queue.ended => CommitTicket::Undone,
            Self::Backend(queue) => queue.push(Vec::new()),
            Self::Memory => CommitTicket::Kept,
        }
    }

    /// Whether the disk takes no writes, as far as is known. Then nothing is pending, and nothing may be submitted.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self, Self::Backend(queue) if queue.failing || queue.ended)
    }

    /// Nothing more will come: the keeper ends once everything is committed.
    pub(super) fn close(&mut self) {
        if let Self::Backend(queue) = self {
            queue.closed = true;
        }
    }
}

impl Queue {
    fn push(&mut self, changes: Vec<Change>) -> CommitTicket {
        let (receipt, awaited) = oneshot::channel();
        self.batches.push(Batch { changes, receipt });
        CommitTicket::Awaited(awaited)
    }
}

/// The promise that changes will be kept. A request is answered after it was fulfilled.
#[derive(Debug)]
#[must_use]
pub(super) enum CommitTicket {
    /// They are.
    Kept,
    /// They may be.
    Awaited(oneshot::Receiver<bool>),
    /// They are undone already, because the disk takes no writes.
    Undone,
}

impl CommitTicket {
    /// Waits until the changes are kept, or undone; returns whether they are kept.
    pub(super) async fn fulfilled(self) -> bool {
        match self {
            Self::Kept => true,
            Self::Awaited(receipt) => receipt.await.unwrap_or(false),
            Self::Undone => false,
        }
    }
}

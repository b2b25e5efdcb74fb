//! Where the changes go that must survive.
//!
//! Requests put what they changed into the queue, under the lock of the state and so in its order, and wait for their
//! receipts. A thread of its own ([`keeper`]) takes whatever has gathered and commits it to the [`Disk`] at once: many
//! requests share one commit. `record` is the form of what is written, `files` the disk itself, `folder` the directory
//! it is in and who has it, `start` the way back into memory, `backup` the copy that can be taken.

pub(crate) mod backup;
pub(crate) mod files;
pub(crate) mod folder;
pub(crate) mod keeper;
pub(crate) mod record;
pub(crate) mod start;

use std::fmt::Debug;
use std::io;

use tokio::sync::oneshot;

use super::changes::Change;
use record::Write;

/// Sees a key and a value; says whether to go on.
pub(crate) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<bool> + 'a;

/// What keeps records. A trait, so that tests can have one that fails, and so that a program without a data directory
/// does not contain what it does not use.
pub(crate) trait Disk: Debug + Send + Sync {
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
pub(crate) enum Store {
    /// Keeps nothing beyond what the registry has in memory.
    Memory,
    /// Hands it to the thread that commits.
    Disk(Queue),
}

/// What waits to be committed.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    batches: Vec<Batch>,
    /// The keeper is committing what it took before.
    in_flight: bool,
    /// Nothing more will come.
    closed: bool,
    /// The keeper is no more, so nothing can be kept.
    ended: bool,
}

/// What one request changed, and how it learns of its fate.
#[derive(Debug)]
pub(crate) struct Batch {
    changes: Vec<Change>,
    receipt: oneshot::Sender<bool>,
}

impl Store {
    /// Takes changes, in the order they were made. To be called while the state is locked, so that the order is the
    /// same here and there; the wait for the receipt comes after. With `all`, the receipt is for everything before,
    /// too, even if there are no changes: what was found done must not be undone either.
    pub(crate) fn submit(&mut self, changes: Vec<Change>, all: bool) -> Receipt {
        let Self::Disk(queue) = self else { return Receipt::Kept };
        let waits = all && (queue.in_flight || !queue.batches.is_empty());
        if changes.is_empty() && !waits {
            return Receipt::Kept;
        }
        let (receipt, awaited) = oneshot::channel();
        queue.batches.push(Batch { changes, receipt });
        Receipt::Awaited(awaited)
    }

    /// Whether there is nobody any more who keeps anything.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self, Self::Disk(queue) if queue.ended)
    }

    /// Nothing more will come: the keeper ends once everything is committed.
    pub(crate) fn close(&mut self) {
        if let Self::Disk(queue) = self {
            queue.closed = true;
        }
    }
}

/// The promise that changes will be kept. A request is answered after it was fulfilled.
#[derive(Debug)]
#[must_use]
pub(crate) enum Receipt {
    /// They are.
    Kept,
    /// They may be.
    Awaited(oneshot::Receiver<bool>),
    /// They are undone.
    Refused,
}

impl Receipt {
    /// Waits until the changes are kept, or undone; returns whether they are kept.
    pub(crate) async fn fulfilled(self) -> bool {
        match self {
            Self::Kept => true,
            Self::Awaited(receipt) => receipt.await.unwrap_or(false),
            Self::Refused => false,
        }
    }
}

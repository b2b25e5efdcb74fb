//! Where the changes go that must survive. So far they do not: this store is the memory itself.

use super::changes::Change;

/// A store.
#[derive(Debug)]
pub(crate) enum Store {
    /// Keeps nothing beyond what the registry has in memory.
    Memory,
}

impl Store {
    /// Takes changes, in the order they were made. To be called while the state is locked, so that the order is the
    /// same here and there; the wait for the receipt comes after.
    pub(crate) fn submit(&mut self, changes: Vec<Change>) -> Receipt {
        match self {
            Self::Memory => drop(changes),
        }
        Receipt::Kept
    }
}

/// The promise that changes will be kept. A request is answered after it was fulfilled.
#[derive(Debug)]
#[must_use]
pub(crate) enum Receipt {
    /// They are.
    Kept,
}

impl Receipt {
    /// Waits until the changes are kept.
    #[expect(clippy::unused_async, reason = "where a store that writes will be waited for")]
    pub(crate) async fn fulfilled(self) {
        match self {
            Self::Kept => {}
        }
    }
}

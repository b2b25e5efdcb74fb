//! The store: records that survive a restart, behind the trait [`Backend`].
//!
//! In reading order: `record` is the form of records, with `value` for their contents; `fjall` keeps them on disk, in
//! the directory that `data_dir` locks; `recovery` reads them back into memory; `backup` copies them.

mod backup;
mod data_dir;
pub(super) mod fjall;
pub(super) mod record;
pub(super) mod recovery;
mod value;

pub use backup::{backup, restore};
pub(crate) use record::RecordWrite;
pub(crate) use recovery::{OpenedStore, Opener};

use std::fmt::Debug;
use std::io;

/// Receives a key and a value; returns whether to continue.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<bool> + 'a;

/// A place that keeps records. A trait, so that tests can have one that fails, and so that a program without a data
/// directory does not contain code that it does not use.
pub(super) trait Backend: Debug + Send + Sync {
    /// Writes the changes of some requests, in order, and returns once they would survive a loss of power. A backend
    /// may divide them, but only between requests.
    fn commit(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError>;

    /// Visits the records from the first key up to, and not including, the second.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;

    /// The same, in reverse order.
    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;

    /// Visits all records as they are at one moment.
    fn dump(&self, visit: &mut Visit<'_>) -> io::Result<()>;
}

/// Why a commit did not succeed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The changes may be there all the same, and the next commit may succeed.
    Failed(io::Error),
    /// The data is another process's now. Nothing was written, and nothing will be.
    #[cfg_attr(not(test), expect(dead_code, reason = "a data directory is locked; shared storage returns it"))]
    Fenced,
}

impl From<io::Error> for CommitError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<CommitError> for io::Error {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed(error) => error,
            CommitError::Fenced => Self::other("another process has taken the data over"),
        }
    }
}

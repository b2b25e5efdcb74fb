//! The store: records that survive a restart, behind the trait [`Backend`].
//!
//! In reading order: `record` is the form of records, with `value` for their contents; `fjall` keeps them on disk, in
//! the directory that `data_dir` locks; `recovery` reads them back into memory; `backup` copies them to
//! a `backup_file`.

mod backup;
mod backup_file;
mod data_dir;
#[cfg(feature = "etcd")]
pub(super) mod etcd;
pub(super) mod fjall;
pub(super) mod record;
pub(super) mod recovery;
mod value;

pub use backup::{backup, restore};
#[cfg(feature = "etcd")]
pub use etcd::{EtcdConfig, backup_etcd};
pub(crate) use record::RecordWrite;
pub(crate) use recovery::{OpenedStore, Opener};

use std::fmt::Debug;
use std::io;

use crate::registry::model::{TenantId, Uuid1};
use record::event_key;

/// Receives a key and a value; returns whether to continue.
pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> io::Result<bool> + 'a;

/// The most events that a backend removes at a time if it removes them one by one.
pub(super) const REMOVED_AT_A_TIME: usize = 2_000;

/// Events of a tenant, from the first id up to, and not including, the second.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventRange {
    pub(super) tenant: TenantId,
    pub(super) from: Uuid1,
    pub(super) until: Uuid1,
}

/// A place that keeps records. A trait, so that tests can have one that fails, and so that a program without a data
/// directory does not contain code that it does not use.
pub(super) trait Backend: Debug + Send + Sync {
    /// Returns what log lines call it.
    fn name(&self) -> &'static str {
        "the disk"
    }

    /// Writes the changes of some requests, in order, and returns once they would survive a loss of power. A backend
    /// may divide them, but only between requests.
    fn commit(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError>;

    /// Visits the records from the first key up to, and not including, the second.
    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;

    /// The same, in reverse order.
    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()>;

    /// Visits all records as they are at one moment.
    fn dump(&self, visit: &mut Visit<'_>) -> io::Result<()>;

    /// Removes old events, at most so many that no commit waits for long; returns how many of the ranges are done. A
    /// backend may keep events of which it stores newer ones together.
    fn remove_events(&self, ranges: &[EventRange]) -> Result<usize, CommitError> {
        let (mut old, mut done) = (Vec::new(), 0);
        for EventRange { tenant, from, until } in ranges {
            self.scan(&event_key(*tenant, *from), &event_key(*tenant, *until), &mut |key, _| {
                old.push(RecordWrite { key: key.to_vec(), value: None });
                Ok(old.len() < REMOVED_AT_A_TIME)
            })?;
            if old.len() >= REMOVED_AT_A_TIME {
                break;
            }
            done += 1;
        }
        if !old.is_empty() {
            self.commit(std::slice::from_ref(&old))?;
        }
        Ok(done)
    }
}

/// Why a commit did not succeed.
#[derive(Debug)]
pub(super) enum CommitError {
    /// The changes may be there all the same, and the next commit may succeed.
    Failed(io::Error),
    /// The data is another process's now. Nothing more will be written.
    #[cfg_attr(
        not(any(test, feature = "etcd")),
        expect(dead_code, reason = "a data directory is locked; shared storage returns it")
    )]
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

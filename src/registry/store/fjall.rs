//! The disk: a log-structured store (fjall) with two keyspaces, one for the records that are read as a whole at the
//! start, one for events, of which there may be many more.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};

use super::CommitError;
use super::record::{RecordWrite, TOKEN_KEYS, is_event};
use super::{Backend, Visit};

/// How much is collected in memory before it is sorted into files, for each keyspace. Small: the whole registry is in
/// memory already.
const MEMTABLE: u64 = 4 * 1024 * 1024;
/// The cache of file blocks. Only old events are read while the registry runs.
const CACHE: u64 = 2 * 1024 * 1024;
/// The most bytes of logs before they are cleared; the least that fjall accepts.
const JOURNALS: u64 = 64 * 1024 * 1024;

/// The store in a directory.
#[derive(Debug)]
pub(crate) struct FjallBackend {
    path: PathBuf,
    place: StoreLock,
    /// None while it cannot be opened again after a failure.
    open: RwLock<Option<Arc<Open>>>,
}

/// Identifies the store that was opened: device and inode of its first file, and of
/// the lock beside it, if there is one.
type StoreLock = ((u64, u64), Option<(u64, u64)>);

struct Open {
    database: Database,
    records: Keyspace,
    events: Keyspace,
    /// It must be opened again, for which all users must have dropped it.
    is_over: AtomicBool,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Open")
    }
}

impl FjallBackend {
    /// Opens the store in this directory, or creates one.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        make_private(path)?;
        let open = Open::at(path).map_err(io_error)?;
        Ok(Self { path: path.to_owned(), place: place(path)?, open: RwLock::new(Some(Arc::new(open))) })
    }

    /// Checks the path: writes to a directory that was moved would be acknowledged, and not found at the next start.
    fn check_place(&self) -> io::Result<()> {
        if place(&self.path).is_ok_and(|place| place == self.place) {
            return Ok(());
        }
        let cure = "was moved, removed or replaced while it was used; put it back, or restart the registry";
        Err(io::Error::other(format!("{} {cure}", self.path.display())))
    }

    fn read<T>(&self, act: impl FnOnce(&Open) -> io::Result<T>) -> io::Result<T> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        act(open.as_ref().ok_or_else(closed)?)
    }

    /// Opens the store again: after a failure fjall accepts no writes until then. The new one reads what is really
    /// there. In an empty directory it would create a new store, and all earlier data would be lost.
    fn reopen(&self) -> io::Result<()> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = open.take() {
            old.is_over.store(true, Ordering::Relaxed); // it must be gone first: it holds the lock
        }
        self.check_place()?;
        let again = Open::at(&self.path).map_err(io_error)?;
        if !again.records.contains_key(TOKEN_KEYS).map_err(io_error)? {
            return Err(io::Error::other(format!("what was in {} is gone; restore a backup", self.path.display())));
        }
        *open = Some(Arc::new(again));
        Ok(())
    }
}

impl Backend for FjallBackend {
    fn commit(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
        self.check_place()?;
        if self.open.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            self.reopen()?;
        }
        let committed = self.read(|open| open.commit(requests.iter().flatten()).map_err(io_error));
        if committed.is_err()
            && let Err(error) = self.reopen()
        {
            tracing::warn!(%error, "old events cannot be read until the store can be opened again");
        }
        Ok(committed?)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        self.read(|open| each(open.keyspace(from).range(from..to), visit))
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        self.read(|open| each(open.keyspace(from).range(from..to).rev(), visit))
    }

    fn dump(&self, visit: &mut Visit<'_>) -> io::Result<()> {
        // Not under the lock: the visitor may be slow, and commits would wait for it.
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner).clone();
        let open = open.ok_or_else(closed)?;
        let mut visit = |key: &[u8], value: &[u8]| {
            if open.is_over.load(Ordering::Relaxed) { Err(closed()) } else { visit(key, value) }
        };
        let snapshot = open.database.snapshot();
        each(snapshot.iter(&open.records), &mut visit)?;
        each(snapshot.iter(&open.events), &mut visit)
    }
}

fn each(records: impl Iterator<Item = fjall::Guard>, visit: &mut Visit<'_>) -> io::Result<()> {
    for record in records {
        let (key, value) = record.into_inner().map_err(io_error)?;
        if !visit(&key, &value)? {
            break;
        }
    }
    Ok(())
}

/// Makes the directory private, whatever the umask. A directory that belongs to
/// another user, as on shared volumes, may be acceptable all the same.
fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.mode() & 0o777 != 0o700
        && let Err(error) = fs::set_permissions(path, Permissions::from_mode(0o700))
    {
        tracing::warn!(%error, "{} cannot be closed to others; give it to this user", path.display());
    }
    Ok(())
}

fn closed() -> io::Error {
    io::Error::other("the store must be opened again after a failure, and was not yet")
}

fn place(path: &Path) -> io::Result<StoreLock> {
    let identity = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
    Ok((identity(&path.join("version"))?, identity(&path.with_file_name("lock")).ok()))
}

impl Open {
    fn at(path: &Path) -> fjall::Result<Self> {
        let database = Database::builder(path)
            .cache_size(CACHE)
            .max_journaling_size(JOURNALS)
            .worker_threads(1)
            .manual_journal_persist(true) // every commit syncs
            .open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE).expect_point_read_hits(true);
        let records = database.keyspace("records", options)?;
        let events = database.keyspace("events", options)?;
        // fjall syncs the content of a new keyspace, but not its name.
        File::open(path.join("keyspaces"))?.sync_all()?;
        Ok(Self { database, records, events, is_over: AtomicBool::new(false) })
    }

    fn keyspace(&self, key: &[u8]) -> &Keyspace {
        if is_event(key) { &self.events } else { &self.records }
    }

    fn commit<'a>(&self, writes: impl Iterator<Item = &'a RecordWrite>) -> fjall::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for RecordWrite { key, value } in writes {
            match value {
                Some(value) => batch.insert(self.keyspace(key), &key[..], &value[..]),
                None => batch.remove(self.keyspace(key), &key[..]),
            }
        }
        batch.commit()
    }
}

fn io_error(error: fjall::Error) -> io::Error {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => error,
        other => io::Error::other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn put(key: &[u8]) -> RecordWrite {
        RecordWrite { key: key.to_vec(), value: Some(b"x".to_vec()) }
    }

    /// A reader of a copy may stop reading, and the next commit must not wait for it.
    #[test]
    fn copy_ends_when_the_store_is_reopened() {
        let folder = tempfile::tempdir().unwrap();
        let files = FjallBackend::open(&folder.path().join("store")).unwrap();
        files.commit(&[vec![put(TOKEN_KEYS)], vec![put(b"m/other")]]).unwrap();
        let (began, begun) = mpsc::channel();
        let (go_on, told) = mpsc::channel::<()>();
        let files = &files;
        thread::scope(|scope| {
            let copy = scope.spawn(move || {
                files.dump(&mut |_, _| {
                    began.send(()).unwrap();
                    let _ = told.recv();
                    Ok(true)
                })
            });
            begun.recv().unwrap();
            let (ended, end) = mpsc::channel();
            scope.spawn(move || ended.send(files.reopen()).unwrap());
            let end = end.recv_timeout(Duration::from_secs(20));
            drop(go_on);
            assert!(end.is_ok_and(|reopened| reopened.is_err()), "it is refused, but not delayed");
            assert!(copy.join().unwrap().is_err());
        });
        files.reopen().unwrap();
    }

    #[test]
    fn missing_store_is_not_created_again() {
        let folder = tempfile::tempdir().unwrap();
        let [path, aside] = ["store", "aside"].map(|name| folder.path().join(name));
        let files = FjallBackend::open(&path).unwrap();
        files.commit(&[vec![put(TOKEN_KEYS)]]).unwrap();
        fs::rename(&path, &aside).unwrap();
        assert!(files.reopen().is_err() && !path.exists());
        fs::rename(&aside, &path).unwrap();
        files.reopen().unwrap();
        for part in fs::read_dir(&path).unwrap().map(|part| part.unwrap().path()) {
            if part.is_dir() { fs::remove_dir_all(part).unwrap() } else { fs::remove_file(part).unwrap() }
        }
        assert!(files.reopen().is_err() && fs::read_dir(&path).unwrap().count() == 0);
    }
}

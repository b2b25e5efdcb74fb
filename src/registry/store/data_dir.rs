//! The data directory, and its lock.
//!
//! `lock` is locked by the process that uses the directory, and names it. `store` is the store itself; it is put in
//! place as a whole, so that a directory never holds half of a restored one. `backup.sock` is the socket where a
//! running registry gives copies.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::files::own::{OwnFolder, OwnSocket};
use crate::registry::Error;

/// In bytes: more than a process id with its line feed.
const LONGEST_PID: u64 = 32;

/// A data directory of this process, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes a directory, creating it if it is missing. Other users may not read it: it holds secret keys.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::DataDir { path: path.to_owned(), source };
        let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made: Vec<&Path> = path.ancestors().take_while(is_missing).collect();
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
            let cure = "it cannot be created; name another one with --data-dir";
            failed(io::Error::new(error.kind(), format!("{error}: {cure}")))
        })?;
        for folder in made {
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            match sync(parent.unwrap_or(Path::new("."))) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    // A directory that is writable and not readable is good enough.
                    tracing::warn!(
                        "{} is new, and cannot be made to outlast a loss of power: {error}",
                        folder.display()
                    );
                }
                synced => synced.map_err(failed)?,
            }
        }
        // A user that can write to it could make the registry write to any file, or read the store.
        let own = OwnFolder::open(path).map_err(failed)?;
        let mut lock = own.open_file("lock").map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = Vec::new();
                lock.take(LONGEST_PID).read_to_end(&mut pid).map_err(failed)?;
                let pid = String::from_utf8_lossy(&pid).trim().parse().ok();
                return Err(Error::InUse { path: path.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // A full disk must not keep a registry from starting: then other processes only do not learn the number.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.put_back().map_err(failed)?;
        Ok(folder)
    }

    /// Completes a restore that was killed between its two renames.
    fn put_back(&self) -> io::Result<()> {
        let old = self.old();
        if self.is_used() || !old.is_dir() {
            return Ok(());
        }
        fs::rename(&old, self.store())?;
        self.sync()?;
        tracing::warn!("a restore was interrupted; the previous store, {}, was restored", old.display());
        Ok(())
    }

    fn old(&self) -> PathBuf {
        self.path.join("store.old")
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path.join("store")
    }

    /// Listens for requests for a copy, from this user alone.
    pub(super) fn listen(&self) -> io::Result<OwnSocket> {
        OwnSocket::listen(&socket(&self.path))
    }

    /// Returns whether it contains a store.
    pub(super) fn is_used(&self) -> bool {
        self.store().exists()
    }

    /// Replaces the store; `new` is in this directory.
    pub(super) fn install(&self, new: &Path) -> io::Result<()> {
        let old = self.old();
        remove(&old)?;
        if self.is_used() {
            fs::rename(self.store(), &old)?;
        }
        if let Err(error) = fs::rename(new, self.store()) {
            self.put_back()?;
            return Err(error);
        }
        self.sync()?;
        remove(&old)
    }

    /// Makes its entries survive a loss of power: syncing a file does not sync its name.
    pub(super) fn sync(&self) -> io::Result<()> {
        sync(&self.path)
    }

    /// Returns an empty place in this directory.
    pub(super) fn scratch(&self) -> io::Result<PathBuf> {
        let scratch = self.path.join("store.new");
        remove(&scratch)?;
        Ok(scratch)
    }
}

/// The socket where a running registry gives copies.
pub(super) fn socket(path: &Path) -> PathBuf {
    path.join("backup.sock")
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

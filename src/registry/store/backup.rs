//! Copies a registry into one file, and restores it.
//!
//! The running registry makes the copy, as of one moment: a process that connects to the socket in its data
//! directory gets it, and only its user and root can connect. So no request has to be authorized, and nothing is
//! reachable over a network. If no registry is running, the directory is taken and read directly.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Backend;
use super::backup_file::{Part, Writer, read};
use super::data_dir::{DataDir, socket};
use super::fjall::FjallBackend;
use super::record;
use crate::registry::Error;

/// How many records are restored at once.
const BATCH: usize = 10_000;

/// Writes a copy of the registry in a data directory to a file, which then exists as a whole or not at all. Returns the
/// number of its records.
///
/// # Errors
///
/// [`Error::Backup`], also if the file exists and is no regular file; [`Error::DataDir`].
pub fn backup(data_dir: &Path, file: &Path) -> Result<u64, Error> {
    let failed = |source| Error::Backup { path: file.to_owned(), source };
    let no_dir = |source| Error::DataDir { path: data_dir.to_owned(), source };
    if !data_dir.join("store").try_exists().map_err(no_dir)? {
        let cure = "there is no registry in it; name the directory of the registry with --data-dir";
        return Err(no_dir(io::Error::new(io::ErrorKind::NotFound, cure)));
    }
    let (part, to) = Part::create(file).map_err(failed)?;
    copy(data_dir, file, to)?;
    part.install().map_err(failed)
}

fn copy(data_dir: &Path, file: &Path, mut to: File) -> Result<(), Error> {
    let failed = |source| Error::Backup { path: file.to_owned(), source };
    match UnixStream::connect(socket(data_dir)) {
        Ok(mut registry) => io::copy(&mut registry, &mut to).and_then(|_| to.sync_all()).map_err(failed),
        Err(_) => {
            let folder = DataDir::take(data_dir)?; // fails if a registry uses it that does not answer
            let files = FjallBackend::open(&folder.store())
                .map_err(|source| Error::DataDir { path: data_dir.to_owned(), source })?;
            write(&files, &mut to).and_then(|()| to.sync_all()).map_err(failed)
        }
    }
}

/// Verifies a copy, and makes it the registry of a data directory. Replaces a registry that is there only with
/// `force`. Returns the number of records.
///
/// # Errors
///
/// [`Error::Backup`] if the copy is damaged; then nothing was changed. [`Error::Occupied`], [`Error::InUse`],
/// [`Error::DataDir`].
pub fn restore(file: &Path, data_dir: &Path, force: bool) -> Result<u64, Error> {
    let broken = |source| Error::Backup { path: file.to_owned(), source };
    let failed = |source| Error::DataDir { path: data_dir.to_owned(), source };
    let records = read(file, |_, _| Ok(())).map_err(broken)?;
    let folder = DataDir::take(data_dir)?;
    if folder.is_used() && !force {
        return Err(Error::Occupied(data_dir.to_owned()));
    }
    let scratch = folder.scratch().map_err(failed)?;
    let restored = build(file, &scratch).and_then(|()| folder.install(&scratch));
    if restored.is_err() {
        let _ = folder.scratch(); // a part of it is useless, and may fill the disk
    }
    restored.map_err(failed)?;
    Ok(records)
}

/// Makes a store of a copy.
fn build(file: &Path, store: &Path) -> io::Result<()> {
    let files = FjallBackend::open(store)?;
    let mut batch = Vec::new();
    read(file, |key, value| {
        batch.push(record::RecordWrite { key: key.to_vec(), value: Some(value.to_vec()) });
        if batch.len() < BATCH { Ok(()) } else { Ok(files.commit(&[std::mem::take(&mut batch)])?) }
    })?;
    Ok(files.commit(&[batch])?)
}

/// Writes all records as of this moment.
pub(super) fn write(disk: &dyn Backend, to: &mut impl Write) -> io::Result<()> {
    let mut writer = Writer::begin(to)?;
    disk.dump(&mut |key, value| {
        writer.put(key, value)?;
        Ok(true)
    })?;
    writer.end()
}

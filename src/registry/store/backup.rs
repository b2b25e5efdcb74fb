//! Copies a registry into one file, and restores it.
//!
//! The running registry makes the copy, as of one moment: a process that connects to the socket in its data
//! directory gets it, and only its user and root can connect. So no request has to be authorized, and nothing is
//! reachable over a network. If no registry is running, the directory is taken and read directly.
//!
//! The file: a line that names the format; for each record the lengths of key and value, key and value; a length that
//! no key has, and a checksum of everything before.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use siphasher::sip128::{Hasher128, SipHasher24};

use super::Backend;
use super::data_dir::{DataDir, socket};
use super::fjall::FjallBackend;
use super::record;
use super::record::META;
use crate::files;
use crate::registry::Error;

const HEAD: &[u8] = b"service-registry backup 1\n";
/// In the place of the next key's length.
const END: u32 = u32::MAX;
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
    check_target(file).map_err(failed)?;
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{:08x}.part", fastrand::u32(..))); // of this backup alone
    let part = Path::new(&name);
    let copied = copy(data_dir, file, part);
    let records = copied.and_then(|()| {
        let records = read(part, |_, _| Ok(())).map_err(failed)?;
        fs::rename(part, file).map_err(failed)?;
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(records)
    });
    if records.is_err() {
        let _ = fs::remove_file(part); // an incomplete copy is useless
    }
    records
}

/// Refuses a file that is no regular one: renaming would replace it, even /dev/null.
fn check_target(file: &Path) -> io::Result<()> {
    let is_good = match fs::symlink_metadata(file) {
        Ok(there) => there.is_file(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => file != Path::new("-"),
        Err(error) => return Err(error),
    };
    let cure = "only a regular file is replaced; give a file to write to";
    if is_good { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, cure)) }
}

fn copy(data_dir: &Path, file: &Path, part: &Path) -> Result<(), Error> {
    let failed = |source| Error::Backup { path: file.to_owned(), source };
    let no_dir = |source| Error::DataDir { path: data_dir.to_owned(), source };
    if !data_dir.join("store").try_exists().map_err(no_dir)? {
        let cure = "there is no registry in it; name the directory of the registry with --data-dir";
        return Err(no_dir(io::Error::new(io::ErrorKind::NotFound, cure)));
    }
    let mut to = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(part) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(failed(files::own::missing(part.parent())));
        }
        made => made.map_err(failed)?,
    };
    match UnixStream::connect(socket(data_dir)) {
        Ok(mut registry) => io::copy(&mut registry, &mut to).and_then(|_| to.sync_all()).map_err(failed),
        Err(_) => {
            let folder = DataDir::take(data_dir)?; // fails if a registry uses it that does not answer
            let files = FjallBackend::open(&folder.store()).map_err(no_dir)?;
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
    let mut to = Sealing { to: BufWriter::new(to), seal: SipHasher24::new() };
    to.write_all(HEAD)?;
    disk.dump(&mut |key, value| {
        to.put_length(key.len())?;
        to.put_length(value.len())?;
        to.write_all(key)?;
        to.write_all(value)?;
        Ok(true)
    })?;
    to.write_all(&END.to_be_bytes())?;
    let seal = to.seal.finish128().as_bytes();
    to.to.write_all(&seal)?;
    to.to.flush()
}

/// Reads a copy to its end. Fails unless it is complete.
fn read(file: &Path, mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<u64> {
    let opened = files::open(file)?;
    let whole = opened.metadata()?.len();
    let mut from = Sealed { from: BufReader::new(opened), seal: SipHasher24::new() };
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut head = [0; HEAD.len()];
    from.take(&mut head)?;
    if head != HEAD {
        return Err(broken("this is no backup of a service registry"));
    }
    let mut records = 0;
    let (mut key, mut value) = (Vec::new(), Vec::new());
    loop {
        let key_length = from.length()?;
        if key_length == END {
            break;
        }
        let value_length = from.length()?;
        // A length that cannot be true: memory would be allocated for it before the damage is found.
        if u64::from(key_length) + u64::from(value_length) > whole {
            return Err(broken("it is damaged: a record is longer than the file"));
        }
        key.resize(key_length as usize, 0);
        value.resize(value_length as usize, 0);
        from.take(&mut key)?;
        from.take(&mut value)?;
        if key.first() != Some(&META) && record::decode(&key, &value).is_none() {
            return Err(broken("it has a record that cannot be read"));
        }
        visit(&key, &value)?;
        records += 1;
    }
    let mut seal = [0; 16];
    from.from.read_exact(&mut seal)?;
    if seal != from.seal.finish128().as_bytes() || from.from.read(&mut [0])? != 0 {
        return Err(broken("it is damaged: the checksum is another"));
    }
    Ok(records)
}

/// Writes, and computes the checksum.
struct Sealing<W: Write> {
    to: BufWriter<W>,
    seal: SipHasher24,
}

impl<W: Write> Sealing<W> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.seal.write(bytes);
        self.to.write_all(bytes)
    }

    fn put_length(&mut self, length: usize) -> io::Result<()> {
        self.write_all(&u32::try_from(length).map_err(io::Error::other)?.to_be_bytes())
    }
}

/// Reads, and computes the checksum.
struct Sealed {
    from: BufReader<File>,
    seal: SipHasher24,
}

impl Sealed {
    fn take(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => io::Error::new(error.kind(), "it ends too early: this is no whole backup"),
            _ => error,
        })?;
        self.seal.write(bytes);
        Ok(())
    }

    fn length(&mut self) -> io::Result<u32> {
        let mut length = [0; 4];
        self.take(&mut length)?;
        Ok(u32::from_be_bytes(length))
    }
}

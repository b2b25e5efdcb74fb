//! The file of a backup: a line that names the format; for each record the lengths of key and value, key and value; a
//! length that no key has, and a checksum of everything before.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use siphasher::sip128::{Hasher128, SipHasher24};

use super::record;
use super::record::META;
use crate::files;

const HEAD: &[u8] = b"service-registry backup 1\n";
/// In the place of the next key's length.
const END: u32 = u32::MAX;

/// A file that is being written beside its place. It is removed unless it is put there.
pub(super) struct Part {
    part: PathBuf,
    place: PathBuf,
    is_done: bool,
}

impl Part {
    /// Creates it, for this user alone. Refuses a place with anything but a regular file.
    pub(super) fn create(place: &Path) -> io::Result<(Self, File)> {
        check_target(place)?;
        let mut name = place.as_os_str().to_owned();
        name.push(format!(".{:08x}.part", fastrand::u32(..))); // of this backup alone
        let part = PathBuf::from(name);
        let file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(files::own::missing(part.parent()));
            }
            made => made?,
        };
        Ok((Self { part, place: place.to_owned(), is_done: false }, file))
    }

    /// Verifies it, and puts it in its place. Returns the number of its records.
    pub(super) fn install(mut self) -> io::Result<u64> {
        let records = read(&self.part, |_, _| Ok(()))?;
        fs::rename(&self.part, &self.place)?;
        self.is_done = true;
        let folder = self.place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all())?;
        Ok(records)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_file(&self.part); // an incomplete copy is useless
        }
    }
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

/// Reads a copy to its end. Fails unless it is complete.
pub(super) fn read(file: &Path, mut visit: impl FnMut(&[u8], &[u8]) -> io::Result<()>) -> io::Result<u64> {
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

/// Writes records, and computes the checksum.
pub(super) struct Writer<W: Write> {
    to: BufWriter<W>,
    seal: SipHasher24,
}

impl<W: Write> Writer<W> {
    pub(super) fn begin(to: W) -> io::Result<Self> {
        let mut writer = Self { to: BufWriter::new(to), seal: SipHasher24::new() };
        writer.write_all(HEAD)?;
        Ok(writer)
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.put_length(key.len())?;
        self.put_length(value.len())?;
        self.write_all(key)?;
        self.write_all(value)
    }

    pub(super) fn end(mut self) -> io::Result<()> {
        self.write_all(&END.to_be_bytes())?;
        let seal = self.seal.finish128().as_bytes();
        self.to.write_all(&seal)?;
        self.to.flush()
    }

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

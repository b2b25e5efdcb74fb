//! Opens files by path, so that no file at that path does harm.
//!
//! An input ([`open`], [`read`]) is a file that an option names. It is a regular file or a link to one, since container
//! platforms mount secrets as links; it has a bounded size, and opening it never waits. Files that a program writes for
//! itself are in [`own`]. A file system may still not answer: callers with an event loop use another thread.

#[cfg(all(unix, any(feature = "programs", feature = "registry")))]
pub mod own;
mod state;

pub use state::FileState;

#[cfg(unix)]
use std::collections::BTreeSet;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;
#[cfg(unix)]
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

/// The largest file of certificates or keys (PEM), in bytes. The authorities of a whole system take 10 % of it.
pub const LARGEST_PEM: u64 = 4 << 20;

/// The first allocation for the content of a pipe, in bytes.
const FIRST_PART: u64 = 64 * 1024;

/// Opens an input. A pipe is accepted only if the path names an inherited descriptor (`/dev/fd/3`).
///
/// # Errors
///
/// Those of the system, and [`io::ErrorKind::InvalidInput`] if it is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    without_waiting(&mut options);
    let file = options.open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() || is_inherited_pipe(path, &file, kind)? {
        return Ok(file);
    }
    Err(wrong(format!("it is {}; give a regular file", name(kind))))
}

/// Reads an input to its end.
///
/// # Errors
///
/// As [`open`], and [`io::ErrorKind::FileTooLarge`] if it has more bytes than `most`.
pub fn read(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    read_all(open(path)?, most)
}

/// Reads an input of text to its end.
///
/// # Errors
///
/// As [`read`], and [`io::ErrorKind::InvalidData`] if it is not UTF-8.
pub fn read_text(path: &Path, most: u64) -> io::Result<Zeroizing<String>> {
    text(read(path, most)?)
}

/// Reads an input that holds a secret.
///
/// # Errors
///
/// As [`read`], and as [`refuse_public`].
pub fn read_secret(path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = open(path)?;
    refuse_public(&file, path)?;
    read_all(file, most)
}

/// Returns an error if every user may read the file, and it is not an inherited pipe. On a read-only mount it logs a
/// warning instead, once for each path: platforms mount secrets like that, and no program in a container can change it.
///
/// # Errors
///
/// Those of the system, and [`io::ErrorKind::PermissionDenied`].
pub fn refuse_public(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use nix::sys::statvfs::{FsFlags, fstatvfs};
        use std::os::unix::fs::PermissionsExt;

        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o004 == 0 {
            return Ok(());
        }
        if !fstatvfs(file)?.flags().contains(FsFlags::ST_RDONLY) {
            let cure = "all users may read it; run chmod o-r";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, cure));
        }
        warn_of_public(path);
    }
    #[cfg(not(unix))]
    let _ = (file, path);
    Ok(())
}

#[cfg(unix)]
fn warn_of_public(path: &Path) {
    static WARNED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if WARNED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned()) {
        tracing::warn!(
            "{}: all users may read it; mount the secret with defaultMode: 0400 (Kubernetes) or mode: 0400 (Compose)",
            path.display()
        );
    }
}

/// Reads an open file to its end. The bytes are overwritten in memory when they are dropped, and no copy stays behind:
/// the standard library's function copies through the stack.
///
/// # Errors
///
/// Those of the system, and [`io::ErrorKind::FileTooLarge`] if it has more bytes than `most`.
pub fn read_all(mut file: File, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let about = file.metadata()?;
    let expected = if about.is_file() { about.len() } else { FIRST_PART };
    // One more byte than the file has shows its end, and one more than it may have shows that it is too large.
    let room = |bytes: u64| usize::try_from(bytes.min(most) + 1).map_err(io::Error::other);
    let mut bytes = Zeroizing::new(vec![0; room(expected)?]);
    let mut filled = 0;
    loop {
        if filled as u64 > most {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it has more than {most} bytes")));
        }
        if filled == bytes.len() {
            let mut larger = Zeroizing::new(vec![0; room(2 * filled as u64)?]);
            larger[..filled].copy_from_slice(&bytes);
            bytes = larger;
        }
        match file.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// Converts bytes into text without another copy.
///
/// # Errors
///
/// [`io::ErrorKind::InvalidData`] if they are not UTF-8.
pub fn text(mut bytes: Zeroizing<Vec<u8>>) -> io::Result<Zeroizing<String>> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            Err(io::Error::new(io::ErrorKind::InvalidData, "it is not text (UTF-8)"))
        }
    }
}

/// Returns whether a path names a descriptor that the program was started with. It can be read once, and its number may
/// later be that of another file.
#[must_use]
pub fn is_descriptor(path: impl AsRef<Path>) -> bool {
    ["/dev/fd", "/proc/self/fd", "/dev/stdin"].iter().any(|place| path.as_ref().starts_with(place))
}

/// Opens without waiting for a writer of a named pipe, and without making a terminal the program's own.
#[cfg(unix)]
fn without_waiting(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt as _;

    use nix::libc::{O_NOCTTY, O_NONBLOCK};

    options.custom_flags(O_NONBLOCK | O_NOCTTY);
}

#[cfg(not(unix))]
fn without_waiting(_: &mut OpenOptions) {}

/// Returns whether this is a pipe that the program was started with: a here-document, a process substitution. Its other
/// end is connected, so reading it waits.
#[cfg(unix)]
fn is_inherited_pipe(path: &Path, file: &File, kind: FileType) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt as _;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    if !kind.is_fifo() || !is_descriptor(path) {
        return Ok(false);
    }
    fcntl(file, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(true)
}

#[cfg(not(unix))]
fn is_inherited_pipe(_: &Path, _: &File, _: FileType) -> io::Result<bool> {
    Ok(false)
}

/// Names the kind of a file.
#[cfg(unix)]
fn name(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;

    match () {
        () if kind.is_file() => "a regular file",
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a link",
        () if kind.is_fifo() => "a named pipe",
        () if kind.is_socket() => "a socket",
        () => "a device",
    }
}

#[cfg(not(unix))]
fn name(kind: FileType) -> &'static str {
    if kind.is_dir() { "a directory" } else { "no regular file" }
}

fn wrong(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Reads what was written to a pipe, with this bound.
    fn through_a_pipe(length: usize, most: u64) -> io::Result<usize> {
        let (from, mut to) = io::pipe()?;
        std::thread::scope(|scope| {
            scope.spawn(move || drop(to.write_all(&vec![7; length])));
            let bytes = read_all(File::from(std::os::fd::OwnedFd::from(from)), most)?;
            assert!(bytes.iter().all(|&byte| byte == 7));
            Ok(bytes.len())
        })
    }

    #[test]
    fn file_is_read_whole_up_to_its_bound() {
        let path = tempfile::NamedTempFile::new().unwrap();
        for length in [0, 1, 65_535, 65_536, 65_537, 131_073, 300_000] {
            std::fs::write(path.path(), vec![7; length]).unwrap();
            for (slack, is_read) in [(1, true), (0, true), (-1, false)] {
                let Some(most) = (length as u64).checked_add_signed(slack) else { continue };
                let read = read(path.path(), most).map(|bytes| bytes.len());
                assert_eq!(read.ok(), is_read.then_some(length), "{length} of {most}");
                assert_eq!(through_a_pipe(length, most).ok(), is_read.then_some(length), "{length} of {most}");
            }
        }
    }
}

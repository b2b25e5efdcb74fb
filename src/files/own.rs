//! Files that a program writes for itself: state, locks, sockets. They are in a directory that no other user can write
//! to, and links in it are not followed.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::libc::O_DIRECTORY;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use zeroize::Zeroizing;

use super::{name, wrong};

/// The mode bits for writing by others than the owner. With access control lists, the group's bit says
/// whether any of them may write.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// A directory that only this user and root can write to.
#[derive(Debug)]
pub struct OwnFolder(File);

impl OwnFolder {
    /// Opens a directory. It may be a link, as systemd makes one for `DynamicUser=`, but not one of another user.
    ///
    /// # Errors
    ///
    /// Those of the system; [`io::ErrorKind::InvalidInput`] if it belongs to another user, or others can write to it.
    pub fn open(path: &Path) -> io::Result<Self> {
        check_link(path)?;
        let folder = File::options().read(true).custom_flags(O_DIRECTORY).open(path)?;
        let about = folder.metadata()?;
        check_owner(&about)?;
        if about.mode() & OTHERS_WRITE != 0 {
            return Err(others_write(&about));
        }
        Ok(Self(folder))
    }

    /// Opens a file in it for reading and writing; creates it if it is missing.
    ///
    /// # Errors
    ///
    /// Those of the system; [`io::ErrorKind::InvalidInput`] unless it is a regular file of this user with
    /// this one name.
    pub fn open_file(&self, file: &str) -> io::Result<File> {
        let (opened, about) = self.open_at(file, OFlag::O_RDWR | OFlag::O_CREAT)?;
        if about.nlink() > 1 {
            return Err(wrong(format!("{file} has another name elsewhere (a hard link); remove it")));
        }
        Ok(opened)
    }

    /// Reads a file in it.
    ///
    /// # Errors
    ///
    /// As [`Self::open_file`], [`io::ErrorKind::NotFound`], [`io::ErrorKind::FileTooLarge`].
    pub fn read(&self, file: &str, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        super::read_all(self.open_at(file, OFlag::O_RDONLY)?.0, most)
    }

    /// Replaces a file: after a crash, or a loss of power, either the old or the new
    /// content is there. `new` is its name until it is complete.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn replace(&self, file: &str, new: &str, content: &[u8]) -> io::Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut written = match self.open_at(new, flags) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(new)?; // left behind by a program that was killed; of a link it removes the link itself
                self.open_at(new, flags)?.0
            }
            opened => opened?.0,
        };
        let replaced = written
            .write_all(content)
            .and_then(|()| written.sync_all())
            .and_then(|()| Ok(renameat(&self.0, new, &self.0, file)?));
        if replaced.is_err() {
            let _ = self.remove(new);
        }
        replaced.and_then(|()| self.0.sync_all())
    }

    /// Removes a file in it.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn remove(&self, file: &str) -> io::Result<()> {
        Ok(unlinkat(&self.0, file, UnlinkatFlags::NoRemoveDir)?)
    }

    fn open_at(&self, file: &str, flags: OFlag) -> io::Result<(File, Metadata)> {
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let opened = openat(&self.0, file, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        let opened = File::from(opened.map_err(|error| match error {
            Errno::ELOOP => wrong(format!("{file} is a link, which is not followed here; remove it")),
            Errno::ENXIO => wrong(format!("{file} is a socket; remove it")),
            Errno::EISDIR => wrong(format!("{file} is a directory; remove it")),
            error => error.into(),
        })?);
        let about = opened.metadata()?;
        if !about.is_file() {
            return Err(wrong(format!("{file} is {}; remove it", name(about.file_type()))));
        }
        check_owner(&about).map_err(|error| wrong(format!("{file}: {error}")))?;
        Ok((opened, about))
    }
}

/// A listening unix socket, for its own user alone. It is removed at the end.
#[derive(Debug)]
pub struct OwnSocket {
    listener: UnixListener,
    path: PathBuf,
    place: (u64, u64),
}

impl OwnSocket {
    /// Listens at this path, without blocking. Replaces a socket on which no process listens, and nothing else. Creates
    /// the directory if it is missing; it may be one in which users cannot replace the files of others (`/tmp`).
    ///
    /// # Errors
    ///
    /// Those of the system; [`io::ErrorKind::AddrInUse`] if a process listens there; [`io::ErrorKind::InvalidInput`] if
    /// another kind of file is there, or others can write to the directory.
    pub fn listen(path: &Path) -> io::Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        check_place(folder)
            .map_err(|error| io::Error::new(error.kind(), format!("directory {}: {error}", folder.display())))?;
        match fs::symlink_metadata(path) {
            Ok(there) => make_room(path, &there)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let socket = new_socket()?;
        // Before it has a name, so that no other user can connect even for a moment.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        socket::listen(&socket, Backlog::new(128)?)?;
        let place = place(&fs::symlink_metadata(path)?);
        Ok(Self { listener: socket.into(), path: path.to_owned(), place })
    }

    /// Returns another handle of the listener.
    ///
    /// # Errors
    ///
    /// If no more files may be open.
    pub fn listener(&self) -> io::Result<UnixListener> {
        self.listener.try_clone()
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        // Another process's socket may have replaced it in the meantime.
        if fs::symlink_metadata(&self.path).is_ok_and(|there| place(&there) == self.place) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket on which no process listens.
fn make_room(path: &Path, there: &Metadata) -> io::Result<()> {
    let kind = there.file_type();
    if !kind.is_socket() {
        return Err(wrong(format!("{} is there, and is not replaced; choose another path, or remove it", name(kind))));
    }
    check_owner(there)?;
    // A process that listens, but does not accept, may have a full queue: that counts as listening.
    match socket::connect(new_socket()?.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Err(Errno::ENOENT) => Ok(()),
        _ => {
            let cure = "choose another path, or stop that one";
            Err(io::Error::new(io::ErrorKind::AddrInUse, format!("another process listens there; {cure}")))
        }
    }
}

fn new_socket() -> nix::Result<std::os::fd::OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

/// Returns whether a socket in this directory stays in place: no other user could replace it.
fn check_place(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing(folder.parent())),
        made => made?,
    }
    check_link(folder)?;
    let about = fs::metadata(folder)?;
    check_owner(&about)?;
    if about.mode() & OTHERS_WRITE == 0 || about.mode() & STICKY != 0 { Ok(()) } else { Err(others_write(&about)) }
}

/// Returns the error for a file to be made in a directory that does not exist.
pub(crate) fn missing(folder: Option<&Path>) -> io::Error {
    let folder = folder.unwrap_or(Path::new(".")).display();
    io::Error::new(io::ErrorKind::NotFound, format!("the directory {folder} does not exist; create it (mkdir -p)"))
}

/// In a directory like `/tmp` other users may make links, to directories where this user's files do harm.
fn check_link(path: &Path) -> io::Result<()> {
    let itself = fs::symlink_metadata(path)?;
    if itself.is_symlink() {
        check_owner(&itself).map_err(|error| wrong(format!("it is a link: {error}")))?;
    }
    Ok(())
}

/// This user and root can do everything anyway. Any other user could replace any file.
fn check_owner(about: &Metadata) -> io::Result<()> {
    let (owner, user) = (about.uid(), geteuid().as_raw());
    if owner == user || owner == 0 {
        return Ok(());
    }
    let cure = format!("run this as user {owner}, or run chown {user} on it");
    Err(wrong(format!("it belongs to user {owner}, and this runs as user {user}; {cure}")))
}

fn others_write(about: &Metadata) -> io::Error {
    let cure = "run chmod go-w on it, or name a new directory in it, which is made for this user alone";
    wrong(format!("others than its owner can write to it (mode {:04o}); {cure}", about.mode() & 0o7777))
}

fn place(about: &Metadata) -> (u64, u64) {
    (about.dev(), about.ino())
}

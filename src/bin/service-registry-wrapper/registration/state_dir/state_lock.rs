//! The lock on a service's state: of several wrappers with one state directory, one may use it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use service_registry::files::own::OwnFolder;
use tracing::warn;

/// A POSIX record lock, on a file of its own, because the file with the session is replaced at each change. It belongs
/// to the process: the child does not inherit it, the kernel can tell the holder, and it ends with the wrapper in any
/// case.
pub(super) struct StateLock {
    folder: PathBuf,
    id: String,
    /// Set once the state is this wrapper's; without a file if files cannot be locked there.
    held: OnceLock<Option<File>>,
    is_reported: AtomicBool,
}

impl StateLock {
    pub(super) fn new(folder: PathBuf, id: &str) -> Self {
        Self { folder, id: id.to_owned(), held: OnceLock::new(), is_reported: AtomicBool::new(false) }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.held.get().is_some()
    }

    /// Tries to take the lock; logs its holder once if that is another wrapper. Where files cannot be locked, it
    /// succeeds.
    pub(super) fn take(&self) -> bool {
        if self.is_ours() {
            return true;
        }
        let file = match lock(&self.folder, &self.file()) {
            Ok(Locked::Ours(file)) => Some(file),
            Ok(Locked::By(process)) => {
                if !self.is_reported.swap(true, Ordering::Relaxed) {
                    self.report_holder(process);
                }
                return false;
            }
            Err(error) => {
                let file = self.folder.join(self.file());
                let file = file.display();
                warn!("cannot lock {file}: {error}; another wrapper with this --id and --state-dir would go unnoticed");
                None
            }
        };
        self.held.set(file).is_ok()
    }

    fn file(&self) -> String {
        format!("{}.lock", self.id)
    }

    fn report_holder(&self, process: libc::pid_t) {
        let (id, folder) = (&self.id, self.folder.display());
        let whose =
            if process > 0 { format!("process {process}") } else { "a process of another pid namespace".to_owned() };
        warn!(
            "--state-dir {folder} is in use for {id} by another wrapper ({whose}); its session is left alone; end that one, give \
             this one another --id or --state-dir, or take the service over with --replace"
        );
    }
}

enum Locked {
    Ours(File),
    /// By this process; 0 or less if it is in another pid namespace, or on another machine.
    By(libc::pid_t),
}

fn lock(folder: &Path, file: &str) -> io::Result<Locked> {
    let file = OwnFolder::open(folder)?.open_file(file)?;
    loop {
        let mut whole = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        match fcntl(file.as_fd(), FcntlArg::F_SETLK(&whole)) {
            Ok(_) => return Ok(Locked::Ours(file)),
            Err(Errno::EACCES | Errno::EAGAIN) => {}
            Err(error) => return Err(error.into()),
        }
        fcntl(file.as_fd(), FcntlArg::F_GETLK(&mut whole))?;
        if whole.l_type != libc::F_UNLCK as libc::c_short {
            return Ok(Locked::By(whole.l_pid));
        } // otherwise it has just been released
    }
}

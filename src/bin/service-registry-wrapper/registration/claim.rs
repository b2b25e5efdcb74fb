//! Which wrapper uses a state directory for a service: the one that holds a lock for as long as it lives.

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

/// A lock of the kernel's on a file of its own: the file that holds the session is replaced each time. It belongs to the process
/// (POSIX), so the child has no part in it, the kernel says whose it is, and it ends with the wrapper, however that ends.
pub(super) struct Claim {
    folder: PathBuf,
    id: String,
    /// The file while it is locked; nothing in it if it cannot be.
    taken: OnceLock<Option<File>>,
    told: AtomicBool,
}

impl Claim {
    pub(super) fn on(folder: PathBuf, id: &str) -> Self {
        Self { folder, id: id.to_owned(), taken: OnceLock::new(), told: AtomicBool::new(false) }
    }

    pub(super) fn is_ours(&self) -> bool {
        self.taken.get().is_some()
    }

    /// Takes the place if nobody has it. Says once who has it if it is another wrapper. Where nothing can be locked, everybody may
    /// have it.
    pub(super) fn take(&self) -> bool {
        if self.is_ours() {
            return true;
        }
        let file = match lock(&self.folder, &self.file()) {
            Ok(Locked::Ours(file)) => Some(file),
            Ok(Locked::By(process)) => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    self.warn_of(process);
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
        self.taken.set(file).is_ok()
    }

    fn file(&self) -> String {
        format!("{}.lock", self.id)
    }

    fn warn_of(&self, process: libc::pid_t) {
        let (id, folder) = (&self.id, self.folder.display());
        let whose = if process > 0 { format!("process {process}") } else { "a process out of sight".to_owned() };
        warn!(
            "--state-dir {folder} is in use for {id} by another wrapper ({whose}); its session is left alone; end that one, give \
             this one another --id or --state-dir, or take the service over with --replace"
        );
    }
}

enum Locked {
    Ours(File),
    /// By this process; not above 0 if it is in another pid namespace, or on another machine.
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
        } // else it has just been given back
    }
}

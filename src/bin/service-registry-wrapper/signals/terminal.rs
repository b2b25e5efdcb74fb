//! The controlling terminal: its foreground group, its modes, and stops by the rules of job control.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::libc::{self, pid_t};
use nix::sys::signal::{SigSet, Signal, killpg, raise};
use nix::sys::stat::{Mode, fstat};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgid, getpgrp, getpid, isatty, tcgetpgrp, tcsetpgrp};

/// The controlling terminal.
pub(crate) struct Terminal {
    /// A descriptor of the wrapper's own, since the child may change the standard ones.
    descriptor: OwnedFd,
    /// It is stdin, stdout or stderr.
    pub is_standard: bool,
}

impl Terminal {
    /// Returns the controlling terminal of this session, if there is one.
    pub(crate) fn find() -> Option<Self> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let standard = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        match standard.into_iter().find(|fd| isatty(fd).unwrap_or(false) && tcgetpgrp(fd).is_ok()) {
            Some(terminal) => Some(Self { descriptor: terminal.try_clone_to_owned().ok()?, is_standard: true }),
            None => {
                let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
                Some(Self { descriptor: open("/dev/tty", flags, Mode::empty()).ok()?, is_standard: false })
            }
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }

    /// Returns whether the wrapper's group is in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        let own = getpgrp();
        own.as_raw() > 0 && tcgetpgrp(&self.descriptor) == Ok(own) // 0: the group is in another pid namespace
    }

    /// Puts a group into the foreground. Does nothing if the terminal is gone.
    pub(super) fn give_to(&self, group: libc::pid_t) {
        let _ = tcsetpgrp(&self.descriptor, Pid::from_raw(group));
    }

    /// Returns the modes: whether keys are read in lines or one by one, and whether they are shown.
    pub(super) fn modes(&self) -> Option<Termios> {
        tcgetattr(&self.descriptor).ok()
    }

    /// Restores modes. It does not wait until the output is read: there may be no reader.
    pub(super) fn restore(&self, modes: &Termios) {
        let _ = tcsetattr(&self.descriptor, SetArg::TCSANOW, modes);
    }

    /// Takes the foreground back from a group that has exited. Returns false if that group did not have it.
    pub(super) fn take_back(&self, from: libc::pid_t) -> bool {
        let had_it = tcgetpgrp(&self.descriptor) == Ok(Pid::from_raw(from));
        if had_it {
            self.give_to(getpgrp().as_raw());
        }
        had_it
    }
}

/// Returns whether the wrapper is alone in its process group, as a shell with job control makes one for each command:
/// it leads the group, and neither stdin nor stdout is a pipe to another process (some shells make pipes of sockets).
pub(super) fn is_sole_job() -> bool {
    let is_pipe = |fd: BorrowedFd<'_>| {
        let kind = fstat(fd).map(|found| found.st_mode & libc::S_IFMT);
        matches!(kind, Ok(libc::S_IFIFO | libc::S_IFSOCK))
    };
    getpid() == getpgrp() && !is_pipe(io::stdin().as_fd()) && !is_pipe(io::stdout().as_fd())
}

/// The processes that stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspend {
    Wrapper,
    /// All processes in the wrapper's process group.
    Group,
}

/// Stops like a program without handlers; returns after SIGCONT, which is left to be read.
///
/// The kernel ignores these signals in an orphaned process group, which no shell could continue. Returns false then.
pub(crate) fn suspend_self(number: i32, who: Suspend) -> bool {
    let Ok(signal) = Signal::try_from(number) else { return false };
    if is_continued() {
        return true; // the shell was faster: a stop would undo its SIGCONT
    }
    let mut only = SigSet::empty();
    only.add(signal);
    let sent = match who {
        Suspend::Wrapper => raise(signal),
        Suspend::Group => killpg(getpgrp(), signal),
    };
    // The signal is blocked, and acts while it is unblocked for a moment.
    if sent.is_ok() && only.thread_unblock().is_ok() {
        let _ = only.thread_block();
    }
    is_continued()
}

/// Returns whether SIGCONT has arrived and waits to be read.
#[expect(unsafe_code, reason = "nix cannot query pending signals")]
fn is_continued() -> bool {
    // SAFETY: the set is written before it is read; zero is a valid one.
    unsafe {
        let mut waiting: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&mut waiting) == 0 && libc::sigismember(&waiting, libc::SIGCONT) == 1
    }
}

pub(super) fn leads_its_group(process: pid_t) -> bool {
    group_of(process) == Some(process)
}

pub(crate) fn group_of(process: pid_t) -> Option<pid_t> {
    getpgid(Some(Pid::from_raw(process))).ok().map(Pid::as_raw)
}

//! The terminal, when there is one: the child's group gets the foreground, stops and goes on as if nobody stood between
//! it and the shell.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::signal::{SigSet, Signal, killpg, raise};
use nix::sys::stat::{Mode, fstat};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::{Pid, getpgrp, getpid, isatty, tcgetpgrp, tcsetpgrp};

/// The controlling terminal.
pub(crate) struct Terminal {
    /// A descriptor of the wrapper's own: the child may do with the standard ones what it likes.
    descriptor: OwnedFd,
    /// Whether it is stdin, stdout or stderr.
    pub is_standard: bool,
}

impl Terminal {
    /// The terminal that controls this session, if one does.
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

    /// Whether the wrapper's group is in the foreground.
    pub(super) fn is_ours(&self) -> bool {
        let own = getpgrp();
        own.as_raw() > 0 && tcgetpgrp(&self.descriptor) == Ok(own) // 0: it is in another pid namespace
    }

    /// Puts a group into the foreground. A terminal that is gone takes nobody.
    pub(super) fn give_to(&self, group: libc::pid_t) {
        let _ = tcsetpgrp(&self.descriptor, Pid::from_raw(group));
    }

    /// How it treats keys: in lines or one by one, shown or not.
    pub(super) fn modes(&self) -> Option<Termios> {
        tcgetattr(&self.descriptor).ok()
    }

    /// Puts modes back. It does not wait until what was written is read: nobody may be there to read it.
    pub(super) fn restore(&self, modes: &Termios) {
        let _ = tcsetattr(&self.descriptor, SetArg::TCSANOW, modes);
    }

    /// Takes the foreground back from a group that is no more, so that whoever reads next from the terminal can.
    /// False if it was not that group's.
    pub(super) fn take_back(&self, from: libc::pid_t) -> bool {
        let was_theirs = tcgetpgrp(&self.descriptor) == Ok(Pid::from_raw(from));
        if was_theirs {
            self.give_to(getpgrp().as_raw());
        }
        was_theirs
    }
}

/// Whether the wrapper's process group is its own, as a shell with job control makes one for each command: it leads the
/// group, and neither stdin nor stdout leads to another program of it (a pipe, which some shells make of sockets).
pub(super) fn is_sole_job() -> bool {
    let leads_on = |fd: BorrowedFd<'_>| {
        let kind = fstat(fd).map(|found| found.st_mode & libc::S_IFMT);
        matches!(kind, Ok(libc::S_IFIFO | libc::S_IFSOCK))
    };
    getpid() == getpgrp() && !leads_on(io::stdin().as_fd()) && !leads_on(io::stdout().as_fd())
}

/// Who stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Wrapper,
    /// Everybody in the wrapper's process group.
    Group,
}

/// Stops as a program without handlers would; returns after SIGCONT, which is left to be read.
///
/// The kernel's own rule decides whether it is a stop at all: nobody could continue an orphaned process group, so there
/// these signals do nothing. False if it was none.
pub(crate) fn stop_self(number: i32, who: Stop) -> bool {
    let Ok(signal) = Signal::try_from(number) else { return false };
    if goes_on() {
        return true; // the shell was faster, and a stop would take its word back
    }
    let mut only = SigSet::empty();
    only.add(signal);
    let sent = match who {
        Stop::Wrapper => raise(signal),
        Stop::Group => killpg(getpgrp(), signal),
    };
    // It waits blocked until it is let through for a moment.
    if sent.is_ok() && only.thread_unblock().is_ok() {
        let _ = only.thread_block();
    }
    goes_on()
}

/// Whether SIGCONT has come, and waits to be read.
#[expect(unsafe_code, reason = "nix cannot ask which signals wait")]
fn goes_on() -> bool {
    // SAFETY: the set is written before it is read; zero is a valid one.
    unsafe {
        let mut waiting: libc::sigset_t = std::mem::zeroed();
        libc::sigpending(&mut waiting) == 0 && libc::sigismember(&waiting, libc::SIGCONT) == 1
    }
}

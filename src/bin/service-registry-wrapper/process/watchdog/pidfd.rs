//! Names a process by a descriptor, which never means a later process with the same number.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, pid_t};

/// From Linux 6.9 on: the signal goes to the group that the process leads or has led.
pub(super) const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// Opens a pidfd.
#[expect(unsafe_code, reason = "the C library of Debian 12 is the first with this function")]
pub(super) fn pidfd_open(process: pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers, and returns a new descriptor.
    unsafe {
        let pidfd = Errno::result(libc::syscall(libc::SYS_pidfd_open, process, 0))?;
        Ok(OwnedFd::from_raw_fd(pidfd as RawFd))
    }
}

/// Kills it, or with the flag its group.
#[expect(unsafe_code, reason = "the C library has no function for this")]
pub(super) fn pidfd_kill(pidfd: BorrowedFd<'_>, flags: libc::c_uint) {
    // SAFETY: takes numbers, and no information about the signal.
    unsafe {
        let none = std::ptr::null::<libc::siginfo_t>();
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), libc::SIGKILL, none, flags);
    }
}

//! Processes of the wrapper: waits for them and signals them. The one place that calls `waitpid`.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc::{self, pid_t};

/// A result of `waitpid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A child or an adopted orphan has exited, and is reaped now.
    Exited(pid_t, ExitStatus),
    /// It was stopped by this signal.
    Stopped(pid_t, i32),
    /// There are children, and nothing has happened to them.
    None,
    /// There are no children.
    Childless,
}

/// Returns the next change of a child or an adopted orphan.
#[expect(unsafe_code, reason = "nix loses the status of a process that a real-time signal killed")]
pub(crate) fn next_change() -> Change {
    let mut status = 0;
    // SAFETY: the status is written to a number that lives long enough.
    let process = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::WUNTRACED) };
    let status = ExitStatus::from_raw(status);
    match (process, status.stopped_signal()) {
        (0, _) => Change::None,
        (..0, _) => Change::Childless,
        (process, Some(signal)) => Change::Stopped(process, signal),
        (process, None) => Change::Exited(process, status),
    }
}

/// Sends a signal to a process or, if the number is negative, to a group, which may be gone.
#[expect(unsafe_code, reason = "nix knows no real-time signals")]
pub(super) fn send(to: pid_t, signal: i32) {
    // SAFETY: kill takes two numbers.
    unsafe { libc::kill(to, signal) };
}

/// Returns whether a process runs as another user, so that the wrapper may not signal it.
#[expect(unsafe_code, reason = "nix takes a signal, and this is none")]
pub(super) fn is_out_of_reach(process: pid_t) -> bool {
    // SAFETY: kill takes two numbers. Signal 0 is not sent.
    Errno::result(unsafe { libc::kill(process, 0) }) == Err(Errno::EPERM)
}

/// Returns whether a process is a child of the wrapper, started or adopted, so that `waitpid` will return its status.
#[expect(unsafe_code, reason = "nix has no such call without another feature")]
pub(super) fn is_child(process: pid_t) -> bool {
    let Ok(id) = libc::id_t::try_from(process) else { return false };
    // SAFETY: zero is a valid siginfo_t, which lives long enough. WNOWAIT leaves the status for `next_change`.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, id, &mut info, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT) == 0
    }
}

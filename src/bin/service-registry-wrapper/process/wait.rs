//! Processes of the wrapper: waits for them and signals them. The one place that calls `waitpid`.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;
use nix::libc::{self, pid_t};
use tracing::warn;

use crate::signals;

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
    let sent = Errno::result(unsafe { libc::kill(to, signal) });
    if sent == Err(Errno::EPERM) {
        warn!("{} may not be sent to process {}: it runs as another user", signals::name(signal), to.abs());
    }
}

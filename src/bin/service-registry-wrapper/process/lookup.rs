//! The program that is wrapped: found before anything is contacted, signalled while it runs, buried when it is dead.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use anyhow::anyhow;
use nix::errno::Errno;
use nix::libc;
use nix::unistd::{AccessFlags, Pid, access, getpgid};
use tracing::warn;

use crate::exit;
use crate::exit::Failure;
use crate::signals;

/// Looks the command up as a shell would, so that what cannot run is said before it is announced to anybody.
pub(crate) fn find(program: &OsStr) -> Result<PathBuf, Failure> {
    if program.is_empty() {
        return Err(Failure::new(exit::NOT_FOUND, anyhow!("the command is an empty word; give the program to run")));
    }
    if program.as_bytes().contains(&b'/') {
        return executable(PathBuf::from(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/bin:/usr/bin"));
    let mut refused = None;
    for candidate in std::env::split_paths(&path).map(|folder| place_of(folder, program)) {
        match executable(candidate) {
            Ok(found) => return Ok(found),
            Err(failure) if failure.status == exit::NOT_EXECUTABLE => refused = Some(failure),
            Err(_) => {}
        }
    }
    Err(refused.unwrap_or_else(|| {
        Failure::new(
            exit::NOT_FOUND,
            anyhow!("{}: not found in PATH; check the spelling or give a path", program.display()),
        )
    }))
}

/// An empty element of PATH is the working directory.
fn place_of(folder: PathBuf, program: &OsStr) -> PathBuf {
    if folder.as_os_str().is_empty() { Path::new(".").join(program) } else { folder.join(program) }
}

fn executable(program: PathBuf) -> Result<PathBuf, Failure> {
    let refuse = |status, why: &str| Err(Failure::new(status, anyhow!("{}: {why}", program.display())));
    match std::fs::metadata(&program) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            refuse(exit::NOT_EXECUTABLE, "permission denied")
        }
        Err(_) => refuse(exit::NOT_FOUND, "no such file"),
        Ok(found) if found.is_dir() => refuse(exit::NOT_EXECUTABLE, "is a directory"),
        Ok(_) if access(&program, AccessFlags::X_OK).is_err() => {
            refuse(exit::NOT_EXECUTABLE, "not executable; try chmod +x")
        }
        Ok(_) => Ok(program),
    }
}

/// Sends a signal to a process, or if the number is negative to a group. Nobody may be there.
#[expect(unsafe_code, reason = "nix knows no real-time signals")]
pub(super) fn send(to: libc::pid_t, signal: i32) {
    // SAFETY: kill takes two numbers.
    let sent = Errno::result(unsafe { libc::kill(to, signal) });
    if sent == Err(Errno::EPERM) {
        warn!("{} may not be sent to process {}: it runs as another user", signals::name(signal), to.abs());
    }
}

/// Whether a process leads its process group.
pub(crate) fn leads_its_group(process: libc::pid_t) -> bool {
    group_of(process) == Some(process)
}

/// The process group of a process.
pub(super) fn group_of(process: libc::pid_t) -> Option<libc::pid_t> {
    getpgid(Some(Pid::from_raw(process))).ok().map(Pid::as_raw)
}

/// What `waitpid` has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// A process of ours has ended, and is buried now.
    Ended(libc::pid_t, ExitStatus),
    /// A process of ours was stopped by this signal.
    Stopped(libc::pid_t, i32),
    /// All that are ours live.
    None,
    /// Nobody is ours.
    Childless,
}

/// The next change among the processes that the wrapper started or adopted.
#[expect(unsafe_code, reason = "nix loses the status of what a real-time signal killed")]
pub(crate) fn next_change() -> Change {
    let mut status = 0;
    // SAFETY: the status is written to a number that lives long enough.
    let process = unsafe { libc::waitpid(-1, &mut status, libc::WNOHANG | libc::WUNTRACED) };
    let status = ExitStatus::from_raw(status);
    match (process, status.stopped_signal()) {
        (0, _) => Change::None,
        (..0, _) => Change::Childless,
        (process, Some(signal)) => Change::Stopped(process, signal),
        (process, None) => Change::Ended(process, status),
    }
}

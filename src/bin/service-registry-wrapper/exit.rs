//! Every way this program ends, and the status it ends with. The man page repeats this list.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::logging;
use crate::options::LogFormat;

/// Options that make no sense. Nothing was contacted or started.
pub(super) const USAGE: u8 = 2;
/// `--abort-on-failure` was given and the service could not be registered; the child was not started. Or `--on-lost=stop`
/// is in force and it could not be kept registered; the child was stopped.
pub(super) const NOT_REGISTERED: u8 = 100;
/// The wrapper itself failed.
pub(super) const WRAPPER_FAILED: u8 = 125;
/// The command was found but cannot be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(super) const NOT_FOUND: u8 = 127;

/// What a shell would say: the child's code, or 128 plus the number of the signal that killed it.
pub(super) fn of_child(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(WRAPPER_FAILED),
        (None, Some(signal)) => of_signal(signal),
        (None, None) => WRAPPER_FAILED, // stopped or continued: not an end; the supervisor never asks
    }
}

/// Killed by this signal, or stopped by it before there was a child.
pub(super) fn of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(WRAPPER_FAILED)
}

/// Ends the wrapper. Nothing is buffered, and the kernel tidies up faster than destructors do.
#[expect(unsafe_code, reason = "the standard library's way out runs what the C library has registered")]
pub(super) fn now(status: u8) -> ! {
    // SAFETY: takes a number and ends the process.
    unsafe { libc::_exit(status.into()) }
}

/// Dies of the signal that killed the child, without a second core dump. Returns if it cannot: process 1 of a container
/// does not die of signals.
#[expect(unsafe_code, reason = "a disposition can be set in no other way")]
pub(super) fn die_of(signal: i32) {
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    // SAFETY: the default disposition runs no code of ours, and the set is valid before it is used.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        let mut only: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut only, signal);
        libc::raise(signal);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &only, std::ptr::null_mut());
    }
}

/// An error with the status to end with. Its message is the chain of causes.
#[derive(Debug)]
pub(super) struct Failure {
    pub status: u8,
    pub cause: anyhow::Error,
}

impl Failure {
    pub(super) fn new(status: u8, cause: impl Into<anyhow::Error>) -> Self {
        Self { status, cause: cause.into() }
    }

    /// Says why on stderr, as one line, and gives the status. What ends the wrapper is said however quiet it is.
    pub(super) fn report(self, format: LogFormat) -> u8 {
        logging::tell_end(format, &format!("{:#}", self.cause));
        self.status
    }
}

/// What is not classified otherwise is the wrapper's own fault.
impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { status: WRAPPER_FAILED, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_every_signal_has_its_status() {
        for code in 0..=255 {
            assert_eq!(of_child(ExitStatus::from_raw(code << 8)), code as u8);
        }
        for signal in 1..=64 {
            assert_eq!(of_child(ExitStatus::from_raw(signal)), 128 + signal as u8);
            assert_eq!(of_child(ExitStatus::from_raw(signal | 0x80)), 128 + signal as u8, "with a core dump");
        }
    }
}

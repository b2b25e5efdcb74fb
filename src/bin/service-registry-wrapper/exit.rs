//! Every exit status of the wrapper, and the one place where the process ends. The man page repeats the list.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use anyhow::anyhow;
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use crate::logging;
use crate::options::{ChildConfig, LogFormat};

/// The options are wrong. Nothing was contacted or started.
pub(super) const USAGE: u8 = 2;
/// With `--abort-on-failure`: the service could not be registered, and the child was not started. With
/// `--on-lost=stop`: the service could not be kept registered, and the child was stopped. With `--on-not-ready=stop` or
/// `--on-unhealthy=stop`: the child was not ready in time, or became unhealthy, and was stopped.
pub(super) const NOT_REGISTERED: u8 = 100;
/// The wrapper itself failed.
pub(super) const WRAPPER_FAILED: u8 = 125;
/// The command was found but cannot be executed.
pub(super) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(super) const NOT_FOUND: u8 = 127;

/// The way in which the wrapper ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Status(u8),
    /// By the signal that ended the child; with this status if that is impossible.
    Signal(i32, u8),
}

impl Ending {
    /// The child's status, as `--exit-map` and `--reraise` change it. After a child that a key ended
    /// (`is_interrupted`), the wrapper dies of the same signal: a shell looks for that before it ends a script.
    pub(super) fn of_child(status: ExitStatus, is_interrupted: bool, config: &ChildConfig) -> Self {
        let own = of_child(status);
        let mapped = config.mapped(own);
        match status.signal() {
            Some(signal) if (config.reraise || is_interrupted) && mapped == own => Self::Signal(signal, mapped),
            _ => Self::Status(mapped),
        }
    }

    /// Prints the help, the version, or what is wrong with the options.
    pub(super) fn of_usage(error: &clap::Error) -> Self {
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        if let (0, Err(error)) = (error.exit_code(), printed) {
            let failure = Failure::from(anyhow!(error).context("writing to stdout"));
            return failure.report(LogFormat::Text);
        }
        Self::Status(u8::try_from(error.exit_code()).unwrap_or(USAGE))
    }

    /// Ends the process. Nothing is buffered, and the kernel frees memory faster than destructors do.
    #[cfg_attr(test, expect(dead_code, reason = "tests have a `main` of their own"))]
    #[expect(unsafe_code, reason = "the standard library's exit runs handlers that the C library has registered")]
    pub(super) fn end(self) -> ! {
        let status = match self {
            Self::Status(status) => status,
            Self::Signal(signal, status) => {
                die_of(signal);
                status
            }
        };
        // SAFETY: takes a number and ends the process.
        unsafe { libc::_exit(status.into()) }
    }
}

/// Returns the status that a shell gives: the child's code, or 128 plus the number of the signal that killed it.
fn of_child(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code).unwrap_or(WRAPPER_FAILED),
        (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(WRAPPER_FAILED),
        (None, None) => WRAPPER_FAILED, // stopped or continued, which is no exit
    }
}

/// Dies of the signal that killed the child, without a second core dump. Returns if that is impossible: process 1 of a
/// container does not die of signals.
#[expect(unsafe_code, reason = "a disposition can be set in no other way")]
fn die_of(signal: i32) {
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

    /// Logs the cause as one line, at every log level, and returns how to end.
    pub(super) fn report(self, format: LogFormat) -> Ending {
        logging::report_end(format, &format!("{:#}", self.cause));
        Ending::Status(self.status)
    }
}

/// An error without a status of its own is the wrapper's failure.
impl From<anyhow::Error> for Failure {
    fn from(cause: anyhow::Error) -> Self {
        Self { status: WRAPPER_FAILED, cause }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_signal_has_its_status() {
        for code in 0..=255 {
            assert_eq!(of_child(ExitStatus::from_raw(code << 8)), code as u8);
        }
        for signal in 1..=64 {
            assert_eq!(of_child(ExitStatus::from_raw(signal)), 128 + signal as u8);
            assert_eq!(of_child(ExitStatus::from_raw(signal | 0x80)), 128 + signal as u8, "with a core dump");
        }
    }
}

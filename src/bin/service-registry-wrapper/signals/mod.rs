//! Every signal as an event: all are blocked and read from a signalfd.
//!
//! Signal handlers would lose the count of queued real-time signals, and would have to be removed for the child. A
//! blocked signal waits in the kernel until it is read, so none is lost, not even between start and exec.
//!
//! In reading order: this file reads signals; `action` decides what each means; `job_control` keeps the child's place
//! on the `terminal`.

pub(super) mod action;
pub(super) mod job_control;
pub(super) mod terminal;

pub(crate) use action::{Action, Stage};
pub(crate) use job_control::Foreground;
pub(crate) use terminal::{Suspend, group_of};

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use signal_hook::low_level::signal_name;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Signals are blocked, and wait in the kernel.
pub(super) struct Blocked {
    pub fd: SignalFd,
    /// The blocked signals that the wrapper was started with, which the child gets.
    pub inherited_mask: SigSet,
    /// The disposition of SIGCHLD that the wrapper was started with.
    pub inherited_sigchld: SigHandler,
}

impl Blocked {
    /// Blocks every signal that can be blocked. Must be called before there is a second thread, which inherits the
    /// mask.
    pub(super) fn all() -> Result<Self> {
        let mut inherited_mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut inherited_mask))
            .context("cannot block signals")?;
        let inherited_sigchld = do_not_ignore_sigchld()?;
        let fd = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot create a signalfd")?;
        Ok(Self { fd, inherited_mask, inherited_sigchld })
    }

    /// Makes them events of the current runtime.
    #[expect(unsafe_code, reason = "tokio wants a promise about the descriptor")]
    pub(super) fn listen(self) -> Result<Signals> {
        // SAFETY: a SignalFd owns one descriptor from its creation to its end and never exchanges it.
        let fd = unsafe { AsyncFd::register_with_interest(self.fd, Interest::READABLE) };
        Ok(Signals { fd: fd.context("cannot watch the signalfd")? })
    }
}

/// Where SIGCHLD is ignored, the kernel discards the exit statuses of children.
#[expect(unsafe_code, reason = "a disposition can be set in no other way")]
fn do_not_ignore_sigchld() -> Result<SigHandler> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.context("cannot reset SIGCHLD")
}

/// The stream of signals.
pub(super) struct Signals {
    fd: AsyncFd<SignalFd>,
}

/// A signal that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub number: i32,
    pub origin: Origin,
}

/// The sender of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The kernel; mostly for the terminal, which signals every process of the foreground group.
    Kernel,
    /// The wrapper: SIGPIPE for a log line without a reader.
    Own,
    /// Another process.
    Other,
}

impl Signals {
    /// Returns the next signal. None is lost if the future is dropped before it is done.
    pub(super) async fn next(&mut self) -> Result<Received> {
        loop {
            let mut ready = self.fd.readable().await.context("cannot wait for signals")?;
            match read(ready.get_inner())? {
                Some(signal) => return Ok(signal),
                None => ready.clear_ready(),
            }
        }
    }

    /// Returns a signal that has arrived already.
    pub(super) fn waiting(&self) -> Result<Option<Received>> {
        read(self.fd.get_ref())
    }
}

fn read(fd: &SignalFd) -> Result<Option<Received>> {
    let info = fd.read_signal().context("cannot read signals")?;
    Ok(info.map(|info| Received::of(info.ssi_signo, info.ssi_code, info.ssi_pid)))
}

impl Received {
    fn of(number: u32, code: i32, sender: u32) -> Self {
        let origin = match code {
            libc::SI_KERNEL => Origin::Kernel,
            libc::SI_USER | libc::SI_TKILL if sender == std::process::id() => Origin::Own,
            _ => Origin::Other,
        };
        Self { number: number.cast_signed(), origin }
    }
}

/// Sends a signal to every process in the wrapper's group, the wrapper included.
#[expect(unsafe_code, reason = "nix knows no real-time signals")]
pub(super) fn signal_own_group(number: i32) {
    // SAFETY: kill takes two numbers.
    unsafe { libc::kill(0, number) };
}

/// Returns `SIGTERM`, or `signal 35` for a signal without a name.
pub(super) fn name(number: i32) -> String {
    signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
}

/// Returns whether a signal is ignored. The wrapper changes no disposition except SIGCHLD's, so this is the state that
/// it was started with (`nohup`, a background job of a script).
#[expect(unsafe_code, reason = "nix cannot query a disposition without setting one")]
pub(crate) fn is_ignored(signal: i32) -> bool {
    // SAFETY: a null action only queries; the answer is written to a struct that lives long enough. Zero is a valid
    // one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

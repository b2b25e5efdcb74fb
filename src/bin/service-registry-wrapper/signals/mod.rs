//! Every signal as an event: all are blocked and read from a signalfd.
//!
//! Handlers would lose the count of queued real-time signals and would have to be undone for the child; a blocked
//! signal waits in the kernel until it is read, so none is lost, not even between start and exec.

pub(super) mod action;
pub(super) mod disposition;
pub(super) mod job_control;
pub(super) mod terminal;

pub(crate) use action::{Action, Stage};
pub(crate) use job_control::Foreground;
pub(crate) use terminal::Stop;

use anyhow::{Context, Result};
use nix::libc;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use signal_hook::low_level::signal_name;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Signals wait in the kernel from here on.
pub(super) struct Blocked {
    pub fd: SignalFd,
    /// What the wrapper was started with, and what the child gets.
    pub inherited_mask: SigSet,
    /// What SIGCHLD did to it then.
    pub inherited_sigchld: SigHandler,
}

impl Blocked {
    /// Blocks every signal that can be blocked. To be called before there is a second thread, which inherits it.
    pub(super) fn all() -> Result<Self> {
        let mut inherited_mask = SigSet::empty();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut inherited_mask))
            .context("cannot block signals")?;
        let inherited_sigchld = do_not_ignore_sigchld()?;
        let fd = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            .context("cannot create a signalfd")?;
        Ok(Self { fd, inherited_mask, inherited_sigchld })
    }

    /// Makes them events of the runtime this is called in.
    #[expect(unsafe_code, reason = "tokio takes no descriptor on trust")]
    pub(super) fn listen(self) -> Result<Signals> {
        // SAFETY: a SignalFd owns one descriptor from its creation to its end and never exchanges it.
        let fd = unsafe { AsyncFd::register_with_interest(self.fd, Interest::READABLE) };
        Ok(Signals { fd: fd.context("cannot watch the signalfd")? })
    }
}

/// Where SIGCHLD is ignored the kernel throws the status of a dead child away.
#[expect(unsafe_code, reason = "a disposition can be set in no other way")]
fn do_not_ignore_sigchld() -> Result<SigHandler> {
    // SAFETY: the default disposition runs no code of ours.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.context("cannot reset SIGCHLD")
}

/// The stream of signals.
pub(super) struct Signals {
    fd: AsyncFd<SignalFd>,
}

/// One signal that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Received {
    pub number: i32,
    pub origin: Origin,
}

/// Who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The kernel of its own accord; mostly the terminal, which signals every process of the foreground group.
    Kernel,
    /// The wrapper's own doing: SIGPIPE for a log line that nobody reads.
    Own,
    /// Another process.
    Other,
}

impl Signals {
    /// The next one. Gives the same again if the caller lets go of the future before it is done: nothing is lost.
    pub(super) async fn next(&mut self) -> Result<Received> {
        loop {
            let mut ready = self.fd.readable().await.context("cannot wait for signals")?;
            match read(ready.get_inner())? {
                Some(signal) => return Ok(signal),
                None => ready.clear_ready(),
            }
        }
    }

    /// One that has come already.
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

/// Sends a signal to everybody in the wrapper's group, the wrapper included.
#[expect(unsafe_code, reason = "nix knows no real-time signals")]
pub(super) fn tell_own_group(number: i32) {
    // SAFETY: kill takes two numbers.
    unsafe { libc::kill(0, number) };
}

/// `SIGTERM`, or `signal 35` for what has no name.
pub(super) fn name(number: i32) -> String {
    signal_name(number).map_or_else(|| format!("signal {number}"), str::to_owned)
}

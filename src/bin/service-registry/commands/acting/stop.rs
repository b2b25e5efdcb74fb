//! The two signals that end a command that would run for ever.

use anyhow::Context;
use nix::sys::signal::Signal;
use tokio::signal::unix::{self, SignalKind, signal};

/// From when it is made, these signals do not end the process.
pub(super) struct Stop {
    terminate: unix::Signal,
    interrupt: unix::Signal,
}

impl Stop {
    pub(super) fn new() -> anyhow::Result<Self> {
        let of = |kind| signal(kind).context("watching for signals");
        Ok(Self { terminate: of(SignalKind::terminate())?, interrupt: of(SignalKind::interrupt())? })
    }

    /// Waits for the next of them, and returns it. May be dropped and called again.
    pub(super) async fn requested(&mut self) -> Signal {
        tokio::select! {
            _ = self.terminate.recv() => Signal::SIGTERM,
            _ = self.interrupt.recv() => Signal::SIGINT,
        }
    }
}

//! Waits until the child says that it is ready: READY=1 to its NOTIFY_SOCKET, or a line to the descriptor that
//! `--ready-fd` names (the convention of s6).

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::options::Readiness;
use crate::registration::Desired;
use crate::systemd::NotifyProxy;

/// Between two reads of what nobody needs.
const DRAIN_PAUSE: Duration = Duration::from_millis(50);

/// The pipe behind `--ready-fd`.
pub(crate) struct ReadyPipe {
    reader: OwnedFd,
    writer: OwnedFd,
    number: RawFd,
}

impl ReadyPipe {
    /// Opens the pipe, if the options name a descriptor for it.
    pub(crate) fn open(readiness: &Readiness) -> Result<Option<Self>> {
        let Some(number) = readiness.fd else { return Ok(None) };
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)
            .context("cannot open a pipe for --ready-fd; if too many files are open, raise the limit (ulimit -n)")?;
        Ok(Some(Self { reader, writer, number }))
    }

    /// The end for the child, and its number there.
    pub(crate) fn for_child(&self) -> (RawFd, RawFd) {
        (self.writer.as_raw_fd(), self.number)
    }

    /// Returns the wrapper's end. Closes the other one, which the child has.
    fn into_receiver(self) -> io::Result<Receiver> {
        Receiver::from_owned_fd(self.reader)
    }
}

/// Waits until the child says that it is ready. Never returns.
pub(super) async fn watch(notify: Option<&NotifyProxy>, pipe: Option<ReadyPipe>, desired: &Desired) -> Infallible {
    let notified = async {
        match notify {
            Some(notify) => notify.ready().await,
            None => {
                warn!(
                    "READY=1 of the command does not go through the wrapper: NOTIFY_SOCKET is of another kind, or no \
                     socket could be opened; only --ready-fd can say that the command is ready"
                );
                pending().await
            }
        }
        "READY=1".to_owned()
    };
    let mut rest = None;
    let written = async {
        let Some(pipe) = pipe else { return pending().await };
        let number = pipe.number;
        match line(pipe).await {
            Ok(receiver) => {
                rest = Some(receiver);
                format!("a line on descriptor {number}")
            }
            Err(error) => {
                warn!("--ready-fd={number}: {error}; only READY=1 can say now that the command is ready");
                pending().await
            }
        }
    };
    let how = tokio::select! {
        how = notified => how,
        how = written => how,
    };
    info!("the command is ready ({how})");
    desired.set_not_ready(None);
    if let Some(receiver) = rest {
        drain(receiver).await;
    }
    pending().await
}

/// Reads what a child writes after its line: without a reader it would be killed. As slowly as one that floods the pipe
/// deserves.
async fn drain(mut receiver: Receiver) {
    let mut bytes = vec![0; 4096];
    while receiver.read(&mut bytes).await.is_ok_and(|count| count > 0) {
        sleep(DRAIN_PAUSE).await;
    }
}

/// Reads up to the end of the first line.
async fn line(pipe: ReadyPipe) -> io::Result<Receiver> {
    let mut receiver = pipe.into_receiver()?;
    let mut bytes = [0; 256];
    loop {
        let count = receiver.read(&mut bytes).await?;
        if bytes[..count].contains(&b'\n') {
            return Ok(receiver);
        }
        if count == 0 {
            return Err(io::Error::other("the command has closed it without writing a line"));
        }
    }
}

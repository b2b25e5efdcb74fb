//! Writes to stdout. A reader that has seen enough (`| head`) closes the pipe: that is no error.

use std::io::{ErrorKind, Write, stdout};
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::time::sleep;

use crate::exit::Failure;

pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::closed_pipe()),
        written => Ok(written.context("writing to stdout")?),
    }
}

/// How often a command that has nothing to write looks whether it still has a reader.
const LOOK: Duration = Duration::from_secs(1);

/// Returns once the reader of stdout has closed the pipe.
pub(crate) async fn reader_closed() -> Failure {
    loop {
        sleep(LOOK).await;
        let stdout = stdout();
        let mut asked = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
        let told = poll(&mut asked, PollTimeout::ZERO);
        if told.is_ok() && asked[0].revents().is_some_and(|told| told.intersects(PollFlags::POLLERR)) {
            return Failure::closed_pipe();
        }
    }
}

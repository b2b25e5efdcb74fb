//! Writes to stdout. A reader that has seen enough (`| head`) closes the pipe: that is no error.

use std::io::{ErrorKind, Write, stdout};

use anyhow::Context;

use crate::exit::Failure;

pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::closed_pipe()),
        written => Ok(written.context("writing to stdout")?),
    }
}

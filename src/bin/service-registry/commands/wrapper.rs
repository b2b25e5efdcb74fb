//! What is asked of a running wrapper, over its `--status-socket`: one line there, one line of JSON back.

use std::io::{BufRead, BufReader, Read, Write, stdout};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::cli::{Maintenance, Status, Switch};
use crate::exit::Failure;

/// Longer than the wrapper itself takes for a change.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest answer that is read, in bytes; they have a few hundred.
const LONGEST_ANSWER: u64 = 64 << 10;

pub(crate) fn status(options: &Status) -> Result<(), Failure> {
    ask(options, "status")
}

pub(crate) fn maintenance(options: &Maintenance) -> Result<(), Failure> {
    let request = match options.switch {
        Switch::On => "maintenance on",
        Switch::Off => "maintenance off",
    };
    ask(&options.status, request)
}

fn ask(options: &Status, request: &str) -> Result<(), Failure> {
    let named = || format!("--socket {}; does the wrapper run, with --status-socket?", options.socket.display());
    let mut socket = UnixStream::connect(&options.socket).with_context(named)?;
    socket.set_read_timeout(Some(PATIENCE)).with_context(named)?;
    writeln!(socket, "{request}").with_context(named)?;
    let mut line = String::new();
    BufReader::new(socket.take(LONGEST_ANSWER)).read_line(&mut line).with_context(named)?;
    let answer: Value = serde_json::from_str(&line).with_context(named)?;
    writeln!(stdout(), "{answer:#}").context("writing to stdout")?;
    match answer["error"].as_str() {
        Some(error) => Err(anyhow!("{error}").into()),
        None => Ok(()),
    }
}

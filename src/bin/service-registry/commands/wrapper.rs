//! `service-registry status` and `maintenance`: requests to a running wrapper, over its `--status-socket`.

use std::io::{BufRead, BufReader, Read, Write, stdout};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;
use service_registry::control::{LONGEST_REPLY, Request};

use crate::cli::{Maintenance, Status, Switch};
use crate::exit::Failure;

/// The wrapper itself takes at most half of it.
const REPLY_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn status(options: &Status) -> Result<(), Failure> {
    ask(options, Request::Status)
}

pub(crate) fn maintenance(options: &Maintenance) -> Result<(), Failure> {
    ask(&options.status, Request::Maintenance(options.switch == Switch::On))
}

fn ask(options: &Status, request: Request) -> Result<(), Failure> {
    let named = || format!("--socket {}; does the wrapper run, with --status-socket?", options.socket.display());
    let mut socket = UnixStream::connect(&options.socket).with_context(named)?;
    socket.set_read_timeout(Some(REPLY_LIMIT)).with_context(named)?;
    writeln!(socket, "{request}").with_context(named)?;
    let mut line = String::new();
    BufReader::new(socket.take(LONGEST_REPLY)).read_line(&mut line).with_context(named)?;
    let reply: Value = serde_json::from_str(&line).with_context(named)?;
    writeln!(stdout(), "{reply:#}").context("writing to stdout")?;
    match reply["error"].as_str() {
        Some(error) => Err(anyhow!("{error}").into()),
        None => Ok(()),
    }
}

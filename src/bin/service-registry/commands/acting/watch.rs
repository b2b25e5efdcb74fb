//! `service-registry watch`: prints the list of services, or runs a command, at the start and at each change.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use nix::sys::signal::Signal;
use service_registry::connection::{Origins, RegistryOptions};
use tracing::{debug, warn};

use super::following::follow::{Job, follow};
use super::following::process::{self, Run};
use super::following::schedule::Timing;
use super::following::source::{Listed, Source};
use super::time;
use crate::commands::reading::services::Filter;
use crate::connection::{Connection, block_on};
use crate::exit::{self, Failure};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  service-registry watch --tag api
  service-registry watch --tag api --quiet-time 2s -- ./configure-proxy
  service-registry watch --tag api --once -- sh -c 'cat >/run/api.json'";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// End after the first run, with its status; without COMMAND, after the first list
    #[arg(long)]
    once: bool,
    /// Run COMMAND once nothing has changed for this long
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = time::time)]
    quiet_time: Duration,
    /// Run it this long after a change at the latest, also while the list goes on changing [default: ten times the
    /// quiet time]
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    max_delay: Option<Duration>,
    /// The program to run, and its arguments; without it, the lists are printed
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// The command and its runs.
struct Watching {
    command: Vec<OsString>,
    run: Option<Run>,
    /// Of the last run.
    status: u8,
    has_started: bool,
}

/// Watches until a signal comes, or the registry refuses; with `--once`, until the first run has ended.
pub(crate) fn run(options: Watch, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry, origins)?;
    let source = Source::new(&connection, &options.filter, Duration::ZERO);
    let longest = options.max_delay.unwrap_or(options.quiet_time * 10);
    let timing = Timing { quiet: options.quiet_time, longest, is_once: options.once };
    let mut watching = Watching { command: options.command, run: None, status: exit::SUCCESS, has_started: false };
    block_on(follow(source, timing, &mut watching))
}

impl Job for Watching {
    const RECOVERED: &str = "the command has succeeded again";

    /// Starts the command, or prints the list.
    fn start(&mut self, list: &Listed) -> Result<Option<bool>, Failure> {
        let text = serde_json::to_string(&list.services).context("writing the list as JSON")? + "\n";
        let Some(program) = self.command.first() else {
            output::write(&text)?;
            return Ok(Some(true));
        };
        let variables = [
            ("SERVICE_REGISTRY_WATCH_COUNT", list.services.len().to_string()),
            ("SERVICE_REGISTRY_WATCH_VERSION", list.version.to_string()),
        ];
        debug!(version = list.version, "running the command");
        match Run::start(&self.command, &text, &variables) {
            Ok(run) => {
                (self.run, self.has_started) = (Some(run), true);
                Ok(None)
            }
            // Its file may be replaced just now. A command that has never started is a mistake.
            Err(error) if self.has_started => {
                warn!("{:#}", process::cannot_start(program, &error).error);
                self.status = exit::NOT_EXECUTABLE;
                Ok(Some(false))
            }
            Err(error) => Err(process::cannot_start(program, &error)),
        }
    }

    fn child_ended(&mut self) -> Result<Option<bool>, Failure> {
        let Some(run) = &mut self.run else { return Ok(None) };
        let Some(status) = run.ended().context("waiting for the command")? else { return Ok(None) };
        self.run = None;
        self.status = process::status_of(status);
        Ok(Some(status.success()))
    }

    fn signal(&self, signal: Signal) {
        if let Some(run) = &self.run {
            run.signal(signal);
        }
    }

    fn failure(&self) -> Option<(u8, String)> {
        let status = self.status;
        (status != exit::SUCCESS).then(|| (status, format!("the command has failed with status {status}")))
    }

    fn writes_to_stdout(&self) -> bool {
        self.command.is_empty()
    }
}

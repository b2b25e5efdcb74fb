//! `service-registry watch`: prints the list of services, or runs a command, at the start and at each change.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Args;
use nix::sys::signal::Signal;
use serde_json::Value;
use service_registry::connection::{Origins, RegistryOptions};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::changes::{Change, Changes};
use super::process::{self, Run};
use super::schedule::{Action, Event, Schedule, Timing};
use super::stop::Stop;
use super::time::{self, until};
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

/// A list, and its number among those of this process, from 1 up.
#[derive(Clone)]
struct Listed {
    version: u64,
    services: Vec<Value>,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.services == other.services
    }
}

/// The command and its runs.
struct Watching {
    schedule: Schedule<Listed>,
    command: Vec<OsString>,
    run: Option<Run>,
    /// Of the last run.
    status: u8,
    has_started: bool,
}

/// Watches until a signal comes, or the registry refuses; with `--once`, until the first run has ended.
pub(crate) fn run(options: Watch, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry.clone(), origins)?;
    block_on(watch(&connection, options))
}

async fn watch(connection: &Connection, options: Watch) -> Result<(), Failure> {
    let mut changes =
        Source { changes: Changes::new(connection, &options.filter), version: 0, last: None, is_away: false };
    let mut stop = Stop::new()?;
    let mut child = signal(SignalKind::child()).context("watching for signals")?;
    let longest = options.max_delay.unwrap_or(options.quiet_time * 10);
    let timing = Timing { quiet: options.quiet_time, longest, is_once: options.once };
    let mut watching = Watching::new(timing, options.command);
    let (mut stopped, mut refusal) = (None, None);
    loop {
        let due = watching.schedule.due();
        let event = tokio::select! {
            signal = stop.requested() => {
                info!("{}: stopping", signal.as_str());
                stopped = Some(signal);
                Event::Stop
            }
            _ = child.recv() => match watching.ended()? {
                Some(is_success) => Event::Ended { is_success },
                None => continue,
            },
            () = until(due) => Event::Due,
            closed = output::reader_closed(), if watching.command.is_empty() => return Err(closed),
            list = changes.next(), if refusal.is_none() => list.map_or_else(
                |failure| {
                    refusal = Some(failure);
                    Event::Last
                },
                Event::List,
            ),
        };
        if watching.handle(event)? {
            break;
        }
    }
    let failure = |code, error| Err(Failure { error, code });
    match (stopped, refusal) {
        // What was to be done once was not done.
        (Some(signal), _) if options.once => {
            let code = process::status_of(ExitStatus::from_raw(signal as i32));
            failure(code, anyhow!("stopped by {} before the run had ended", signal.as_str()))
        }
        (Some(_), _) => Ok(()),
        (None, Some(refusal)) => Err(refusal),
        (None, None) if watching.status == exit::SUCCESS => Ok(()),
        (None, None) => failure(watching.status, anyhow!("the command has failed with status {}", watching.status)),
    }
}

/// The lists, one after the other.
struct Source<'a> {
    changes: Changes<'a>,
    version: u64,
    last: Option<Vec<Value>>,
    is_away: bool,
}

impl Source<'_> {
    /// Waits for the next list. May be dropped and called again.
    async fn next(&mut self) -> Result<Listed, Failure> {
        loop {
            match self.changes.next().await? {
                Change::List(services) => {
                    if std::mem::take(&mut self.is_away) {
                        info!("the registry answers again");
                    }
                    if self.last.as_ref() != Some(&services) {
                        self.version += 1;
                        self.last = Some(services.clone());
                        return Ok(Listed { version: self.version, services });
                    }
                }
                Change::Away(failure) => {
                    if !std::mem::replace(&mut self.is_away, true) {
                        warn!("the registry does not answer; its last list counts until it does: {:#}", failure.error);
                    }
                }
            }
        }
    }
}

impl Watching {
    fn new(timing: Timing, command: Vec<OsString>) -> Self {
        Self { schedule: Schedule::new(timing), command, run: None, status: exit::SUCCESS, has_started: false }
    }

    /// Tells the machine what happened, and does what it says. Returns whether that is the end.
    fn handle(&mut self, event: Event<Listed>) -> Result<bool, Failure> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let is_end = matches!(event, Event::Ended { .. });
            let action = self.schedule.handle(event, Instant::now());
            if is_end && self.status != exit::SUCCESS && !matches!(action, Some(Action::Finish)) {
                self.tell_failure();
            }
            match action {
                Some(Action::Run(list)) => next = self.start(&list)?,
                Some(Action::Terminate) => self.signal(Signal::SIGTERM),
                Some(Action::Kill) => self.signal(Signal::SIGKILL),
                Some(Action::Finish) => return Ok(true),
                None => {}
            }
        }
        Ok(false)
    }

    /// Starts the command, or prints the list. Returns the end of the run if that has come already.
    fn start(&mut self, list: &Listed) -> Result<Option<Event<Listed>>, Failure> {
        let text = serde_json::to_string(&list.services).context("writing the list as JSON")? + "\n";
        let Some(program) = self.command.first() else {
            output::write(&text)?;
            return Ok(Some(Event::Ended { is_success: true }));
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
                Ok(Some(Event::Ended { is_success: false }))
            }
            Err(error) => Err(process::cannot_start(program, &error)),
        }
    }

    /// Returns whether the command has succeeded, once it has ended.
    fn ended(&mut self) -> Result<Option<bool>, Failure> {
        let Some(run) = &mut self.run else { return Ok(None) };
        let Some(status) = run.ended().context("waiting for the command")? else { return Ok(None) };
        self.run = None;
        if status.success() && self.schedule.failures() > 0 {
            info!("the command has succeeded again");
        }
        self.status = process::status_of(status);
        Ok(Some(status.success()))
    }

    fn tell_failure(&self) {
        let again = self.schedule.due().map_or_else(String::new, |due| {
            let pause = due.saturating_duration_since(Instant::now()).as_secs_f64();
            format!("; it is run again in {pause:.1} s, or sooner if the list changes")
        });
        warn!("the command has failed with status {}{again}", self.status);
    }

    fn signal(&self, signal: Signal) {
        if let Some(run) = &self.run {
            run.signal(signal);
        }
    }
}

//! `service-registry wait`: waits until there are so many services, then becomes a command.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;
use service_registry::connection::{Origins, RegistryOptions};
use tokio::time::Instant;
use tracing::info;

use super::following::changes::{Change, Changes};
use super::following::process;
use super::time::{self, Limit, until};
use crate::commands::reading::services::Filter;
use crate::connection::{Connection, block_on};
use crate::exit::{self, Failure};
use crate::output;

/// The time between two messages about what is missing.
const BETWEEN_MESSAGES: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  service-registry wait --tag db --timeout 5m -- ./app --port=8000
  service-registry wait --tag api --count 3";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Wait {
    /// How many services there must be
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// How long to wait: a time such as 60s, or forever; 0 for one look
    #[arg(long, value_name = "TIME", default_value = "60", value_parser = time::limit)]
    timeout: Limit,
    /// The program to become, and its arguments; without it, the ids of the services are printed
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<OsString>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// Waits, and becomes the command.
pub(crate) fn run(options: Wait, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry.clone(), origins)?;
    let services = block_on(found(&connection, &options))?;
    let Some((program, arguments)) = options.command.split_first() else {
        let ids: String =
            services.iter().filter_map(|service| service["id"].as_str()).map(|id| format!("{id}\n")).collect();
        return output::write(&ids);
    };
    let error = Command::new(program).args(arguments).exec();
    Err(process::cannot_start(program, &error))
}

/// Returns the services once there are enough.
async fn found(connection: &Connection, options: &Wait) -> Result<Vec<Value>, Failure> {
    let mut changes = Changes::new(connection, &options.filter);
    let deadline = match options.timeout {
        Limit::Within(time) if !time.is_zero() => Some(Instant::now() + time),
        _ => None,
    };
    let (mut missing, mut say_at) = (String::new(), None);
    loop {
        let change = tokio::select! {
            change = changes.next() => change?,
            () = until(say_at) => {
                info!("waiting: {missing}");
                say_at = Some(Instant::now() + BETWEEN_MESSAGES);
                continue;
            }
            () = until(deadline) => break,
        };
        missing = match change {
            Change::List(services) if services.len() >= options.count => return Ok(services),
            Change::List(services) => format!("{} of {} services are there", services.len(), options.count),
            Change::Away(failure) => format!("the registry does not answer: {:#}", failure.error),
        };
        say_at = say_at.or(Some(Instant::now()));
        if options.timeout == Limit::Within(Duration::ZERO) {
            break;
        }
    }
    Err(Failure { error: anyhow!("the time has passed: {missing}"), code: exit::TIMED_OUT })
}

//! `service-registry events`: the feed, as far as it is kept, and what comes.
//!
//! `filter` has the options about the wanted events, `start` finds where to begin, `follow` waits for further events,
//! `columns` are those of the table.

mod columns;
mod filter;
mod follow;
mod start;

use std::borrow::Cow;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};
use crate::duration::duration;
use crate::exit::Failure;
use crate::output::{self, OutputOptions, Printer, Progress, with_progress};
use filter::Filter;

const EXAMPLES: &str = "\
Examples:
  service-registry events --since 1d --type service.timeout --type services.timeout
  service-registry events -f
  service-registry events -f --extended -o jsonl | jq -r .type";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Events {
    /// Wait for further events, and print them as they come; without --since only those
    #[arg(short, long)]
    follow: bool,
    /// Begin this long ago: a number followed by s, m, h or d, such as 12h [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    since: Option<Duration>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Events, origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, columns::SHAPE)?;
    let connection = Connection::open(options.registry, origins)?;
    let run = async {
        let filter = &options.filter;
        let take = |event| printer.stream(&[event], false);
        if options.follow && options.since.is_none() {
            printer.stream(&[], true)?;
            return follow::follow(&connection, filter, None, take).await;
        }
        let marker = start::marker(&connection, options.since).await?;
        let mut events = list(&connection, filter.query(), marker).await?;
        let last = events.last().and_then(|event| event["id"].as_str()).map(str::to_owned);
        events.retain(|event| filter.wants(event) && start::is_in(event, options.since));
        if !options.follow {
            printer.list(&events)?;
            return if events.is_empty() { Err(anyhow!("no events found").into()) } else { Ok(()) };
        }
        printer.stream(&events, true)?;
        follow::follow(&connection, filter, last, take).await
    };
    block_on(async {
        tokio::select! {
            outcome = run => outcome,
            closed = output::reader_closed() => Err(closed),
        }
    })
}

async fn list(
    connection: &Connection,
    mut query: Vec<(Cow<'static, str>, String)>,
    marker: Option<String>,
) -> Result<Vec<Value>, Failure> {
    query.extend(marker.map(|marker| ("marker".into(), marker)));
    let progress = Progress::default();
    let asked = connection
        .ask(async |client| client.raw_list(&["events"], query.clone(), |entries| progress.set(entries)).await);
    with_progress(&progress, asked).await
}

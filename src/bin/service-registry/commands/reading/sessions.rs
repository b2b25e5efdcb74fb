//! `service-registry sessions`.

use anyhow::anyhow;
use clap::Args;
use clap_complete::ArgValueCompleter;
use service_registry::connection::{Origins, RegistryOptions};

use super::completion::session_ids;
use crate::connection::{Connection, block_on};
use crate::exit::Failure;
use crate::output::{Cell, Column, OutputOptions, Printer, Progress, Shape, pairs, with_progress};

const EXAMPLES: &str = "\
Examples:
  service-registry sessions
  service-registry sessions -o json | jq '.[] | select(.metadata.host == \"web-1\")'";

const COLUMNS: &[Column] = &[
    Column::new("ID", |session| Cell::of(&session["id"])),
    Column::new("HOST", |session| Cell::of(&session["metadata"]["host"])),
    Column::new("PID", |session| Cell::of(&session["metadata"]["pid"])),
    Column::new("COMMAND", |session| Cell::of(&session["metadata"]["command"])),
    Column::new("TIMEOUT", |session| Cell::of(&session["heartbeat_timeout"])),
    Column::new("LAST HEARTBEAT", |session| Cell::time(&session["last_seen"])),
    Column::wide("METADATA", |session| pairs(&session["metadata"])),
];

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Sessions {
    /// Show this session only
    #[arg(add = ArgValueCompleter::new(session_ids))]
    id: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Sessions, origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, Shape::of(COLUMNS))?;
    let connection = Connection::open(options.registry, origins)?;
    block_on(async {
        if let Some(id) = options.id {
            let session = connection.ask(async |client| client.raw(&["sessions", &id]).await).await?;
            return printer.one(&session);
        }
        let progress = Progress::default();
        let asked = connection
            .ask(async |client| client.raw_list(&["sessions"], Vec::new(), |entries| progress.set(entries)).await);
        let sessions = with_progress(&progress, asked).await?;
        printer.list(&sessions)?;
        if sessions.is_empty() { Err(anyhow!("no sessions found").into()) } else { Ok(()) }
    })
}

//! `service-registry overview`.

use anyhow::anyhow;
use clap::Args;
use serde_json::{Value, json};
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};
use crate::exit::Failure;
use crate::output::{Cell, Column, OutputOptions, Printer, Progress, Shape, pairs, texts, with_progress};

const EXAMPLES: &str = "\
Examples:
  service-registry overview
  service-registry overview --template '{{session.metadata.host}}: {{services|map(attribute=\"id\")|join(\" \")}}'";

const COLUMNS: &[Column] = &[
    Column::new("SESSION", |row| Cell::of(&row["session"]["id"])),
    Column::new("HOST", |row| Cell::of(&row["session"]["metadata"]["host"])),
    Column::new("PID", |row| Cell::of(&row["session"]["metadata"]["pid"])),
    Column::new("SERVICE", |row| Cell::of(&row["service"]["id"])),
    Column::new("TAGS", |row| texts(&row["service"]["tags"])),
    Column::wide("METADATA", |row| pairs(&row["service"]["metadata"])),
    Column::wide("TIMEOUT", |row| Cell::of(&row["session"]["heartbeat_timeout"])),
    Column::wide("LAST HEARTBEAT", |row| Cell::time(&row["session"]["last_seen"])),
];

const SHAPE: Shape = Shape { rows, name: |entry| text(&entry["session"]["id"]), ..Shape::of(COLUMNS) };

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Overview {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Overview, origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, SHAPE)?;
    let connection = Connection::open(options.registry, origins)?;
    block_on(async {
        let progress = Progress::default();
        let asked = connection.ask(async |client| {
            client.raw_list(&["views", "overview"], Vec::new(), |entries| progress.set(entries)).await
        });
        let entries = joined(with_progress(&progress, asked).await?);
        printer.list(&entries)?;
        if entries.is_empty() { Err(anyhow!("no sessions found").into()) } else { Ok(()) }
    })
}

/// Joins the parts of sessions whose services fill more than a page.
fn joined(parts: Vec<Value>) -> Vec<Value> {
    let mut entries: Vec<Value> = Vec::new();
    for mut part in parts {
        match entries.last_mut() {
            Some(last) if last["session"]["id"] == part["session"]["id"] => {
                if let (Value::Array(all), Value::Array(more)) = (&mut last["services"], part["services"].take()) {
                    all.extend(more);
                }
            }
            _ => entries.push(part),
        }
    }
    entries
}

/// Returns a row for each service; one for a session without any.
fn rows(entry: &Value) -> Vec<Value> {
    let session = &entry["session"];
    let services = entry["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    if services.is_empty() {
        return vec![json!({"session": session})];
    }
    services.iter().map(|service| json!({"session": session, "service": service})).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

//! `service-registry limits`.

use clap::Args;
use serde_json::{Value, json};
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};
use crate::exit::Failure;
use crate::output::{Cell, Column, OutputOptions, Printer, Shape};

const EXAMPLES: &str = "\
Example:
  service-registry limits --template '{{resource.service}}'";

const COLUMNS: &[Column] = &[
    Column::new("LIMIT OF", |row| Cell::of(&row["name"])),
    Column::new("AT MOST", |row| Cell::of(&row["limit"])),
    Column::new("USED", |row| Cell::of(&row["used"])),
    Column::new("WINDOW", |row| Cell::of(&row["window"])),
];

const SHAPE: Shape = Shape { rows, name: |limits| names(limits).join("\n"), ..Shape::of(COLUMNS) };

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Limits {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Limits, origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, SHAPE)?;
    let connection = Connection::open(options.registry, origins)?;
    let limits = block_on(connection.ask(async |client| client.raw(&["limits"]).await))?;
    printer.one(&limits)
}

/// Returns a row for each kind of object, and for each rate.
fn rows(limits: &Value) -> Vec<Value> {
    let of = |kind: &str| limits[kind].as_object().cloned().unwrap_or_default();
    let resources = of("resource").into_iter().map(|(name, limit)| json!({"name": name, "limit": limit}));
    let rates = of("rate").into_iter().map(
        |(path, rate)| json!({"name": path, "limit": rate["limit"], "used": rate["used"], "window": rate["window"]}),
    );
    resources.chain(rates).collect()
}

fn names(limits: &Value) -> Vec<String> {
    rows(limits).iter().filter_map(|row| row["name"].as_str().map(str::to_owned)).collect()
}

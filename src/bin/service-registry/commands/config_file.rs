//! `service-registry config-file`: what the configuration files say, and what counts of it.

use clap::Args;
use serde_json::{Value, json};
use service_registry::connection::{ConfigFiles, Origins, RegistryOptions};

use crate::exit::Failure;
use crate::output::{Cell, Column, OutputOptions, Printer, Shape};

const EXAMPLES: &str = "\
Examples:
  service-registry config-file
  SERVICE_REGISTRY_CONFIG=./client.toml service-registry config-file";

const COLUMNS: &[Column] = &[
    Column::new("FILE", |row| Cell::of(&row["file"])),
    Column::new("LINE", |row| Cell::of(&row["line"])),
    Column::new("KEY", |row| Cell::of(&row["key"])),
    Column::new("VALUE", |row| Cell::of(&row["value"])),
    Column::new("STATE", |row| Cell::of(&row["state"])),
];

const SHAPE: Shape = Shape { name: |row| row["file"].as_str().unwrap_or_default().to_owned(), ..Shape::of(COLUMNS) };

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConfigFile {
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: ConfigFile, mut origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, SHAPE)?;
    let mut registry = options.registry;
    registry.keep_key();
    registry.settle_rivals(&origins);
    let files = ConfigFiles::read().map_err(Failure::usage)?;
    let uses = files.complete(&mut registry, &mut origins).map_err(Failure::usage)?;
    let empty = |path: &std::path::Path, state: &str| json!({"file": path, "state": state});
    let mut rows: Vec<Value> = Vec::new();
    for file in files.files.iter().filter(|file| file.entries.is_empty()) {
        rows.push(empty(&file.place.path, "empty"));
    }
    rows.extend(uses.iter().map(|used| {
        let state = used.overridden_by.as_ref().map_or("used".to_owned(), |by| format!("overridden by {by}"));
        json!({"file": used.place.path, "line": used.entry.line, "key": used.entry.name(), "value": used.entry.shown(),
            "state": state})
    }));
    rows.extend(files.missing.iter().map(|place| empty(&place.path, "not there")));
    rows.extend(files.skipped.iter().map(|(place, why)| empty(&place.path, &format!("not read: {why}"))));
    printer.list(&rows)
}

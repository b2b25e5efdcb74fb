//! `service-registry config`: the configuration values that the registry keeps.

use std::borrow::Cow;
use std::io::{IsTerminal, Read, stdin, stdout};

use anyhow::{Context, anyhow};
use clap::{Args, Subcommand};
use clap_complete::ArgValueCompleter;
use serde_json::{Value, json};
use service_registry::connection::{Origins, RegistryOptions};
use service_registry::wire::limits::CONFIGURATION_VALUE;

use super::completion::value_ids;
use crate::connection::{Connection, block_on};
use crate::exit::Failure;
use crate::output::{self, Cell, Column, OutputOptions, Printer, Progress, Shape, visible, with_progress};

const EXAMPLES: &str = "\
Examples:
  service-registry config set /production/database/address 192.0.2.7
  service-registry config get /production/database/address
  service-registry config list --namespace /production
  service-registry config delete /production/database/address";

const COLUMNS: &[Column] =
    &[Column::new("ID", |value| Cell::of(&value["id"])), Column::new("VALUE", |value| Cell::of(&value["value"]))];

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Config {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print a value
    Get(Get),
    /// Create or replace a value
    Set(Set),
    /// Remove a value
    Delete(Delete),
    /// List the values
    List(List),
}

#[derive(Args, Debug)]
struct Get {
    /// The id: a key, or /namespace/key
    #[arg(add = ArgValueCompleter::new(value_ids))]
    id: String,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

#[derive(Args, Debug)]
struct Set {
    /// The id: a key, or /namespace/key
    #[arg(add = ArgValueCompleter::new(value_ids))]
    id: String,
    /// The value, 1 to 1024 characters; -: what stdin has, without a line's end behind it
    #[arg(allow_hyphen_values = true)]
    value: String,
    #[command(flatten)]
    registry: RegistryOptions,
}

#[derive(Args, Debug)]
struct Delete {
    /// The id: a key, or /namespace/key
    #[arg(add = ArgValueCompleter::new(value_ids))]
    id: String,
    #[command(flatten)]
    registry: RegistryOptions,
}

#[derive(Args, Debug)]
struct List {
    /// Only values of this namespace and of those below it
    #[arg(long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

pub(crate) fn run(options: Config, origins: Origins) -> Result<(), Failure> {
    match options.command {
        Command::Get(options) => get(options, origins),
        Command::Set(options) => set(options, origins),
        Command::Delete(options) => delete(options, origins),
        Command::List(options) => list(options, origins),
    }
}

fn get(options: Get, origins: Origins) -> Result<(), Failure> {
    let is_plain = options.output.is_default();
    let printer = Printer::new(options.output, Shape::of(COLUMNS))?;
    let connection = Connection::open(options.registry, origins)?;
    let value = block_on(connection.ask(async |client| client.configuration().get(&options.id).await))?;
    if !is_plain {
        return printer.one(&json!({"id": options.id, "value": value}));
    }
    // A program gets the value as it is. Lines may stay lines on a terminal.
    let lines = value.split('\n').map(visible);
    let shown = if stdout().is_terminal() { lines.collect::<Vec<_>>().join("\n").into() } else { Cow::from(&value) };
    output::write(&format!("{shown}\n"))
}

fn set(options: Set, origins: Origins) -> Result<(), Failure> {
    let value = if options.value == "-" { read_value()? } else { options.value };
    let connection = Connection::open(options.registry, origins)?;
    block_on(connection.ask(async |client| client.configuration().set(&options.id, &value).await))
}

fn delete(options: Delete, origins: Origins) -> Result<(), Failure> {
    let connection = Connection::open(options.registry, origins)?;
    block_on(connection.ask(async |client| client.configuration().remove(&options.id).await))
}

fn list(options: List, origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, Shape::of(COLUMNS))?;
    let path = path(options.namespace.as_deref())?;
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    let connection = Connection::open(options.registry, origins)?;
    block_on(async {
        let progress = Progress::default();
        let asked =
            connection.ask(async |client| client.raw_list(&path, Vec::new(), |entries| progress.set(entries)).await);
        let values: Vec<Value> = with_progress(&progress, asked).await?;
        printer.list(&values)?;
        if values.is_empty() { Err(anyhow!("no values found").into()) } else { Ok(()) }
    })
}

/// Returns the path of a list: that of a namespace has a slash before and behind it.
fn path(namespace: Option<&str>) -> Result<Vec<String>, Failure> {
    let parts = match namespace.map(|namespace| namespace.trim_matches('/')) {
        None => Vec::new(),
        Some("") => return Err(Failure::usage(anyhow!("--namespace is empty; leave it out to list all values"))),
        Some(namespace) => namespace.split('/').chain([""]).map(str::to_owned).collect(),
    };
    Ok(["configuration".to_owned()].into_iter().chain(parts).collect())
}

/// Reads a value from stdin.
fn read_value() -> Result<String, Failure> {
    let longest = 4 * *CONFIGURATION_VALUE.end() as u64 + 1; // in bytes, and a line's end
    let mut value = String::new();
    stdin().take(longest + 1).read_to_string(&mut value).context("reading the value from stdin")?;
    Ok(value.strip_suffix('\n').map_or(value.clone(), str::to_owned))
}

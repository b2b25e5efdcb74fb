//! `service-registry cluster`.

use anyhow::anyhow;
use clap::Args;
use comfy_table::Color;
use serde_json::{Value, json};
use service_registry::connection::Origins;
use service_registry::registry::cluster_report;

use crate::connection::block_on;
use crate::etcd_options::EtcdOptions;
use crate::exit::{self, Failure};
use crate::output::{Cell, Column, OutputOptions, Printer, Shape};

const EXAMPLES: &str = "\
Examples:
  service-registry cluster --etcd=http://127.0.0.1:2379
  service-registry cluster -o json | jq -e '.warnings == []'";

const NODES: &[Column] = &[
    Column::new("NODE", |row| Cell::of(&row["id"])),
    Column::new("URL", |row| Cell::of(&row["url"])),
    Column::new("VERSION", |row| Cell::of(&row["version"])),
    Column::new("STARTED", |row| Cell::time(&row["started"])),
    Column::new("LEASE S", |row| Cell::of(&row["lease"])),
    Column::new("SHARDS", |row| Cell::of(&row["shards"])),
    Column::new("LEAVING", |row| yes(&row["leaving"])),
    Column::wide("USERS FILE", |row| Cell::of(&row["users"])),
];

const SUM: &[Column] = &[
    Column::new("SHARDS", |row| Cell::of(&row["shards"])),
    Column::new("OWNED", |row| Cell::of(&row["owned"])),
    Column::new("HIGHEST EPOCH", |row| Cell::of(&row["epoch"])),
];

const SHARDS: &[Column] = &[
    Column::new("SHARD", |row| Cell::of(&row["shard"])),
    Column::new("OWNER", |row| Cell::of(&row["url"])),
    Column::new("EPOCH", |row| Cell::of(&row["epoch"])),
    Column::wide("NODE", |row| Cell::of(&row["node"])),
];

const MEMBERS: &[Column] = &[
    Column::new("ETCD", |row| Cell::of(&row["name"])),
    Column::new("URL", |row| Cell::of(&row["url"])),
    Column::new("VERSION", |row| Cell::of(&row["version"])),
    Column::new("LEADER", |row| yes(&row["leader"])),
    Column::new("SIZE", |row| size(&row["size"])),
    Column::new("IN USE", |row| size(&row["in_use"])),
    Column::new("QUOTA", |row| size(&row["quota"])),
    Column::new("ALARMS", |row| alarms(&row["alarms"])),
];

const WARNINGS: &[Column] = &[Column::new("WARNINGS", |row| {
    row.as_str().map_or(Cell::Empty, |warning| Cell::Coloured(warning.to_owned(), Color::Yellow))
})];

/// As data, the report is one object. Its names are the nodes.
const SHAPE: Shape = Shape { name: |report| names(report).join("\n"), ..Shape::of(NODES) };

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Cluster {
    /// List the shards one by one
    #[arg(long)]
    shards: bool,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    etcd: EtcdOptions,
}

pub(crate) fn run(options: Cluster, origins: &Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, SHAPE)?;
    let missing = || Failure::usage(anyhow!("--etcd: give the URLs of etcd's members (or SERVICE_REGISTRY_ETCD)"));
    let etcd = options.etcd.config(&[], origins)?.ok_or_else(missing)?;
    let report = block_on(async {
        let unreachable = |error| Failure { code: exit::UNREACHABLE, ..Failure::from(error) };
        cluster_report(&etcd).await.map_err(unreachable)
    })?;
    let mut report = serde_json::to_value(report).map_err(|error| anyhow!("the report cannot be written: {error}"))?;
    let shards = rows(&report, "shards");
    let sum = sum(&shards);
    if !options.shards {
        report["shards"] = sum.clone();
    }
    let (columns, shards) = if options.shards { (SHARDS, shards) } else { (SUM, vec![sum]) };
    printer.tables(
        &report,
        &[
            ("node", NODES, &rows(&report, "nodes")),
            ("shards", columns, &shards),
            ("member", MEMBERS, &rows(&report, "members")),
            ("warning", WARNINGS, &rows(&report, "warnings")),
        ],
    )
}

fn rows(report: &Value, name: &str) -> Vec<Value> {
    report[name].as_array().cloned().unwrap_or_default()
}

/// Sums the shards up.
fn sum(shards: &[Value]) -> Value {
    let owned = shards.iter().filter(|shard| shard["url"].is_string()).count();
    let epoch = shards.iter().filter_map(|shard| shard["epoch"].as_u64()).max();
    json!({"shards": shards.len(), "owned": owned, "epoch": epoch.unwrap_or(0)})
}

fn names(report: &Value) -> Vec<String> {
    rows(report, "nodes").iter().filter_map(|node| node["id"].as_str().map(str::to_owned)).collect()
}

fn yes(value: &Value) -> Cell {
    if value == &json!(true) { Cell::Text("yes".to_owned()) } else { Cell::Empty }
}

fn size(value: &Value) -> Cell {
    value.as_u64().map_or(Cell::Empty, Cell::Size)
}

fn alarms(value: &Value) -> Cell {
    match crate::output::texts(value) {
        Cell::Text(alarms) => Cell::Coloured(alarms, Color::Red),
        other => other,
    }
}

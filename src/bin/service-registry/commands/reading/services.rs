//! `service-registry services`.

use anyhow::anyhow;
use clap::Args;
use clap_complete::ArgValueCompleter;
use serde_json::Value;
use service_registry::client::{Error, ServiceFilter};
use service_registry::connection::{Origins, RegistryOptions};

use super::completion::{service_ids, tags};
use crate::connection::{Connection, block_on};
use crate::exit::Failure;
use crate::output::{Cell, Column, OutputOptions, Printer, Progress, Shape, pairs, texts, with_progress};

const EXAMPLES: &str = "\
Examples:
  service-registry services --tag api --tag www
  service-registry services --metadata zone=eu -o wide
  service-registry services --tag db --template '{{address}}:{{port}}'
  service-registry services my-host1-api0 -o json";

/// The members by which a program may say where it is reached, the most exact one first.
pub(crate) const ADDRESSES: [&str; 4] = ["address", "ip", "host", "hostname"];

const COLUMNS: &[Column] = &[
    Column::new("ID", |service| Cell::of(&service["id"])),
    Column::new("TAGS", |service| texts(&service["tags"])),
    Column::new("METADATA", |service| pairs(&service["metadata"])),
    Column::wide("SESSION", |service| Cell::of(&service["session_id"])),
    Column::wide("TIMEOUT", |service| Cell::of(&service["heartbeat_timeout"])),
    Column::wide("LAST HEARTBEAT", |service| Cell::time(&service["last_seen"])),
];

pub(super) const SHAPE: Shape = Shape { context, ..Shape::of(COLUMNS) };

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Services {
    /// Show this service only
    #[arg(add = ArgValueCompleter::new(service_ids))]
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    output: OutputOptions,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// The services that are wanted.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Filters")]
pub(crate) struct Filter {
    /// Only services with this tag; repeatable, for services with all of them
    #[arg(short, long, value_name = "TAG", add = ArgValueCompleter::new(tags))]
    tag: Vec<String>,
    /// Only services with this pair of metadata; repeatable, for services with all of them
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// Only services whose ids begin with this
    #[arg(long, value_name = "TEXT")]
    id_prefix: Option<String>,
}

pub(crate) fn run(options: Services, origins: Origins) -> Result<(), Failure> {
    let printer = Printer::new(options.output, SHAPE)?;
    if options.id.is_some() && !options.filter.is_empty() {
        return Err(Failure::usage(anyhow!("an id names one service: leave out the filters, or the id")));
    }
    let connection = Connection::open(options.registry, origins)?;
    block_on(async {
        if let Some(id) = options.id {
            let service = connection.ask(async |client| client.raw(&["services", &id]).await).await?;
            return printer.one(&service);
        }
        let services = list(&connection, &options.filter).await?;
        printer.list(&services)?;
        if services.is_empty() { Err(anyhow!("no services found").into()) } else { Ok(()) }
    })
}

/// Returns the services that a filter wants, by id.
pub(crate) async fn list(connection: &Connection, filter: &Filter) -> Result<Vec<Value>, Failure> {
    let progress = Progress::default();
    let asked = connection.ask(async |client| {
        let list = |query| client.raw_list(&["services"], query, |entries| progress.set(entries));
        match list(filter.of_library(usize::MAX).query()).await {
            // A registry of an earlier version takes one tag.
            Err(Error::Status { status: 400, .. }) if filter.tag.len() > 1 => list(filter.of_library(1).query()).await,
            services => services,
        }
    });
    let mut services = with_progress(&progress, asked).await?;
    services.retain(|service| filter.wants(service)); // a registry of an earlier version ignores most filters
    Ok(services)
}

impl Filter {
    pub(crate) fn new(tag: Vec<String>, metadata: Vec<(String, String)>, id_prefix: Option<String>) -> Self {
        Self { tag, metadata, id_prefix }
    }

    fn is_empty(&self) -> bool {
        self.tag.is_empty() && self.metadata.is_empty() && self.id_prefix.is_none()
    }

    /// Returns the filter of the client library, with at most so many tags.
    pub(crate) fn of_library(&self, most_tags: usize) -> ServiceFilter {
        let tags = self.tag.iter().take(most_tags).cloned().collect();
        ServiceFilter { tags, metadata: self.metadata.iter().cloned().collect(), id_prefix: self.id_prefix.clone() }
    }

    pub(crate) fn wants(&self, service: &Value) -> bool {
        let has_tag =
            |tag: &String| service["tags"].as_array().is_some_and(|tags| tags.iter().any(|other| other == tag));
        let has_pair = |(key, value): &(String, String)| service["metadata"][key] == *value;
        let begins = |prefix: &String| service["id"].as_str().is_some_and(|id| id.starts_with(prefix));
        self.tag.iter().all(has_tag) && self.metadata.iter().all(has_pair) && self.id_prefix.iter().all(begins)
    }
}

/// Parses `key=value`; the first `=` splits.
fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE"),
    }
}

/// Adds the metadata to the members of a service, and `address` and `port`. Members of a service take precedence.
fn context(service: &Value) -> Value {
    let mut names = service["metadata"].as_object().cloned().unwrap_or_default();
    let address = ADDRESSES.iter().find_map(|key| names.get(*key)).cloned();
    names.extend(address.map(|address| ("address".to_owned(), address)));
    names.extend(service.as_object().cloned().unwrap_or_default());
    Value::Object(names)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn template_finds_metadata_and_address_at_the_top() {
        let service = json!({"id": "web1", "tags": ["a"], "metadata": {"host": "h", "port": "80", "id": "other"}});
        let names = context(&service);
        assert_eq!([&names["id"], &names["address"], &names["port"]], ["web1", "h", "80"]);
        let service = json!({"id": "web1", "metadata": {"host": "h", "ip": "192.0.2.7"}});
        assert_eq!(context(&service)["address"], "192.0.2.7");
    }

    #[test]
    fn filter_wants_all_of_its_parts() {
        let service = json!({"id": "web1", "tags": ["a", "b"], "metadata": {"zone": "eu"}});
        let filter = |tags: &[&str], pairs: &[(&str, &str)], prefix: Option<&str>| Filter {
            tag: tags.iter().map(|&tag| tag.to_owned()).collect(),
            metadata: pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
            id_prefix: prefix.map(str::to_owned),
        };
        assert!(filter(&["a", "b"], &[("zone", "eu")], Some("we")).wants(&service));
        assert!(!filter(&["a", "c"], &[], None).wants(&service));
        assert!(!filter(&[], &[("zone", "us")], None).wants(&service));
        assert!(!filter(&[], &[("rack", "eu")], None).wants(&service));
        assert!(!filter(&[], &[], Some("eb")).wants(&service));
    }
}

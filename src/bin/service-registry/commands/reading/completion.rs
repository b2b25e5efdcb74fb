//! What a shell offers for a word: ids and tags that the registry has.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::time::Duration;

use clap::{Args, Command, FromArgMatches};
use clap_complete::CompletionCandidate;
use serde_json::Value;
use service_registry::connection::{Origins, RegistryOptions};

use crate::connection::{Connection, block_on};

/// A user who has pressed Tab waits no longer.
const LIMIT: Duration = Duration::from_secs(1);

pub(crate) fn service_ids(begun: &OsStr) -> Vec<CompletionCandidate> {
    offer(begun, &["services"], id)
}

pub(crate) fn session_ids(begun: &OsStr) -> Vec<CompletionCandidate> {
    offer(begun, &["sessions"], id)
}

pub(crate) fn value_ids(begun: &OsStr) -> Vec<CompletionCandidate> {
    offer(begun, &["configuration"], id)
}

pub(crate) fn tags(begun: &OsStr) -> Vec<CompletionCandidate> {
    let tags = |service: &Value| service["tags"].as_array().into_iter().flatten().filter_map(text).collect();
    offer(begun, &["services"], tags)
}

fn id(object: &Value) -> Vec<String> {
    text(&object["id"]).into_iter().collect()
}

/// Returns the texts of a list that begin like the word; none if the registry does not answer in time. What a shell
/// would have to quote is left out.
fn offer(begun: &OsStr, path: &[&str], texts: fn(&Value) -> Vec<String>) -> Vec<CompletionCandidate> {
    let is_plain = |text: &String| text.chars().all(|c| c.is_alphanumeric() || "_-./@+".contains(c));
    let begun = begun.to_string_lossy();
    let listed = list(path).unwrap_or_default();
    let all: BTreeSet<String> = listed.iter().flat_map(texts).collect();
    all.into_iter().filter(|text| is_plain(text) && text.starts_with(&*begun)).map(CompletionCandidate::new).collect()
}

/// Asks the registry that the words before this one name, or the variables, or a configuration file.
fn list(path: &[&str]) -> Option<Vec<Value>> {
    let command = RegistryOptions::augment_args(Command::new("words").no_binary_name(true)).ignore_errors(true);
    let mut words = std::env::args_os().skip_while(|word| word != "--"); // the shell's line is behind it
    let mut options = Vec::new();
    while let Some(word) = words.next() {
        let name = word.to_str().and_then(|word| word.strip_prefix("--")).unwrap_or_default();
        let (name, has_value) = name.split_once('=').map_or((name, false), |(name, _)| (name, true));
        if command.get_arguments().any(|option| option.get_long() == Some(name)) {
            options.push(word.clone());
            options.extend(if has_value { None } else { words.next() });
        }
    }
    let matches = command.clone().try_get_matches_from(options).ok()?;
    let registry = RegistryOptions::from_arg_matches(&matches).ok()?;
    let connection = Connection::with_limit(registry, Origins::of(&command, &matches), LIMIT).ok()?;
    let asked = connection.ask(async |client| client.raw_list(path, Vec::new(), |_| ()).await);
    block_on(async { Ok(tokio::time::timeout(LIMIT, asked).await.ok()) }).ok()??.ok()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

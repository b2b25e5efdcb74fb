//! The description of a service, checked against the rules of the API before anything is contacted.

use anyhow::{Context, Result, bail, ensure};

use super::{hostname, lists, ports_needed, value};
use crate::client::ServicePayload;
use crate::wire::Metadata;
use crate::wire::limits::{BODY, HEARTBEAT_TIMEOUT, KEY_OR_VALUE, PAIRS, SERVICE_ID};

/// In bytes: the registry refuses larger bodies. The JSON around the values of one body is shorter than the difference.
const LARGEST_BODY: usize = BODY - 60;

/// The texts that describe a service, with their placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceTexts {
    /// The values of `--tags`.
    pub tags: Vec<String>,
    /// The values of `--metadata`.
    pub metadata: Vec<String>,
}

impl ServiceTexts {
    /// Returns the description of the service. `ports` are those that the command listens on; `origin` names the
    /// option in an error.
    ///
    /// # Errors
    ///
    /// Texts that break a rule of the API, and values that cannot be found.
    pub fn payload(&self, id: &str, ports: &[u16], origin: impl Fn(&str) -> String) -> Result<ServicePayload> {
        let value = |name: &str, argument: Option<&str>| value(name, argument, ports);
        let tags = lists::tags(&self.tags, value).with_context(|| origin("tags"))?;
        let metadata = lists::metadata(&self.metadata, value).with_context(|| origin("metadata"))?;
        let payload = ServicePayload { tags, metadata };
        check_payload(id, &payload).with_context(|| origin("metadata"))?;
        Ok(payload)
    }

    /// Returns how many ports the placeholders need.
    #[must_use]
    pub fn ports_needed(&self) -> usize {
        self.all().map(|text| ports_needed(text)).max().unwrap_or(0)
    }

    /// Returns whether a placeholder stands for an address of this machine.
    #[must_use]
    pub fn name_addresses(&self) -> bool {
        self.all().any(|text| text.contains("{ip"))
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.tags.iter().chain(&self.metadata)
    }
}

fn check_payload(id: &str, payload: &ServicePayload) -> Result<()> {
    check_size(id.len() + size_on_the_wire(&payload.tags)? + size_on_the_wire(&payload.metadata)?)
}

/// Returns the size of a value as JSON.
///
/// # Errors
///
/// None for texts, lists and pairs.
pub fn size_on_the_wire(value: &impl serde::Serialize) -> Result<usize> {
    Ok(serde_json::to_vec(value)?.len())
}

/// Checks the size of all values of one request.
///
/// # Errors
///
/// The registry takes no such request.
pub fn check_size(size: usize) -> Result<()> {
    ensure!(size <= LARGEST_BODY, "{size} bytes are too many; the registry takes about {LARGEST_BODY} in all");
    Ok(())
}

/// Checks a service id.
///
/// # Errors
///
/// The rule that it breaks.
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if let Some(wrong) = id.chars().find(|c| !allowed(c)) {
        bail!("{} contains {wrong:?}; an id is made of letters, digits, '_', '-', '.'", lists::quoted(id));
    }
    ensure!(SERVICE_ID.contains(&id.len()), "{} has {} characters; an id has 3 to 65", lists::quoted(id), id.len());
    Ok(())
}

/// Parses a heartbeat timeout in seconds.
///
/// # Errors
///
/// It is not a whole number from 3 to 120.
pub fn interval(seconds: &str) -> Result<u32> {
    let number = seconds.parse::<u32>().ok().filter(|number| HEARTBEAT_TIMEOUT.contains(number));
    number.with_context(|| format!("{} is not a whole number of seconds from 3 to 120", lists::quoted(seconds)))
}

/// Adds who holds the session, so that others can find the process: each pair only if its key was not given, and all
/// of them only if the registry takes so much. `command` is the name of the program.
#[must_use]
pub fn session_metadata(given: Metadata, command: Option<&str>) -> Metadata {
    let defaults = [
        ("host", hostname().ok()),
        ("pid", Some(std::process::id().to_string())),
        ("command", command.map(str::to_owned)),
        ("version", Some(env!("CARGO_PKG_VERSION").to_owned())),
    ];
    let mut all = given.clone();
    for (key, value) in defaults {
        let fits = |value: &String| KEY_OR_VALUE.contains(&value.encode_utf16().count());
        if let Some(value) = value.filter(fits) {
            all.entry(key.to_owned()).or_insert(value);
        }
    }
    let is_small = all.len() <= PAIRS && size_on_the_wire(&all).is_ok_and(|size| check_size(size).is_ok());
    if is_small { all } else { given }
}

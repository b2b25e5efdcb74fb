//! The options about the service, and what they make of it.

use anyhow::{Context, Result, ensure};
use clap::Args;
use service_registry::client::ServicePayload;
use service_registry::wire::Metadata;
use service_registry::wire::limits::BODY;

use super::lists;
use crate::placeholders;

/// In bytes: the registry refuses larger bodies. The JSON around the values of one body is shorter than the difference.
const LARGEST_BODY: usize = BODY - 60;

#[derive(Debug, Args)]
#[command(next_help_heading = "Service")]
pub(crate) struct ServiceOptions {
    /// Service id: 3 to 65 of letters, digits, '_', '-', '.'
    #[arg(long, value_name = "ID", env = "SERVICE_REGISTRY_ID", hide_env_values = true)]
    pub id: Option<String>,

    /// Tags to find the service by: at most 10 of 1 to 55 characters, separated by ','; repeatable
    #[arg(short, long, value_name = "TAG,...", env = "SERVICE_REGISTRY_TAGS", hide_env_values = true)]
    pub tags: Vec<String>,

    /// Description of the service, where placeholders such as {ip} and {hostname} are replaced: at most 20 pairs,
    /// separated by ',' (write '\,' for a comma in a value); the first '=' splits; repeatable
    #[arg(short, long, value_name = "KEY=VALUE,...", env = "SERVICE_REGISTRY_METADATA", hide_env_values = true)]
    pub metadata: Vec<String>,

    /// Description of the session, in the same form
    #[arg(long, value_name = "KEY=VALUE,...", env = "SERVICE_REGISTRY_SESSION_METADATA", hide_env_values = true)]
    pub session_metadata: Vec<String>,

    /// Heartbeat timeout in seconds, 3 to 120: the registry drops the service this long after the last heartbeat
    #[arg(short, long, value_name = "SECONDS", env = "SERVICE_REGISTRY_INTERVAL", hide_env_values = true)]
    #[arg(default_value = "30")]
    pub interval: String,
}

/// The service to keep registered.
#[derive(Clone)]
pub(crate) struct Service {
    pub id: String,
    pub texts: ServiceTexts,
    /// What the texts say at the start. Ports that are not known yet are 65535 in it.
    pub payload: ServicePayload,
    pub session_metadata: Metadata,
    /// Heartbeat timeout in seconds.
    pub interval: u32,
}

/// The texts that describe the service, with their placeholders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceTexts {
    pub tags: Vec<String>,
    pub metadata: Vec<String>,
}

impl ServiceTexts {
    /// Returns the description of the service. `ports` are those that the command listens on; `origin` names the
    /// option in an error.
    ///
    /// # Errors
    ///
    /// Texts that break a rule of the API, and values that cannot be found.
    pub(crate) fn payload(&self, id: &str, ports: &[u16], origin: impl Fn(&str) -> String) -> Result<ServicePayload> {
        let value = |name: &str, argument: Option<&str>| placeholders::value(name, argument, ports);
        let tags = lists::tags(&self.tags, value).with_context(|| origin("tags"))?;
        let metadata = lists::metadata(&self.metadata, value).with_context(|| origin("metadata"))?;
        let payload = ServicePayload { tags, metadata };
        check_payload(id, &payload).with_context(|| origin("metadata"))?;
        Ok(payload)
    }

    /// Returns how many ports the placeholders need.
    pub(crate) fn ports_needed(&self) -> usize {
        self.all().map(|text| placeholders::ports_needed(text)).max().unwrap_or(0)
    }

    /// Returns whether a placeholder stands for an address of this machine.
    pub(crate) fn name_addresses(&self) -> bool {
        self.all().any(|text| text.contains("{ip"))
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.tags.iter().chain(&self.metadata)
    }
}

fn check_payload(id: &str, payload: &ServicePayload) -> Result<()> {
    check_size(id.len() + size_on_the_wire(&payload.tags)? + size_on_the_wire(&payload.metadata)?)
}

pub(super) fn size_on_the_wire(value: &impl serde::Serialize) -> Result<usize> {
    Ok(serde_json::to_vec(value)?.len())
}

pub(super) fn check_size(size: usize) -> Result<()> {
    ensure!(size <= LARGEST_BODY, "{size} bytes are too many; the registry takes about {LARGEST_BODY} in all");
    Ok(())
}

//! The options about the service, and what they make of it.

use clap::Args;
use service_registry::client::ServicePayload;
use service_registry::description::ServiceTexts;
use service_registry::wire::Metadata;

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

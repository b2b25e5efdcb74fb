//! Where it is registered, and as whom.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use crate::registration::Secret;

#[derive(Debug, Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryOptions {
    /// The registry; of several, separated by ',', the next is tried when one does not answer. Without it:
    /// http://127.0.0.1:7117, hosted by the wrapper itself when nothing listens there
    #[arg(long, value_name = "URL,...", env = "SERVICE_REGISTRY_URL", hide_env_values = true)]
    pub registry_url: Vec<String>,

    /// Where to log in, when that is not the registry's own origin
    #[arg(long, value_name = "URL", env = "SERVICE_REGISTRY_AUTH_URL", hide_env_values = true)]
    pub auth_url: Option<String>,

    /// Log in at the Rackspace identity endpoint of this region
    #[arg(long, value_name = "REGION", env = "SERVICE_REGISTRY_REGION", hide_env_values = true)]
    #[arg(ignore_case = true)]
    pub region: Option<Region>,

    /// User name to log in with; without one there is no login
    #[arg(long, value_name = "NAME", env = "SERVICE_REGISTRY_USERNAME", hide_env_values = true)]
    pub username: Option<String>,

    /// API key; everybody on the machine can read it in the process list, so prefer --api-key-file
    #[arg(long, value_name = "KEY", env = "SERVICE_REGISTRY_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// The key, out of the hands of the parser. It is not `api_key` itself: in the environment there is another text in its
    /// place by now.
    #[arg(skip)]
    pub key: Option<Secret>,

    /// File that holds the API key
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_API_KEY_FILE", hide_env_values = true)]
    pub api_key_file: Option<OsString>,

    /// File of authorities (PEM) that https may trust besides the system's
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<OsString>,

    /// File with the certificate (PEM) to show to a registry that asks for one
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CLIENT_CERT", hide_env_values = true)]
    pub client_cert: Option<OsString>,

    /// File with the private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CLIENT_KEY", hide_env_values = true)]
    pub client_key: Option<OsString>,
}

/// Which of Rackspace's identity endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Region {
    /// United States
    Us,
    /// United Kingdom
    Uk,
}

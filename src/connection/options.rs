//! The options about the registry and the login.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::access::Secret;

/// The options by which registries are reached.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Registry")]
pub struct RegistryOptions {
    /// The registry; of several, separated by ',', the next one is tried if one does not answer. Default:
    /// http://127.0.0.1:7117
    #[arg(long, value_name = "URL,...", env = "SERVICE_REGISTRY_URL", hide_env_values = true)]
    pub registry_url: Vec<String>,

    /// Address to log in at, if it is not the registry's own
    #[arg(long, value_name = "URL", env = "SERVICE_REGISTRY_AUTH_URL", hide_env_values = true)]
    pub auth_url: Option<String>,

    /// Log in at the Rackspace identity service of this region
    #[arg(long, value_name = "REGION", env = "SERVICE_REGISTRY_REGION", hide_env_values = true)]
    #[arg(ignore_case = true)]
    pub region: Option<Region>,

    /// User name to log in with; without one there is no login
    #[arg(long, value_name = "NAME", env = "SERVICE_REGISTRY_USERNAME", hide_env_values = true)]
    pub username: Option<String>,

    /// API key; all users of the machine can read it in the process list, so prefer --api-key-file
    #[arg(long, value_name = "KEY", env = "SERVICE_REGISTRY_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,

    /// The key, at one place in memory. In the wrapper it is not `api_key`, because in the environment other text has
    /// replaced it by the time of the parsing.
    #[arg(skip)]
    pub key: Option<Secret>,

    /// File with the API key
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_API_KEY_FILE", hide_env_values = true)]
    pub api_key_file: Option<OsString>,

    /// File of certificate authorities (PEM) to trust besides the system's
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CA_FILE", hide_env_values = true)]
    pub ca_file: Option<OsString>,

    /// File with the client certificate (PEM) for a registry that requires one
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CLIENT_CERT", hide_env_values = true)]
    pub client_cert: Option<OsString>,

    /// File with the private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_CLIENT_KEY", hide_env_values = true)]
    pub client_key: Option<OsString>,
}

/// The regions of Rackspace's identity service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Region {
    /// United States
    Us,
    /// United Kingdom
    Uk,
}

impl RegistryOptions {
    /// Pairs of options: one on the command line overrides the other one from the environment, and either of them the
    /// other one in a configuration file.
    pub const RIVALS: [[&str; 2]; 2] = [["api_key", "api_key_file"], ["auth_url", "region"]];

    /// The options that name files. Their values need not be UTF-8.
    pub const FILES: [&str; 4] = ["api_key_file", "ca_file", "client_cert", "client_key"];

    /// Moves the parsed key to one place in memory.
    pub fn keep_key(&mut self) {
        self.key = self.api_key.take().map(|key| Secret::new(key.into()));
    }

    /// Removes the value of an option of [`Self::RIVALS`].
    pub(super) fn forget(&mut self, option: &str) {
        match option {
            "api_key" => (self.api_key, self.key) = (None, None),
            "api_key_file" => self.api_key_file = None,
            "auth_url" => self.auth_url = None,
            "region" => self.region = None,
            _ => {}
        }
    }
}

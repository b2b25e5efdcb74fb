//! Checks the options about the registry before anything is contacted. Every error names the option, the variable or
//! the key of a file.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::access::{Access, Key, TlsFiles};
use super::options::{Region, RegistryOptions};
use super::origins::Origins;
use crate::client;
use crate::client::{Error, Setting};

impl RegistryOptions {
    /// Returns the URLs of the registries.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        let urls = self.registry_url.iter().flat_map(|list| list.split(',')).map(str::trim);
        urls.filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }

    /// Makes the settings of clients whose requests have this time limit.
    ///
    /// # Errors
    ///
    /// If options exclude each other, or one is missing.
    pub fn access(&self, origins: &Origins, limit: Duration, warnings: &mut Vec<String>) -> Result<Access> {
        let credentials = self.credentials(origins, warnings)?;
        let auth_url = given(&self.auth_url);
        for (option, is_given) in [("auth_url", auth_url.is_some()), ("region", self.region.is_some())] {
            let name = origins.name(option);
            ensure!(
                !is_given || credentials.is_some(),
                "{name} says where to log in, but no user is given: add --username"
            );
        }
        ensure!(auth_url.is_none() || self.region.is_none(), "--auth-url and --region are both given: choose one");
        let access = Access {
            urls: self.urls(),
            auth_url: auth_url.map(str::to_owned),
            region: self.region.map(|region| match region {
                Region::Us => client::Region::Us,
                Region::Uk => client::Region::Uk,
            }),
            credentials,
            tls_files: self.tls_files(origins)?,
            limit,
        };
        let lists = &self.registry_url;
        let has_gap = lists.iter().any(|list| !list.is_empty() && list.split(',').any(|url| url.trim().is_empty()));
        ensure!(!has_gap, "{}: there is nothing between two commas, or beside one", origins.name("registry_url"));
        Ok(access)
    }

    fn credentials(&self, origins: &Origins, warnings: &mut Vec<String>) -> Result<Option<(String, Key)>> {
        let file = self.api_key_file.as_ref().filter(|file| !file.is_empty());
        let key = match (&self.key, file) {
            (Some(_), Some(_)) => bail!("--api-key and --api-key-file are both given: choose one"),
            (Some(key), None) => {
                if origins.is_typed("api_key") {
                    warnings.push("--api-key shows the key in the process list: use --api-key-file".to_owned());
                }
                Some(Key::Text(key.clone()))
            }
            (None, Some(file)) => Some(Key::File(file.clone())),
            (None, None) => None,
        };
        match (given(&self.username), key) {
            (Some(name), Some(key)) => Ok(Some((name.to_owned(), key))),
            (Some(_), None) => bail!("{} is given without a key: add --api-key-file", origins.name("username")),
            // A unit file may name a key for all its instances, also for those whose registry has no users.
            (None, Some(Key::File(_))) if origins.is_variable("api_key_file") => Ok(None),
            (None, Some(_)) => bail!("an API key is given without a user: add --username"),
            (None, None) => Ok(None),
        }
    }

    /// Returns the files for https.
    fn tls_files(&self, origins: &Origins) -> Result<TlsFiles> {
        let file = |option: &Option<OsString>| option.clone().filter(|file| !file.is_empty());
        let client = match (file(&self.client_cert), file(&self.client_key)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (Some(_), None) => bail!("{} is given without its key: add --client-key", origins.name("client_cert")),
            (None, Some(_)) => {
                bail!("{} is given without a certificate: add --client-cert", origins.name("client_key"))
            }
            (None, None) => None,
        };
        Ok(TlsFiles { ca_file: file(&self.ca_file), client })
    }

    /// Returns the option for the setting that the client library refuses.
    #[must_use]
    pub fn option_of(error: &Error) -> &'static str {
        match error.setting() {
            Some(Setting::AuthUrl) => "auth_url",
            Some(Setting::CaFile) => "ca_file",
            Some(Setting::ClientCertificate) => "client_cert",
            Some(Setting::ClientKey) => "client_key",
            _ => "registry_url",
        }
    }
}

/// Returns a value unless it is empty.
fn given(value: &Option<String>) -> Option<&str> {
    value.as_deref().filter(|value| !value.is_empty())
}

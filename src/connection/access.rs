//! The registries, the credentials for them, and clients made from them.

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use zeroize::Zeroizing;

use crate::client::{Cause, Client, Error, Phase, Region};
use crate::files;
use crate::wire::DEFAULT_PORT;

/// In bytes; no key is longer.
const LARGEST_KEY: u64 = 64 * 1024;

/// A key at one place in memory, which is overwritten when its last user drops it.
pub type Secret = Arc<Zeroizing<String>>;

/// The settings by which registries are reached.
#[derive(Clone)]
pub struct Access {
    /// In the order in which they are tried; if there are none, the default address.
    pub urls: Vec<String>,
    /// The address to log in at.
    pub auth_url: Option<String>,
    /// The region to log in at.
    pub region: Option<Region>,
    /// User name and key.
    pub credentials: Option<(String, Key)>,
    /// The files for https.
    pub tls_files: TlsFiles,
    /// The time limit of one request.
    pub limit: Duration,
}

/// The files for https.
#[derive(Clone)]
pub struct TlsFiles {
    /// Authorities to trust besides the system's.
    pub ca_file: Option<OsString>,
    /// The client certificate and its key.
    pub client: Option<(OsString, OsString)>,
}

/// An API key.
#[derive(Clone)]
pub enum Key {
    /// The key itself.
    Text(Secret),
    /// Read again when the registry refuses the key.
    File(OsString),
}

/// Returns the address of a registry that is not named.
#[must_use]
pub fn default_url() -> String {
    format!("http://127.0.0.1:{DEFAULT_PORT}")
}

impl Access {
    /// Reads the key to log in with, if there is one.
    ///
    /// # Errors
    ///
    /// If the file with the key cannot be used.
    pub fn key(&self) -> Result<Option<Secret>> {
        self.credentials.as_ref().map(|(_, key)| key.read()).transpose()
    }

    /// Returns whether it names files.
    #[must_use]
    pub fn names_files(&self) -> bool {
        let has_key_file = matches!(self.credentials, Some((_, Key::File(_))));
        has_key_file || self.tls_files.ca_file.is_some() || self.tls_files.client.is_some()
    }

    /// Returns whether the program will have a secret in memory.
    #[must_use]
    pub fn holds_secrets(&self) -> bool {
        self.credentials.is_some() || self.tls_files.client.is_some()
    }

    /// Makes a client for each registry, in the order in which they are tried.
    ///
    /// # Errors
    ///
    /// Those of [`ClientBuilder::build`](crate::client::ClientBuilder::build).
    pub fn clients(&self, key: Option<&Secret>) -> Result<Vec<Client>, Error> {
        let default = default_url();
        let urls = if self.urls.is_empty() { std::slice::from_ref(&default) } else { &self.urls };
        let key = key.map(|key| key.as_str());
        urls.iter().map(|url| self.client(url, key)).collect()
    }

    fn client(&self, url: &str, key: Option<&str>) -> Result<Client, Error> {
        let mut builder = Client::builder().registry_url(url).request_timeout(self.limit);
        if let Some(url) = &self.auth_url {
            builder = builder.auth_url(url);
        }
        if let Some(region) = self.region {
            builder = builder.region(region);
        }
        if let (Some((name, _)), Some(key)) = (&self.credentials, key) {
            builder = builder.credentials(name, key);
        }
        if let Some(file) = &self.tls_files.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some((certificate, key)) = &self.tls_files.client {
            builder = builder.client_certificate(certificate, key);
        }
        builder.build()
    }
}

impl Key {
    fn read(&self) -> Result<Secret> {
        match self {
            Self::Text(key) => Ok(key.clone()),
            Self::File(file) => {
                let place = || format!("API key file {}", file.display());
                let bytes = files::read_secret(Path::new(file), LARGEST_KEY).with_context(place)?;
                let text = files::text(bytes).with_context(place)?;
                let key = Zeroizing::new(text.trim().to_owned());
                ensure!(!key.is_empty(), "{} is empty; it should hold the API key", place());
                Ok(Arc::new(key))
            }
        }
    }
}

/// Names the options that may cure an error. The client library knows none.
#[must_use]
pub fn cure(error: &Error) -> &'static str {
    match error {
        Error::Transport { cause: Cause::Certificate, .. } => " (--ca-file)",
        Error::Transport { cause: Cause::ClientCertificate, .. } => " (--client-cert, --client-key)",
        Error::Transport { cause: Cause::OpenFiles | Cause::CertificateTime, .. } => "",
        Error::Status { phase: Phase::Login, status: 400..=403, .. } => " (--username, --api-key-file)",
        Error::Status { phase: Phase::Login, .. } => " (--auth-url)",
        Error::Status { fault: Some(fault), .. } if fault.kind == "forbiddenError" => "", // names the registry's option
        Error::Status { status: 401 | 403, .. } => " (--username, --api-key-file)",
        Error::Status { status: 413, .. } => " (--metadata, --tags, --session-metadata)",
        Error::Status { fault: Some(_), .. } | Error::InvalidArgument { .. } => "",
        _ => " (--registry-url)",
    }
}

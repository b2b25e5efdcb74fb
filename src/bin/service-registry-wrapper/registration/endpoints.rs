//! Where the registry is, and as whom it is spoken to: several addresses that are tried in turn, and a key that may change.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use service_registry::client::{Client, Error, Region};
use service_registry::files;
use zeroize::Zeroizing;

use crate::process::Blocking;

/// More than any key, in bytes.
const LARGEST_KEY: u64 = 64 * 1024;
/// How long the file system may take to give a key.
const PATIENCE: Duration = Duration::from_secs(2);

/// A key in one place in memory, which is overwritten when nobody needs it any more.
pub(crate) type Secret = Arc<Zeroizing<String>>;

/// How registries are reached.
#[derive(Clone)]
pub(crate) struct Access {
    /// In the order they are tried; the default address if none.
    pub urls: Vec<String>,
    pub auth_url: Option<String>,
    pub region: Option<Region>,
    pub credentials: Option<(String, Key)>,
    pub tls_files: TlsFiles,
    /// The time limit of one request.
    pub limit: Duration,
}

/// Files that https is set up with.
#[derive(Clone)]
pub(crate) struct TlsFiles {
    /// Authorities to trust besides the system's.
    pub ca_file: Option<OsString>,
    /// Certificate and key to show.
    pub client: Option<(OsString, OsString)>,
}

/// An API key.
#[derive(Clone)]
pub(crate) enum Key {
    Text(Secret),
    /// Read again when the registry does not take what was in it.
    File(OsString),
}

/// The registries, and which of them is spoken to now. Clones are the same.
#[derive(Clone)]
pub(crate) struct Endpoints {
    inner: Arc<Mutex<Inner>>,
    reading: Blocking,
}

struct Inner {
    access: Access,
    key: Option<Secret>,
    clients: Vec<Client>,
    current: usize,
}

impl Endpoints {
    /// `key` is what was in the credentials' key.
    pub(super) fn new(access: Access, key: Option<Secret>) -> Result<Self> {
        let clients = access.clients(key.as_ref())?;
        let inner = Arc::new(Mutex::new(Inner { access, key, clients, current: 0 }));
        Ok(Self { inner, reading: Blocking::default() })
    }

    /// The one that is spoken to.
    pub(super) fn current(&self) -> Client {
        let inner = self.lock();
        inner.clients[inner.current].clone()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// After a failure: the next one if this one does not answer. True if another client is to be used from now on.
    pub(super) fn fail_over(&self, error: &Error) -> bool {
        let silent = error.status().is_none_or(|status| status >= 500);
        let mut inner = self.lock();
        if silent && inner.clients.len() > 1 {
            inner.current = (inner.current + 1) % inner.clients.len();
            return true;
        }
        false
    }

    /// After the registry has not taken the key: reads it anew. True if another client is to be used from now on.
    pub(super) async fn read_key_again(&self) -> bool {
        let (access, known) = {
            let inner = self.lock();
            (inner.access.clone(), inner.key.clone())
        };
        let Some((_, Key::File(file))) = access.credentials.clone() else { return false };
        let read = move || {
            let key = access.key()?;
            if key == known { Ok(None) } else { Ok::<_, anyhow::Error>(Some((access.clients(key.as_ref())?, key))) }
        };
        match self.reading.run(PATIENCE, read).await {
            Some(Ok(Some((clients, key)))) => {
                tracing::info!("the registry did not take the API key; the file holds another one now");
                let mut inner = self.lock();
                (inner.clients, inner.key) = (clients, key);
                return true;
            }
            Some(Ok(None)) => {}
            Some(Err(error)) => tracing::warn!("{error:#}"),
            None => {
                let file = file.display();
                tracing::warn!("API key file {file}: the file system has not answered for {PATIENCE:?}; see its mount");
            }
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// The key to log in with, if there is one.
    pub(super) fn key(&self) -> Result<Option<Secret>> {
        self.credentials.as_ref().map(|(_, key)| key.read()).transpose()
    }

    /// Whether there are files to be read.
    pub(super) fn names_files(&self) -> bool {
        let has_key_file = matches!(self.credentials, Some((_, Key::File(_))));
        has_key_file || self.tls_files.ca_file.is_some() || self.tls_files.client.is_some()
    }

    /// Whether a secret will be in memory.
    pub(crate) fn holds_secrets(&self) -> bool {
        self.credentials.is_some() || self.tls_files.client.is_some()
    }

    fn clients(&self, key: Option<&Secret>) -> Result<Vec<Client>> {
        let default = format!("http://127.0.0.1:{}", service_registry::wire::DEFAULT_PORT);
        let urls = if self.urls.is_empty() { std::slice::from_ref(&default) } else { &self.urls };
        let key = key.map(|key| key.as_str());
        urls.iter().map(|url| self.client(url, key)).collect()
    }

    fn client(&self, url: &str, key: Option<&str>) -> Result<Client> {
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
        Ok(builder.build()?)
    }
}

impl Key {
    fn read(&self) -> Result<Secret> {
        match self {
            Self::Text(key) => Ok(key.clone()),
            Self::File(file) => {
                let place = || format!("API key file {}", file.display());
                let text = read_private(Path::new(file)).with_context(place)?;
                let key = Zeroizing::new(text.trim().to_owned());
                ensure!(!key.is_empty(), "{} is empty; it should hold the API key", place());
                Ok(Arc::new(key))
            }
        }
    }
}

/// A file that everybody may read is no place for a secret.
fn read_private(file: &Path) -> Result<Zeroizing<String>> {
    let file = files::open(file)?;
    let about = file.metadata()?;
    if about.is_file() && about.permissions().mode() & 0o004 != 0 {
        bail!("everybody may read it; run chmod o-r");
    }
    Ok(files::text(files::read_all(file, LARGEST_KEY)?)?)
}

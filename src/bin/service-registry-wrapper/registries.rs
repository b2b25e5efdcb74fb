//! Where the registry is, and as whom it is spoken to: several addresses that are tried in turn, and a key that may change.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use service_registry::client::{Client, Error, Region};

/// More than any key.
const LARGEST_KEY: u64 = 64 * 1024;

/// How registries are reached.
#[derive(Clone)]
pub(crate) struct Access {
    /// In the order they are tried; the default address if none.
    pub urls: Vec<String>,
    pub auth_url: Option<String>,
    pub region: Option<Region>,
    pub credentials: Option<(String, Key)>,
    pub papers: Papers,
    /// The time limit of one request.
    pub limit: Duration,
}

/// Files that https is set up with.
#[derive(Clone)]
pub(crate) struct Papers {
    /// Authorities to trust besides the system's.
    pub ca_file: Option<OsString>,
    /// Certificate and key to show.
    pub client: Option<(OsString, OsString)>,
}

/// An API key.
#[derive(Clone)]
pub(crate) enum Key {
    Text(String),
    /// Read again when the registry does not take what was in it.
    File(OsString),
}

/// The registries, and which of them is spoken to now. Clones are the same.
#[derive(Clone)]
pub(crate) struct Registries {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    access: Access,
    key: Option<String>,
    clients: Vec<Client>,
    current: usize,
}

impl Registries {
    /// `key` is what was in the credentials' key.
    pub(crate) fn new(access: Access, key: Option<String>) -> Result<Self> {
        let clients = access.clients(key.as_deref())?;
        Ok(Self { inner: Arc::new(Mutex::new(Inner { access, key, clients, current: 0 })) })
    }

    /// The one that is spoken to.
    pub(crate) fn current(&self) -> Client {
        let inner = self.lock();
        inner.clients[inner.current].clone()
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().clients.len()
    }

    /// After a failure: the next one if this one does not answer, and the key anew if it does not take the one it was
    /// shown. True if another client is to be used from now on.
    pub(crate) fn learn_from(&self, error: &Error) -> bool {
        if error.status() == Some(401) {
            return self.read_key_again();
        }
        let silent = error.status().is_none_or(|status| status >= 500);
        let mut inner = self.lock();
        if silent && inner.clients.len() > 1 {
            inner.current = (inner.current + 1) % inner.clients.len();
            return true;
        }
        false
    }

    fn read_key_again(&self) -> bool {
        let mut inner = self.lock();
        let Some((_, key @ Key::File(_))) = &inner.access.credentials else { return false };
        match key.read() {
            Ok(key) if inner.key.as_ref() != Some(&key) => match inner.access.clients(Some(&key)) {
                Ok(clients) => {
                    tracing::info!("the registry did not take the API key; the file holds another one now");
                    inner.key = Some(key);
                    inner.clients = clients;
                    true
                }
                Err(error) => {
                    tracing::warn!("{error:#}");
                    false
                }
            },
            Ok(_) => false,
            Err(error) => {
                tracing::warn!("{error:#}");
                false
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    fn clients(&self, key: Option<&str>) -> Result<Vec<Client>> {
        let default = format!("http://127.0.0.1:{}", service_registry::wire::DEFAULT_PORT);
        let urls = if self.urls.is_empty() { std::slice::from_ref(&default) } else { &self.urls };
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
        if let Some(file) = &self.papers.ca_file {
            builder = builder.ca_file(file);
        }
        if let Some((certificate, key)) = &self.papers.client {
            builder = builder.client_certificate(certificate, key);
        }
        Ok(builder.build()?)
    }
}

impl Key {
    pub(crate) fn read(&self) -> Result<String> {
        match self {
            Self::Text(key) => Ok(key.clone()),
            Self::File(file) => {
                let place = || format!("API key file {}", file.display());
                let key = read_private(Path::new(file)).with_context(place)?.trim().to_owned();
                ensure!(!key.is_empty(), "{} is empty; it should hold the API key", place());
                Ok(key)
            }
        }
    }
}

/// A file that everybody may read is no place for a secret.
fn read_private(file: &Path) -> Result<String> {
    let file = File::open(file)?;
    let about = file.metadata()?;
    if about.file_type().is_file() && about.permissions().mode() & 0o004 != 0 {
        bail!("everybody may read it; run chmod o-r");
    }
    ensure!(!about.file_type().is_block_device() && !about.is_dir(), "it is no file");
    let mut text = String::new();
    file.take(LARGEST_KEY).read_to_string(&mut text)?;
    Ok(text)
}

//! TLS: the authorities that are trusted, and the client certificate. Both are read again when they are renewed.
//!
//! Before a connection is opened, a thread checks whether a file has changed: certificates are renewed while programs
//! run, and half-way through a renewal certificate and key do not match. So the last ones that could be read stay in
//! use, and the next connection checks again. A connection that is open is not closed. *Not* the kernel's
//! notifications: they miss a file that is replaced through a link, as container platforms do.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_platform_verifier::Verifier;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::client::error::{Error, Setting};
use crate::files::{self, FileState, LARGEST_PEM};

/// The files that the caller has named.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsFiles {
    /// Authorities to trust besides the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// The client certificate with the intermediate ones, and its key.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

/// The content of these files.
#[derive(Default)]
struct Content {
    authorities: Vec<CertificateDer<'static>>,
    client: Option<Arc<CertifiedKey>>,
}

/// The configuration for the next connection.
pub(super) struct Tls {
    files: TlsFiles,
    config: Mutex<Arc<ClientConfig>>,
    /// Locked while files are read: a file system that does not answer holds one thread.
    last: Mutex<Last>,
    /// A certificate was refused: the files may have changed without a sign.
    is_suspect: AtomicBool,
}

/// What was read last.
struct Last {
    content: Content,
    states: Vec<Option<FileState>>,
    error: String,
}

impl Tls {
    /// Reads the files, and the system's authorities.
    pub(super) fn read(files: TlsFiles) -> Result<Self, Error> {
        let states = files.states();
        let content = files.read(&Content::default())?;
        let config = Mutex::new(Arc::new(configure(&content)?));
        let last = Mutex::new(Last { content, states, error: String::new() });
        Ok(Self { files, config, last, is_suspect: AtomicBool::new(false) })
    }

    /// Has everything read again for the next connection.
    pub(super) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
    }

    /// Returns the configuration, after files that have changed were read again. What takes longer than `limit` to be
    /// read is for the next connection.
    pub(super) async fn current(self: Arc<Self>, limit: Duration) -> Arc<ClientConfig> {
        let (done, told) = oneshot::channel::<()>();
        let tls = self.clone();
        let work = move || {
            tls.read_again();
            drop(done);
        };
        match thread::Builder::new().name("certificates".to_owned()).spawn(work) {
            Ok(_) => drop(timeout(limit, told).await),
            // A registered service matters more than the risk of a file system that does not answer.
            Err(_) => self.read_again(),
        }
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read_again(&self) {
        let mut last = match self.last.try_lock() {
            Ok(last) => last,
            Err(TryLockError::Poisoned(last)) => last.into_inner(),
            Err(TryLockError::WouldBlock) => return, // another thread is at it
        };
        let states = self.files.states();
        let is_suspect = self.is_suspect.swap(false, Ordering::Relaxed);
        if states == last.states && !is_suspect {
            return;
        }
        let read = self.files.read(&last.content).and_then(|content| Ok((configure(&content)?, content)));
        match read {
            Ok((config, content)) => {
                if states != last.states {
                    tracing::info!("the certificates for TLS have changed; read them again");
                }
                *last = Last { content, states, error: String::new() };
                *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
            }
            Err(error) => {
                let error = error.to_string();
                if error != last.error {
                    tracing::warn!("{error}; what was read before stays in use, and the next connection tries again");
                    last.error = error;
                }
            }
        }
    }
}

impl TlsFiles {
    /// Returns an error if the files cannot be used.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.read(&Content::default()).map(drop)
    }

    /// Returns what tells whether one of the files, or the system's, has changed.
    fn states(&self) -> Vec<Option<FileState>> {
        let client = self.client.iter().flat_map(|(certificate, key)| [certificate, key]);
        let named = self.ca_file.iter().chain(client).filter(|file| !files::is_descriptor(file));
        #[cfg(unix)]
        let system = {
            let system = openssl_probe::probe();
            system.cert_file.into_iter().chain(system.cert_dir)
        };
        #[cfg(not(unix))]
        let system = std::iter::empty::<PathBuf>();
        named.cloned().chain(system).map(|file| FileState::of(&file)).collect()
    }

    /// Reads the files. What came through a descriptor is read once, and then taken from `before`.
    fn read(&self, before: &Content) -> Result<Content, Error> {
        let authorities = match &self.ca_file {
            Some(file) if files::is_descriptor(file) && !before.authorities.is_empty() => before.authorities.clone(),
            Some(file) => read_certificates(file, "CA file").map_err(|error| error.of(Setting::CaFile))?,
            None => Vec::new(),
        };
        let client = match (&self.client, &before.client) {
            (Some((certificate, key)), Some(pair)) if [certificate, key].into_iter().any(files::is_descriptor) => {
                Some(pair.clone())
            }
            (Some((certificate, key)), _) => Some(Arc::new(read_client(certificate, key)?)),
            (None, _) => None,
        };
        Ok(Content { authorities, client })
    }
}

fn read_client(certificate: &Path, key: &Path) -> Result<CertifiedKey, Error> {
    let chain =
        read_certificates(certificate, "client certificate").map_err(|error| error.of(Setting::ClientCertificate))?;
    let cure = "give a file with one private key (PEM) that is not encrypted";
    let refused = |error: &dyn std::error::Error| {
        Error::invalid(format!("cannot use the client key {}: {error}; {cure}", key.display())).of(Setting::ClientKey)
    };
    let pem = files::read(key, LARGEST_PEM).map_err(|error| refused(&error))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| refused(&error))?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        Error::invalid(format!("the client key does not fit the client certificate: {error}")).of(Setting::ClientKey)
    })
}

fn read_certificates(file: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let refused = |why: String| {
        Error::invalid(format!("cannot use the {what} {}: {why}; give a file of PEM certificates", file.display()))
    };
    let pem = files::read(file, LARGEST_PEM).map_err(|error| refused(error.to_string()))?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(error.to_string()))?;
    if certificates.is_empty() { Err(refused("no certificate in it".to_owned())) } else { Ok(certificates) }
}

/// Verifies certificates like the system does. Loading its authorities takes milliseconds, hence for https only.
///
/// The provider is passed explicitly instead of installed for the process: that choice is the program's.
fn configure(content: &Content) -> Result<ClientConfig, Error> {
    let refused = |error: rustls::Error| {
        Error::invalid(format!(
            "cannot set up TLS: {error}; install the system's certificates (ca-certificates), or set SSL_CERT_FILE"
        ))
    };
    let verifier = Verifier::new_with_extra_roots(content.authorities.iter().cloned(), provider()).map_err(refused)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .dangerous() // rustls's name for every verifier except its own
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &content.client {
        Some(pair) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair.clone()))),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

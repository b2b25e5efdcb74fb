//! TLS for the registry's listener: certificate, key, and the authorities of client certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::files;
use crate::files::LARGEST_PEM;
use crate::registry::Error;

/// A certificate, its key, and the authority of client certificates, ready for use.
#[derive(Clone, Debug)]
pub struct Tls(pub(crate) Arc<ServerConfig>);

/// The files that these are read from.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then the intermediate ones.
    pub certificate: PathBuf,
    /// PEM: the certificate's private key.
    pub key: PathBuf,
    /// PEM: authorities, one of which must have signed the certificate of every client. Without it, clients need none.
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if one cannot be read, or they do not match.
    pub fn read(paths: &TlsFiles) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls { file: None, why: error.to_string() })?;
        let builder = match &paths.client_ca {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(file)? {
                    roots.add(certificate).map_err(|error| in_file(file, &error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|error| in_file(file, &error))?)
            }
        };
        let no_key = |error: &dyn std::fmt::Display| in_file(&paths.key, &format_args!("no private key: {error}"));
        let pem = files::read_secret(&paths.key, LARGEST_PEM).map_err(|error| no_key(&error))?;
        let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| no_key(&error))?;
        let certificates = certificates(&paths.certificate)?;
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            let why = format!("{} with {}: {error}", paths.certificate.display(), paths.key.display());
            Error::Tls { file: Some(paths.key.clone()), why }
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = files::read(file, LARGEST_PEM).map_err(|error| in_file(file, &error))?;
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(certificates) if certificates.is_empty() => {
            Err(in_file(file, &"no certificate in it; give a file of PEM certificates"))
        }
        read => read.map_err(|error| in_file(file, &error)),
    }
}

fn in_file(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Tls { file: Some(file.to_owned()), why: format!("{}: {error}", file.display()) }
}

//! TLS for the registry's listener: certificate and key, and whose clients may come.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::Error;

/// A certificate, its key, and the authority of client certificates, ready for use.
#[derive(Clone, Debug)]
pub struct Tls(pub(super) Arc<ServerConfig>);

/// The files that they are read from.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// PEM: the server's certificate, then those between it and the authority.
    pub certificate: PathBuf,
    /// PEM: the certificate's private key.
    pub key: PathBuf,
    /// PEM: authorities one of which must have signed the certificate of every client. Without it, clients need none.
    pub client_ca: Option<PathBuf>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`Error::Tls`] if one cannot be read, or they do not fit together.
    pub fn read(files: &TlsFiles) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.to_string()))?;
        let builder = match &files.client_ca {
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
        let key = PrivateKeyDer::from_pem_file(&files.key)
            .map_err(|error| Error::Tls(format!("{}: no private key: {error}", files.key.display())))?;
        let certificates = certificates(&files.certificate)?;
        let mut config = builder.with_single_cert(certificates, key).map_err(|error| {
            Error::Tls(format!("{} with {}: {error}", files.certificate.display(), files.key.display()))
        })?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err(Error::Tls(format!("{}: no certificate in it; give a file of PEM certificates", file.display())))
        }
        read => read.map_err(|error| in_file(file, &error)),
    }
}

fn in_file(file: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Tls(format!("{}: {error}", file.display()))
}

//! TLS to other nodes: the authorities that are trusted, and this node's own certificate.
//!
//! The configuration is made once: it takes milliseconds. A node whose certificate was renewed is accepted as before if
//! the same authority has signed it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use tokio_rustls::TlsConnector;

/// Returns what opens TLS connections. `ca` and `identity` (certificate, key) are PEM.
pub(super) fn connector(ca: Option<&[u8]>, identity: Option<&(Vec<u8>, Vec<u8>)>) -> Result<TlsConnector, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| format!("cannot set up TLS: {error}"))?;
    let builder = match ca {
        Some(pem) => builder.with_root_certificates(roots(pem)?),
        None => {
            let verifier = Verifier::new(provider).map_err(|error| {
                format!(
                    "cannot read the system's certificates: {error}; install ca-certificates or give --node-ca-file"
                )
            })?;
            // rustls's name for every verifier except its own
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let cure = "give a PEM file with one private key that is not encrypted";
            let key = PrivateKeyDer::from_pem_slice(key);
            let key = key.map_err(|error| format!("the key of this node's certificate: {error}; {cure}"))?;
            let chain = certificates(certificate).map_err(|error| format!("this node's certificate: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("this node's certificate: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(pem: &[u8]) -> Result<RootCertStore, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("the authority of the other nodes (--node-ca-file): {error}");
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|error| wrong(&error))? {
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    Ok(roots)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match read.map_err(|error| error.to_string())? {
        none if none.is_empty() => Err("no certificate in it; give a file of PEM certificates".to_owned()),
        certificates => Ok(certificates),
    }
}

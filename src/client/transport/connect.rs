//! The HTTP client: one connection that is kept, no redirects, and TLS for https only.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;
use url::{Host, Url};

use super::connector::Connector;
use crate::client::error::{Error, Setting};
use crate::files;
use crate::files::LARGEST_PEM;

const OURSELVES: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// The size of hyper's read buffer, in bytes.
const BUFFER: usize = 32 << 10;

/// Sends requests, and keeps a connection for the next one.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
    proxies: Option<Arc<Matcher>>,
}

impl Http {
    /// Sends a request. The body of its response is read later.
    pub(super) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let proxy = self.proxies.as_ref().and_then(|proxies| proxies.intercept(request.uri()));
        let is_plain = request.uri().scheme_str() == Some("http");
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(OURSELVES));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        // With https, the proxy gets its credentials when the connection is opened.
        if let Some(auth) = proxy.as_ref().filter(|_| is_plain).and_then(|proxy| proxy.basic_auth()) {
            headers.insert(PROXY_AUTHORIZATION, auth.clone());
        }
        self.client.request(request).await
    }
}

/// The kind of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    tls: bool,
    proxy: bool,
}

/// The files for TLS.
#[derive(Debug, Default)]
pub(crate) struct TlsFiles {
    /// Authorities to trust besides the system's.
    pub(crate) authorities: Vec<CertificateDer<'static>>,
    /// The client certificate with the intermediate ones, and its key.
    pub(crate) own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Kind {
    pub(crate) fn of(url: &Url) -> Self {
        let proxy = !is_loopback(url);
        Self { tls: url.scheme() == "https" || (proxy && proxy_wants_tls()), proxy }
    }

    /// The kind for a URL that is never requested through a proxy.
    pub(super) fn direct(url: &Url) -> Self {
        Self { tls: url.scheme() == "https", proxy: false }
    }

    /// Builds the HTTP client for URLs of this kind.
    pub(crate) fn build(&self, tls_files: &TlsFiles) -> Result<Http, Error> {
        let tls = if self.tls { verifying(tls_files)? } else { never_used()? };
        let proxies = self.proxy.then(|| Arc::new(Matcher::from_env()));
        let client = Client::builder(TokioExecutor::new())
            // The registry decides how long a connection is kept; checking its age would wake an idle program.
            .pool_idle_timeout(None)
            // Connections of a burst are useless afterwards, and after an outage each of them would have to fail first.
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(BUFFER)
            .build(Connector::new(tls, proxies.clone()));
        Ok(Http { client, proxies })
    }
}

/// Reads certificates of authorities to trust besides the system's.
pub(crate) fn read_authorities(file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    read_certificates(file, "CA file")
}

/// Reads the client certificate and its key.
pub(crate) fn read_own(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Error> {
    let chain =
        read_certificates(certificate, "client certificate").map_err(|error| error.of(Setting::ClientCertificate))?;
    let cure = "give a file with one private key (PEM) that is not encrypted";
    let refused = |error: &dyn std::error::Error| {
        Error::invalid(format!("cannot use the client key {}: {error}; {cure}", key.display())).of(Setting::ClientKey)
    };
    let pem = files::read(key, LARGEST_PEM).map_err(|error| refused(&error))?;
    Ok((chain, PrivateKeyDer::from_pem_slice(&pem).map_err(|error| refused(&error))?))
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

/// Returns the innermost cause: the errors above it only say that something below failed.
pub(super) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Verifies certificates like the system does. Loading its authorities takes milliseconds, hence for https only.
///
/// The provider is passed explicitly instead of installed for the process: that choice is the program's.
fn verifying(tls_files: &TlsFiles) -> Result<ClientConfig, Error> {
    let refused = |error: rustls::Error| {
        Error::invalid(format!(
            "cannot set up TLS: {error}; install the system's certificates (ca-certificates), or set SSL_CERT_FILE"
        ))
    };
    let verifier =
        Verifier::new_with_extra_roots(tls_files.authorities.iter().cloned(), provider()).map_err(refused)?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(refused)?
        .dangerous() // rustls's name for every verifier except its own
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &tls_files.own {
        Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(|error| {
            Error::invalid(format!("the client key does not fit the client certificate: {error}"))
                .of(Setting::ClientKey)
        })?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts no certificate: for connections without TLS.
fn never_used() -> Result<ClientConfig, Error> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::invalid(format!("cannot set up HTTP: {error}")))?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Returns whether a URL is of this machine, for which no proxy is used.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.'); // it is in lower case already
            name == "localhost" || name.ends_with(".localhost")
        }
        Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
        Some(Host::Ipv6(address)) => address.to_canonical().is_loopback(),
        None => false,
    }
}

/// Returns the variable that names a proxy for this URL, unless `no_proxy` excludes its host.
pub(super) fn proxy_variable(url: &Url) -> Option<&'static str> {
    let names = if url.scheme() == "https" { ["https_proxy", "HTTPS_PROXY"] } else { ["http_proxy", "HTTP_PROXY"] };
    let is_set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    names.into_iter().chain(["all_proxy", "ALL_PROXY"]).find(is_set).filter(|_| !is_loopback(url))
}

/// Returns whether the proxy itself is reached by TLS.
fn proxy_wants_tls() -> bool {
    ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| value.as_encoded_bytes().starts_with(b"https://")))
}

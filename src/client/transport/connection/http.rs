//! The HTTP client: one connection that is kept, no redirects, and TLS for https only.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::client::legacy::{Client, Error as HttpError};
use hyper_util::rt::TokioExecutor;
use url::Url;

use super::connector::Connector;
use super::proxy::Proxies;
use super::tcp::FirstAddress;
use super::tls::{Tls, TlsFiles};
use crate::client::error::{Cause, Error};

const OURSELVES: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));
/// The size of hyper's read buffer, in bytes.
const BUFFER: usize = 32 << 10;

/// Sends requests, and keeps a connection for the next one.
#[derive(Clone)]
pub(crate) struct Http {
    client: Client<Connector, Full<Bytes>>,
    proxies: Option<Arc<Proxies>>,
    tls: Option<Arc<Tls>>,
    first_address: FirstAddress,
}

impl Http {
    /// Reads the files for TLS; what they hold is used for https only. `limit` is the time limit of a request.
    pub(crate) fn new(urls: &[&Url], tls_files: TlsFiles, limit: Duration) -> Result<Self, Error> {
        Self::through(Proxies::from_env(), urls, tls_files, limit)
    }

    /// The same, without a proxy whatever the environment says.
    pub(crate) fn direct(url: &Url, tls_files: TlsFiles, limit: Duration) -> Result<Self, Error> {
        Self::through(None, &[url], tls_files, limit)
    }

    fn through(proxies: Option<Proxies>, urls: &[&Url], tls_files: TlsFiles, limit: Duration) -> Result<Self, Error> {
        let proxies = proxies.map(Arc::new);
        let wants_tls = |url: &&Url| url.scheme() == "https" || proxies.as_ref().is_some_and(|all| all.wants_tls(url));
        let tls = if urls.iter().any(wants_tls) {
            Some(Arc::new(Tls::read(tls_files)?))
        } else {
            tls_files.check()?;
            None
        };
        let first_address = FirstAddress::default();
        let connector =
            Connector { limit, proxies: proxies.clone(), tls: tls.clone(), first_address: first_address.clone() };
        let client = Client::builder(TokioExecutor::new())
            // The registry decides how long a connection is kept; checking its age would wake an idle program.
            .pool_idle_timeout(None)
            // Connections of a burst are useless afterwards, and after an outage each of them would have to fail first.
            .pool_max_idle_per_host(1)
            .http1_max_buf_size(BUFFER)
            .build(connector);
        Ok(Self { client, proxies, tls, first_address })
    }

    /// Sends a request. The body of its response is read later.
    pub(crate) async fn send(&self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>, HttpError> {
        let uri = request.uri();
        let proxy = self.proxies.as_ref().and_then(|proxies| proxies.find(uri.scheme_str(), uri.host()));
        // With https, the proxy gets its credentials when the connection is opened.
        let auth = proxy.and_then(|proxy| proxy.auth()).filter(|_| uri.scheme_str() == Some("http")).cloned();
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(OURSELVES));
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(auth) = auth {
            headers.insert(PROXY_AUTHORIZATION, auth);
        }
        self.client.request(request).await
    }

    /// Returns the variable that names the proxy for this URL.
    pub(crate) fn proxy_variable(&self, url: &Url) -> Option<&'static str> {
        let proxy = self.proxies.as_ref()?.find(Some(url.scheme()), url.host_str())?;
        Some(proxy.variable)
    }

    /// Draws a conclusion from a failed request for the next connection.
    pub(crate) fn heed(&self, error: &Error) {
        match error {
            Error::Transport {
                cause: Cause::Certificate | Cause::CertificateTime | Cause::CertificateName | Cause::ClientCertificate,
                ..
            } => {
                if let Some(tls) = &self.tls {
                    tls.suspect();
                }
            }
            error if error.is_timeout() => self.first_address.rotate(),
            _ => {}
        }
    }
}

/// Returns the innermost cause: the errors above it only say that something below failed.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

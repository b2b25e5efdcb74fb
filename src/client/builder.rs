//! The settings of a client, and the client made from them.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::error::{Error, Setting};
use super::resources::ResponseCache;
use super::transport::ApiUrl;
use super::transport::Auth;
use super::transport::Credentials;
use super::transport::url::parse_login;
use super::transport::{Http, TlsFiles, Transport};
use super::{Client, Inner};
use crate::wire::DEFAULT_PORT;

/// The default time limit of one request: 10 s.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A region of Rackspace's identity service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Region {
    /// `identity.api.rackspacecloud.com`
    Us,
    /// `lon.identity.api.rackspacecloud.com`
    Uk,
}

impl Region {
    fn auth_url(self) -> &'static str {
        match self {
            Self::Us => "https://identity.api.rackspacecloud.com",
            Self::Uk => "https://lon.identity.api.rackspacecloud.com",
        }
    }
}

/// The settings of a [`Client`]; begin with [`Client::builder`].
///
/// By default, the client uses `http://127.0.0.1:7117` and does not log in.
#[derive(Clone, Default)]
#[must_use]
pub struct ClientBuilder {
    registry_url: Option<String>,
    auth_url: Option<String>,
    region: Option<Region>,
    credentials: Option<Credentials>,
    request_timeout: Option<Duration>,
    tls_files: TlsFiles,
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a password, before `build` refuses it.
        f.debug_struct("ClientBuilder").field("credentials", &self.credentials).finish_non_exhaustive()
    }
}

impl Client {
    /// Begins with the default settings.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }
}

impl ClientBuilder {
    /// The registry's address: `http://host:port` or `https://host`. `/v1.0` or a slash at its end is ignored.
    pub fn registry_url(mut self, url: &str) -> Self {
        self.registry_url = Some(url.to_owned());
        self
    }

    /// The address to log in at: the part before `/v2.0/tokens`. Without it, and without a region, it is the registry's
    /// own host.
    pub fn auth_url(mut self, url: &str) -> Self {
        self.auth_url = Some(url.to_owned());
        self
    }

    /// Logs in at the identity service of this region. An [`auth_url`](Self::auth_url) takes precedence.
    pub fn region(mut self, region: Region) -> Self {
        self.region = Some(region);
        self
    }

    /// User name and API key. Without them the client does not log in, sends no token, and uses the paths without
    /// a tenant (`/v1.0/services`), which an open registry accepts.
    pub fn credentials(mut self, username: impl Into<String>, api_key: impl Into<String>) -> Self {
        self.credentials = Some(Credentials { username: username.into(), api_key: Zeroizing::new(api_key.into()) });
        self
    }

    /// The time limit of one call, from connecting to the end of the response, including a login if it needs one: 10 s
    /// by default, at most a day. Heartbeats have their own limit: a quarter of the session's timeout.
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = Some(limit);
        self
    }

    /// A file of PEM certificates of authorities to trust for https, besides the system's.
    ///
    /// The client reads it, and the system's certificates, again before a new connection if they have changed, and
    /// after one that failed because of a certificate. If that fails, it keeps what it has read before, and tries again
    /// before the next connection. An open connection stays open. A file that is a descriptor (`/dev/fd/3`) is read
    /// once.
    pub fn ca_file(mut self, file: impl AsRef<Path>) -> Self {
        self.tls_files.ca_file = Some(file.as_ref().to_owned());
        self
    }

    /// The client certificate for https: a file with the certificate (and the intermediate
    /// ones), and one with its private key, both PEM.
    ///
    /// The client reads them again like the [`ca_file`](Self::ca_file). As long as only one of them has been replaced
    /// and they do not match, it shows the previous certificate.
    pub fn client_certificate(mut self, certificate: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.tls_files.client = Some((certificate.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }

    /// Makes the client. It sends nothing before the first call.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidArgument`] if a URL is invalid, is neither http nor https, or contains a password; if the CA
    /// file or the client's certificate or key cannot be read; if the time limit is zero; if the system has no
    /// certificates for https.
    pub fn build(self) -> Result<Client, Error> {
        let default = || format!("http://127.0.0.1:{DEFAULT_PORT}");
        let base = ApiUrl::parse(&self.registry_url.unwrap_or_else(default))
            .map_err(|error| error.of(Setting::RegistryUrl))?;
        let login_url = match (&self.auth_url, self.region) {
            (Some(url), _) => parse_login(url).map_err(|error| error.of(Setting::AuthUrl))?,
            (None, Some(region)) => parse_login(region.auth_url())?,
            (None, None) => base.login(),
        };
        let request_timeout = self.request_timeout.unwrap_or(DEFAULT_REQUEST_TIMEOUT);
        if request_timeout.is_zero() {
            return Err(Error::invalid("a request timeout of zero leaves no time for an answer"));
        }
        let mut urls = vec![base.url()];
        urls.extend(self.credentials.as_ref().map(|_| &login_url));
        let http = Http::new(&urls, self.tls_files, request_timeout)?;
        let auth = self
            .credentials
            .map(|credentials| Arc::new(Auth::new(credentials, login_url.clone(), http.clone(), request_timeout)));
        let transport = Transport { base, http, auth, request_timeout };
        Ok(Client { inner: Arc::new(Inner { transport, remembered: ResponseCache::default() }) })
    }
}

//! One GET of a URL, without a login, a proxy, or a connection that is kept: a health check of the wrapper.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Uri};
use tokio::time::timeout;
use url::Url;

use super::connection::{Bound, Http, TlsFiles, root_cause};
use crate::client::error::Error;

/// In bytes: what is read of a body. A longer one is as good.
const BODY: usize = 64 << 10;
/// In bytes: chunks and TLS add some.
const TRANSFER: usize = 4 * BODY;

/// Asks a URL for its status.
pub struct HttpProbe {
    http: Http,
    uri: Uri,
    limit: Duration,
}

impl HttpProbe {
    /// `limit` is the time for one response. With https, the system's authorities and those in the file are trusted.
    /// Reads files.
    ///
    /// # Errors
    ///
    /// If the URL cannot be requested, or the file cannot be used.
    pub fn new(url: &Url, ca_file: Option<&Path>, limit: Duration) -> Result<Self, Error> {
        let ca_file = ca_file.filter(|_| url.scheme() == "https").map(Path::to_owned);
        let http = Http::direct(url, TlsFiles { ca_file, client: None }, limit)?;
        let uri = url.as_str().parse();
        let uri = uri.map_err(|error| Error::invalid(format!("no request can be sent to {url}: {error}")))?;
        Ok(Self { http, uri, limit })
    }

    /// Sends the request; returns the status, whatever it is. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// In words: no response within the limit, or a response that breaks off.
    pub async fn status(&self) -> Result<u16, String> {
        let answered = timeout(self.limit, self.ask()).await;
        answered.unwrap_or_else(|_| Err(format!("no response within {:?}", self.limit)))
    }

    async fn ask(&self) -> Result<u16, String> {
        let mut request = Request::new(Full::default());
        *request.uri_mut() = self.uri.clone();
        request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        let mut response = self.http.send(request).await.map_err(|error| root_cause(&error))?;
        if let Some(bound) = response.extensions().get::<Bound>() {
            bound.expect_body(TRANSFER);
        }
        let mut read = 0;
        while read < BODY {
            let Some(frame) = response.frame().await else { break };
            read += frame.map_err(|error| root_cause(&error))?.data_ref().map_or(0, |data| data.len().max(1));
        }
        Ok(response.status().as_u16())
    }
}

//! A request and its response: the time limit, the bounds of what is read, and the errors.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use hyper::{Method, Response, StatusCode};
use hyper_util::client::legacy::Error as HttpError;
use rustls::{CertificateError, InvalidMessage};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::connection::{Bound, Http, TooMuch, root_cause};
use super::timestamp::until_http_date;
use super::url::is_id;
use crate::client::error::{Cause, Error, NoAnswer, Phase};
use crate::wire::Token;

/// The longest response, in bytes. A page of 1000 of the largest services is well below it. Of events and overviews,
/// which may contain many services each, the client asks for shorter pages if one is longer.
const LONGEST_ANSWER: usize = 8 << 20;

/// The most bytes read of a connection for one response: chunks and TLS add some.
const LONGEST_TRANSFER: usize = 4 * LONGEST_ANSWER;

/// The longest wait that a response may ask for: a day.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest token of a heartbeat, in bytes: a request has fewer than 5000.
const LONGEST_TOKEN: usize = 4 << 10;

/// The number of the error for too many open files, on Linux and on the BSDs.
const EMFILE: i32 = 24;

/// The parameters of a request.
pub(crate) type Query = Vec<(Cow<'static, str>, String)>;

/// A request to the registry.
pub(crate) struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    pub(super) query: Query,
    pub(super) body: Option<Bytes>,
    pub(super) expect: StatusCode,
    /// The time limit, if it is not the client's.
    pub(crate) limit: Option<Duration>,
    /// How long the registry waits before it answers.
    pub(super) wait: Duration,
    /// The entity tag that is known: an unchanged resource is not sent again.
    pub(super) known: Option<HeaderValue>,
}

impl<'a> Call<'a> {
    pub(crate) fn new(method: Method, path: &'a [&'a str], expect: StatusCode) -> Self {
        Self { method, path, query: Vec::new(), body: None, expect, limit: None, wait: Duration::ZERO, known: None }
    }

    pub(crate) fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path, StatusCode::OK)
    }

    pub(crate) fn put(path: &'a [&'a str]) -> Self {
        Self::new(Method::PUT, path, StatusCode::NO_CONTENT)
    }

    pub(crate) fn delete(path: &'a [&'a str]) -> Self {
        Self::new(Method::DELETE, path, StatusCode::NO_CONTENT)
    }

    pub(crate) fn query<K: Into<Cow<'static, str>>>(mut self, query: impl IntoIterator<Item = (K, String)>) -> Self {
        self.query = query.into_iter().map(|(key, value)| (key.into(), value)).collect();
        self
    }

    /// Gives the registry this long before the time limit begins.
    pub(crate) fn waiting(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Asks for the resource only if it has another entity tag.
    pub(crate) fn unless(mut self, entity_tag: &str) -> Self {
        self.known = HeaderValue::from_str(entity_tag).ok();
        self
    }

    pub(crate) fn json(mut self, body: &impl Serialize) -> Result<Self, Error> {
        let json = serde_json::to_vec(body).map_err(|error| cannot_be_written(&error))?;
        self.body = Some(json.into());
        Ok(self)
    }
}

pub(super) fn cannot_be_written(error: &serde_json::Error) -> Error {
    Error::invalid(format!("the request cannot be written: {error}"))
}

/// A response with the expected status.
pub(crate) struct Answer {
    pub(super) phase: Phase,
    pub(super) url: String,
    location: Option<String>,
    entity_tag: Option<String>,
    is_unchanged: bool,
    body: Vec<u8>,
}

impl Answer {
    /// Parses the body. The message of serde is not repeated: it quotes the content, which may be a token.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(&self.body).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            self.bad(format!("is not the documented JSON (line {line} column {column})"))
        })
    }

    pub(crate) fn entity_tag(&self) -> Option<&str> {
        self.entity_tag.as_deref()
    }

    /// Returns whether the resource has the known entity tag; then there is no body.
    pub(crate) fn is_unchanged(&self) -> bool {
        self.is_unchanged
    }

    /// Returns the id of a created resource: the last segment of `Location`.
    pub(crate) fn created_id(&self) -> Result<String, Error> {
        let location = self.location.as_deref().unwrap_or_default();
        let id = location.rsplit('/').next().unwrap_or_default();
        if is_id(id) { Ok(id.to_owned()) } else { Err(self.bad("names no Location of what was created")) }
    }

    /// Returns the token of the next heartbeat.
    pub(crate) fn heartbeat_token(&self) -> Result<Token, Error> {
        let next: Token = self.json()?;
        match next.token.len() {
            0 => Err(self.bad("holds an empty token")),
            1..=LONGEST_TOKEN => Ok(next),
            _ => Err(self.bad("holds a token that is too long to be sent")),
        }
    }

    /// In bytes.
    pub(crate) fn length(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn bad(&self, what: impl Into<String>) -> Error {
        Error::UnexpectedResponse { phase: self.phase, url: self.url.clone(), what: what.into(), is_too_long: false }
    }
}

/// The time limit of a call, including a login and a second attempt.
#[derive(Clone, Copy)]
pub(super) struct TimeLimit {
    whole: Duration,
    pub(super) end: Instant,
}

impl TimeLimit {
    pub(super) fn from_now(whole: Duration) -> Self {
        Self { whole, end: Instant::now() + whole.min(LONGEST_WAIT) }
    }
}

impl fmt::Display for TimeLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "within {:?}", self.whole)
    }
}

/// A complete request.
pub(super) struct Request {
    pub(super) phase: Phase,
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) expect: StatusCode,
    pub(super) limit: TimeLimit,
}

impl Request {
    /// Sends it and reads the response to its end.
    pub(super) async fn send(&self, http: &Http) -> Result<Answer, Error> {
        let answer = self.exchange(http).await;
        answer.inspect_err(|error| http.heed(error))
    }

    async fn exchange(&self, http: &Http) -> Result<Answer, Error> {
        let body = Full::from(self.body.clone().unwrap_or_default());
        let mut request = hyper::Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.headers_mut() = self.headers.clone();
        *request.uri_mut() = self
            .url
            .as_str()
            .parse()
            .map_err(|error| Error::invalid(format!("no request can be sent to {}: {error}", self.url)))?;
        let sent = timeout_at(self.limit.end, http.send(request)).await;
        let proxy = || http.proxy_variable(&self.url);
        let response = sent.map_err(|_| self.timeout())?.map_err(|error| self.no_answer(&error, proxy()))?;
        if let Some(bound) = response.extensions().get::<Bound>() {
            bound.expect_body(LONGEST_TRANSFER);
        }
        let status = response.status();
        if status.is_success() && status != self.expect {
            return Err(self.bad(format!(
                "has status {} where {} is documented",
                status.as_u16(),
                self.expect.as_u16()
            )));
        }
        let is_unchanged = status == StatusCode::NOT_MODIFIED && self.headers.contains_key(IF_NONE_MATCH);
        if !status.is_success() && !is_unchanged {
            return Err(self.refused(response).await);
        }
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (location, entity_tag) = (header(LOCATION), header(ETAG));
        let body = self.read(response).await?;
        Ok(Answer { phase: self.phase, url: self.url.to_string(), location, entity_tag, is_unchanged, body })
    }

    async fn read(&self, mut response: Response<Incoming>) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        loop {
            let frame = timeout_at(self.limit.end, response.frame()).await.map_err(|_| self.timeout())?;
            let Some(frame) = frame.transpose().map_err(|error| self.no_answer(&error, None))? else { return Ok(body) };
            let Ok(chunk) = frame.into_data() else { continue };
            if body.len() + chunk.len() > LONGEST_ANSWER {
                return Err(self.too_long());
            }
            body.extend_from_slice(&chunk);
        }
    }

    async fn refused(&self, response: Response<Incoming>) -> Error {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
        // The status is known, whatever becomes of the body.
        let body = self.read(response).await.unwrap_or_default();
        let fault = serde_json::from_slice(&body).ok();
        Error::Status {
            phase: self.phase,
            method: self.method.to_string(),
            url: self.url.to_string(),
            status,
            fault,
            retry_after,
        }
    }

    fn timeout(&self) -> Error {
        let (why, detail, cause) = (NoAnswer::Timeout, self.limit.to_string(), Cause::Other);
        Error::Transport { phase: self.phase, url: self.url.to_string(), why, cause, detail }
    }

    fn no_answer(&self, error: &(dyn StdError + 'static), proxy: Option<&str>) -> Error {
        if causes(error).any(is_too_much) {
            return self
                .bad("comes with more than any registry sends (64 kB before it, interim answers included)".to_owned());
        }
        if causes(error).any(is_timeout) {
            return self.timeout();
        }
        let is_connect = error.downcast_ref::<HttpError>().is_some_and(HttpError::is_connect);
        let (why, detail) = if is_connect {
            let proxy = proxy.map(|name| format!("; {name} names a proxy, and no_proxy those it is not for"));
            (NoAnswer::Connect, root_cause(error) + &proxy.unwrap_or_default())
        } else {
            (NoAnswer::Broken, root_cause(error))
        };
        let cause = causes(error).find_map(cause_of).unwrap_or_default();
        Error::Transport { phase: self.phase, url: self.url.to_string(), why, cause, detail }
    }

    fn too_long(&self) -> Error {
        let what = format!("is longer than {} MiB", LONGEST_ANSWER >> 20);
        Error::UnexpectedResponse { phase: self.phase, url: self.url.to_string(), what, is_too_long: true }
    }

    pub(super) fn bad(&self, what: String) -> Error {
        Error::UnexpectedResponse { phase: self.phase, url: self.url.to_string(), what, is_too_long: false }
    }
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn cause_of_distrust(error: &CertificateError) -> Cause {
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => Cause::CertificateTime,
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Cause::CertificateName,
        _ => Cause::Certificate,
    }
}

/// Returns the cause that an error stands for, by its type.
fn cause_of(error: &(dyn StdError + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        if error.raw_os_error() == Some(EMFILE) {
            return Some(Cause::OpenFiles);
        }
        return error.get_ref().and_then(|inner| cause_of(inner));
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return match error {
            rustls::Error::InvalidCertificate(why) => Some(cause_of_distrust(why)),
            rustls::Error::NoCertificatesPresented => Some(Cause::Certificate),
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => Some(Cause::NotTls),
            rustls::Error::AlertReceived(_) => Some(Cause::ClientCertificate),
            _ => None,
        };
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    (error.is_parse() && !error.is_parse_too_large()).then_some(Cause::NotHttp)
}

/// Returns whether a head was too long, or a whole response.
fn is_too_much(error: &(dyn StdError + 'static)) -> bool {
    let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<TooMuch>())
        || error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse_too_large)
}

fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
}

/// Parses `Retry-After` in either of its forms, seconds or a date (RFC 9110, 10.2.3).
fn retry_after(value: &str) -> Option<Duration> {
    let asked = value.trim().parse().map(Duration::from_secs).ok().or_else(|| until_http_date(value.trim()));
    asked.map(|asked| asked.min(LONGEST_WAIT))
}

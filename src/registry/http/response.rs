//! A response: status, headers, body, and the id that each one carries.

use std::fmt::{Display, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "etcd")]
use futures_util::StreamExt as _;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use super::connection::{ByteStream, ResponseBody};
use super::public_url::PublicUrl;
use super::resources::ShareGuard;
use crate::registry::model::Uuid1;

/// JSON is indented by 4 blanks.
pub(super) const INDENT: &[u8] = b"    ";

const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=UTF-8");
const ROLE: HeaderName = HeaderName::from_static("x-role");
const RESPONSE_ID: HeaderName = HeaderName::from_static("x-response-id");

/// A response.
pub(super) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    /// The body, if it is not there yet.
    stream: Option<ByteStream>,
    /// The body ends with a line feed that only people get.
    has_line_feed: bool,
}

/// A body that frees its share of the limit on unsent bytes once it was handed to the system.
pub(super) struct Unsent {
    text: Vec<u8>,
    _held: ShareGuard,
}

impl Unsent {
    pub(super) fn new(text: Vec<u8>, held: ShareGuard) -> Self {
        Self { text, _held: held }
    }
}

impl AsRef<[u8]> for Unsent {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

impl Answer {
    /// Makes a response without a body.
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new(), stream: None, has_line_feed: false }
    }

    /// Makes a response with a body in JSON.
    pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let mut text = Vec::with_capacity(256);
        let mut serializer = Serializer::with_formatter(&mut text, PrettyFormatter::with_indent(INDENT));
        match body.serialize(&mut serializer) {
            Ok(()) => {
                text.push(b'\n');
                Self::text(status, text)
            }
            Err(error) => Self::not_written(&error),
        }
    }

    /// Makes a response for a body that could not be serialised, which does not happen.
    pub(super) fn not_written(error: &dyn Display) -> Self {
        tracing::error!(%error, "an answer could not be written");
        Self::empty(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Makes the response to a heartbeat: the most frequent one, always of the same form.
    pub(super) fn token(status: StatusCode, token: Uuid1) -> Self {
        Self::text(status, ["{\n    \"token\": \"", token.text(&mut [0; _]), "\"\n}\n"].concat().into_bytes())
    }

    /// Makes a response with a constant text in JSON.
    pub(super) fn fixed(status: StatusCode, text: &'static str) -> Self {
        Self { body: Bytes::from_static(text.as_bytes()), ..Self::empty(status) }.header(CONTENT_TYPE, JSON)
    }

    /// Makes the response to OPTIONS: what HAProxy's `option httpchk` asks for by default. It says nothing about other
    /// origins, so a browser lets their pages send nothing that needs permission.
    pub(super) fn allowing(methods: &'static str) -> Self {
        Self::empty(StatusCode::NO_CONTENT).header(ALLOW, HeaderValue::from_static(methods))
    }

    /// Makes a response with a page for a browser.
    pub(super) fn html(html: &'static str) -> Self {
        Self { body: Bytes::from_static(html.as_bytes()), ..Self::empty(StatusCode::OK) }
    }

    /// Makes a response with a page of a list, already written, with a line feed at its end.
    pub(super) fn page_of_list(text: Vec<u8>, held: Option<ShareGuard>) -> Self {
        match held {
            None => Self::text(StatusCode::OK, text),
            Some(held) => Self::text(StatusCode::OK, Bytes::from_owner(Unsent::new(text, held))),
        }
    }

    /// Makes a response with metrics.
    pub(super) fn metrics(text: String, format: &'static str) -> Self {
        Self { body: text.into(), ..Self::empty(StatusCode::OK) }
            .header(CONTENT_TYPE, HeaderValue::from_static(format))
            .header(CACHE_CONTROL, HeaderValue::from_static("no-store"))
    }

    /// Makes a response with JSON that is written already.
    pub(super) fn json_text(text: Bytes) -> Self {
        Self { body: text, ..Self::empty(StatusCode::OK) }.header(CONTENT_TYPE, JSON)
    }

    /// Makes a response with JSON that is written while it is sent.
    pub(super) fn json_stream(stream: ByteStream) -> Self {
        Self::stream(StatusCode::OK, stream).header(CONTENT_TYPE, JSON)
    }

    /// Makes a response whose body goes on.
    pub(super) fn stream(status: StatusCode, stream: ByteStream) -> Self {
        Self { stream: Some(stream), ..Self::empty(status) }
    }

    /// Makes a response of what another node has answered. The headers are complete.
    #[cfg(feature = "etcd")]
    pub(super) fn passed_on(status: StatusCode, headers: HeaderMap, body: Bytes, stream: Option<ByteStream>) -> Self {
        Self { headers, body, stream, ..Self::empty(status) }
    }

    /// Ends a response that goes on when `end` is ready. `held` is kept until then.
    #[cfg(feature = "etcd")]
    pub(super) fn until<T: Send + 'static>(self, end: impl Future<Output = ()> + Send + 'static, held: T) -> Self {
        let hold = move |piece| (&held, piece).1;
        let stream = self.stream.map(|stream| stream.take_until(end).map(hold).boxed());
        Self { stream, ..self }
    }

    /// Returns whether it has no end that is known.
    #[cfg(feature = "etcd")]
    pub(super) fn goes_on(&self) -> bool {
        self.stream.is_some() && !self.headers.contains_key(CONTENT_LENGTH)
    }

    /// `text` ends with a line feed.
    fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self { body: text.into(), has_line_feed: true, ..Self::empty(status) }.header(CONTENT_TYPE, JSON)
    }

    /// Adds a `Location`.
    pub(super) fn at(self, location: &str) -> Self {
        match HeaderValue::from_str(location) {
            Ok(location) => self.header(LOCATION, location),
            Err(_) => self, // ids have no characters that are invalid in a header
        }
    }

    /// Says that the user may only read.
    pub(super) fn for_reader(self) -> Self {
        self.header(ROLE, HeaderValue::from_static("read"))
    }

    /// Closes the connection after the response.
    pub(super) fn closing(self) -> Self {
        self.header(CONNECTION, HeaderValue::from_static("close"))
    }

    /// Adds the address to log in at.
    pub(super) fn challenge(self, base: &PublicUrl<'_>) -> Self {
        match HeaderValue::from_str(&format!("Keystone uri=\"{base}/v2.0\"")) {
            Ok(challenge) => self.header(WWW_AUTHENTICATE, challenge),
            Err(_) => self,
        }
    }

    /// Asks the client to wait at least a second before the next attempt.
    pub(super) fn retry(self) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// Returns the HTTP response. It always has a length, except for one that goes on: some clients read no body
    /// without it. On a terminal, the body should end with a line feed; other clients get what the original sent.
    pub(super) fn into_response(mut self, id: HeaderValue, is_for_terminal: bool) -> Response<ResponseBody> {
        if self.has_line_feed && !is_for_terminal {
            self.body.truncate(self.body.len() - 1);
        }
        let has_no_length = self.stream.is_some() || self.status == StatusCode::NOT_MODIFIED;
        if self.status != StatusCode::NO_CONTENT && !has_no_length {
            // That of another node stays: to HEAD it answers with the length and no body.
            self.headers.entry(CONTENT_LENGTH).or_insert_with(|| self.body.len().into());
        }
        self.headers.insert(RESPONSE_ID, id);
        let body = match self.stream {
            None => ResponseBody::Full(Full::new(self.body)),
            Some(stream) => ResponseBody::Stream { stream, request: None },
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// Part of each response id.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Makes the ids that responses carry, and that their log lines and faults repeat:
/// `.rh-<4>.h-<host>.r-<8>.c-<counter>.ts-<epoch ms>.v-<version>`.
#[derive(Debug)]
pub(super) struct ResponseIds {
    prefix: String,
    counter: AtomicU64,
}

impl ResponseIds {
    pub(super) fn new() -> Self {
        let prefix = format!(".rh-{}.h-{}.r-", String::from_iter(random::<4>()), host());
        Self { prefix, counter: AtomicU64::new(0) }
    }

    pub(super) fn next(&self, wall: u64) -> String {
        let counter = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        let numbers = [counter, wall].map(|number| number.max(1).ilog10() as usize + 1);
        let marks = 8 + ".c-.ts-.v-".len() + VERSION.len();
        // Every response has an id: it is allocated once, at its exact size, because a header would need another
        // allocation otherwise.
        let mut id = String::with_capacity(self.prefix.len() + marks + numbers[0] + numbers[1]);
        id.push_str(&self.prefix);
        id.extend(random::<8>());
        let _ = write!(id, ".c-{counter}.ts-{wall}.v-{VERSION}");
        id
    }
}

/// Letters and digits from one random number.
fn random<const LENGTH: usize>() -> [char; LENGTH] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut number = fastrand::u64(..);
    [(); LENGTH].map(|()| {
        let digit = DIGITS[(number % 62) as usize];
        number /= 62;
        char::from(digit)
    })
}

/// Returns the name of this machine, as far as a header may contain it.
fn host() -> String {
    #[cfg(unix)]
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
    #[cfg(not(unix))]
    let name: Option<String> = None;
    let fits = |char: &char| char.is_ascii_alphanumeric() || *char == '-';
    let name: String = name.unwrap_or_default().chars().filter(fits).collect();
    if name.is_empty() { "localhost".into() } else { name }
}

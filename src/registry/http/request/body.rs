//! The body of a request: its size, its type, its JSON.

use std::borrow::Cow;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue};
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::json::Json;
use crate::registry::http::error::HttpError;
use crate::registry::state::DomainError;
use crate::wire::limits::BODY;

/// The smallest size that is too large, in bytes.
const TOO_LARGE: u64 = BODY as u64 + 1;
/// How many bytes of a body that is too large are read and discarded. A client that is still writing when the
/// connection closes would often not see the response.
const DRAIN: u64 = 1 << 20;

/// Reads the whole body, within a time limit.
pub(in crate::registry::http) async fn read(
    headers: &HeaderMap,
    mut body: Incoming,
    timeouts: Duration,
) -> Result<Bytes, HttpError> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let is_announced_too_large = body.size_hint().lower() >= TOO_LARGE;
    if is_announced_too_large && headers.contains_key(EXPECT) {
        return Err(HttpError::TooLarge); // the client waits for this response before it sends the body
    }
    let read = if is_announced_too_large { None } else { Some(promptly(timeouts, collect(&mut body)).await) };
    match read {
        Some(Ok(Ok(bytes))) => Ok(bytes),
        Some(Err(_)) | Some(Ok(Err(Stop::Broken))) => Err(HttpError::TooSlow),
        Some(Ok(Err(Stop::Garbled))) => Err(HttpError::Garbled),
        Some(Ok(Err(Stop::TooLarge))) | None => {
            let _ = timeout(timeouts, drain(&mut body)).await;
            Err(HttpError::TooLarge)
        }
    }
}

/// Like [`timeout`], but sets no timer for a future that is ready at once, as nearly every body is.
async fn promptly<T>(timeouts: Duration, wanted: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut wanted = pin!(wanted);
    match poll_fn(|cx| Poll::Ready(wanted.as_mut().poll(cx))).await {
        Poll::Ready(there) => Ok(there),
        Poll::Pending => timeout(timeouts, wanted).await,
    }
}

enum Stop {
    TooLarge,
    Broken,
    Garbled,
}

impl From<hyper::Error> for Stop {
    /// hyper tells the kind of an error by the error below it.
    fn from(error: hyper::Error) -> Self {
        let kind = error.source().and_then(|source| source.downcast_ref::<io::Error>()).map(io::Error::kind);
        match kind {
            Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => Self::Garbled,
            _ => Self::Broken,
        }
    }
}

async fn collect(body: &mut Incoming) -> Result<Bytes, Stop> {
    let mut first = Bytes::new();
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if first.is_empty() && all.is_empty() {
            first = data; // nearly always the only part
        } else {
            if all.is_empty() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
        if first.len().max(all.len()) as u64 >= TOO_LARGE {
            return Err(Stop::TooLarge);
        }
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

async fn drain(body: &mut Incoming) {
    let mut left = DRAIN;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

/// Parses the JSON of a body. An empty one is an object without keys. The type is checked even if there is no body.
pub(in crate::registry::http) fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Json, DomainError> {
    check_type(headers)?;
    if body.is_empty() {
        return Ok(Json::EMPTY);
    }
    let text = text(headers, body);
    serde_json::from_slice(&text)
        .map_err(|error| DomainError::Malformed(format!("Failed to parse request body: {error}")))
}

/// Decodes a body. One that is not UTF-8, without a charset, counts as Latin-1: the original Java client sends that
/// without saying so.
fn text<'a>(headers: &HeaderMap, body: &'a [u8]) -> Cow<'a, [u8]> {
    let is_said = |kind: &HeaderValue| kind.as_bytes().to_ascii_lowercase().ends_with(b"utf-8");
    if std::str::from_utf8(body).is_ok() || headers.get(CONTENT_TYPE).is_some_and(is_said) {
        return Cow::Borrowed(body);
    }
    Cow::Owned(body.iter().copied().map(char::from).collect::<String>().into_bytes())
}

fn check_type(headers: &HeaderMap) -> Result<(), DomainError> {
    let Some(given) = headers.get(CONTENT_TYPE).filter(|value| !value.is_empty()) else { return Ok(()) };
    if given.as_bytes() == b"application/json" {
        return Ok(());
    }
    let given = String::from_utf8_lossy(given.as_bytes()).to_lowercase();
    let kind = given.split(';').next().unwrap_or_default().trim();
    if kind == "application/json" {
        return Ok(());
    }
    let kind: String = kind.chars().filter(|char| !char.is_control()).collect();
    Err(DomainError::Malformed(format!("Unsupported content type: {kind}")))
}

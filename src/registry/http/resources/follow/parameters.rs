//! What a request says about how it follows: `wait`, `Accept` and `Last-Event-ID`.

use std::time::Duration;

use hyper::header::{ACCEPT, HeaderMap, HeaderName};

use crate::registry::http::request::Query;
use crate::registry::state::DomainError;

/// The longest wait, in seconds. A client that is gone is not noticed before its end.
const LONGEST: u64 = 60;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(super) const EVENT_STREAM: &str = "text/event-stream";

/// Returns whether the request may be answered much later, or for long.
pub(crate) fn is_followed(query: &Query<'_>, headers: &HeaderMap) -> bool {
    !query.values("wait").is_empty() || headers.contains_key(ACCEPT) && wants_event_stream(headers)
}

/// Reads `wait`, from all values of the parameter.
pub(crate) fn wait(values: &[&str]) -> Result<Option<Duration>, DomainError> {
    let digits = |text: &&&str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = match values {
        [] => return Ok(None),
        [text] => Some(text).filter(digits).and_then(|text| text.parse().ok()).filter(|seconds| *seconds <= LONGEST),
        _ => None,
    };
    let rule = || format!("Not a whole number of seconds from 0 to {LONGEST}");
    seconds
        .map(|seconds| Some(Duration::from_secs(seconds)))
        .ok_or_else(|| DomainError::Parameter { name: "wait", rule: rule() })
}

/// Returns how long the client lets a request wait; not at all if it says that wrongly, which the answer will tell.
#[cfg(feature = "etcd")]
pub(crate) fn client_wait(query: &Query<'_>) -> Duration {
    wait(&query.values("wait")).ok().flatten().unwrap_or_default()
}

/// Returns whether the client accepts server-sent events. It has to name them: `*/*` is what every client sends.
pub(crate) fn wants_event_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|range| range.eq_ignore_ascii_case(EVENT_STREAM));
        let quality = parts.filter_map(|part| part.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("q"));
        is_named && quality.is_none_or(|(_, value)| value.parse().is_ok_and(|quality: f32| quality > 0.0))
    })
}

/// Returns the id of the last event that the client has received, if it says so.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or("?")).filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_is_a_whole_number_of_seconds_up_to_60() {
        let seconds = |text: &str| wait(&[text]).map(|wait| wait.map(|wait| wait.as_secs()));
        assert_eq!(wait(&[]), Ok(None));
        assert_eq!((seconds("0"), seconds("060"), seconds("7")), (Ok(Some(0)), Ok(Some(60)), Ok(Some(7))));
        for values in [&[""][..], &["61"], &["-1"], &["+1"], &["1.5"], &["1s"], &["9999999999"], &["1", "1"], &["٣"]] {
            assert!(matches!(wait(values), Err(DomainError::Parameter { name: "wait", .. })), "{values:?}");
        }
    }

    #[test]
    fn event_stream_must_be_named() {
        let wants = |accept: &[&str]| {
            let pairs = accept.iter().map(|value| (ACCEPT, value.parse().unwrap()));
            wants_event_stream(&pairs.collect())
        };
        for accept in [
            &["text/event-stream"][..],
            &["application/json, Text/Event-Stream;q=0.5"],
            &["text/html", "text/event-stream; charset=utf-8; q=1"],
        ] {
            assert!(wants(accept), "{accept:?}");
        }
        for accept in [&[][..], &["*/*"], &["text/*"], &["text/event-stream;q=0"], &["text/event-stream;q=x"]] {
            assert!(!wants(accept), "{accept:?}");
        }
    }
}

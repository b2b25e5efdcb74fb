//! What one node hands to the next owner of a shard: `POST /internal/v1/handover/<shard>`, on the receiving side.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::Method;
use hyper::body::{Body as _, Incoming};
use hyper::http::request::Parts;
use ring::digest;
use tokio::time::timeout;

use super::seal::ForwardedCaller;
use crate::registry::http::error::HttpError;

/// What the path of a handover begins with.
const PATH: &str = "/internal/v1/handover/";
/// The largest handover, in bytes.
const LARGEST: u64 = 256 << 20;
/// How long the sender may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// Returns the shard that a request hands over, if it does.
pub(in crate::registry::http) fn handed_over(parts: &Parts) -> Option<u16> {
    let shard = parts.uri.path().strip_prefix(PATH)?;
    shard.parse().ok().filter(|_| parts.method == Method::POST && shard.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads the bytes that a node hands over. The head has shown that the sender is a node.
///
/// # Errors
///
/// If they are too many, arrive too slowly, or are not what the sender has sealed.
pub(in crate::registry::http) async fn read(
    sender: &ForwardedCaller,
    mut body: Incoming,
) -> Result<Vec<u8>, HttpError> {
    let announced = body.size_hint().lower();
    if announced > LARGEST {
        return Err(HttpError::TooLarge);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(announced).unwrap_or_default());
    let mut hash = digest::Context::new(&digest::SHA256);
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_| HttpError::TooSlow)? {
        let Ok(data) = frame.map_err(|_| HttpError::TooSlow)?.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > LARGEST {
            return Err(HttpError::TooLarge);
        }
        hash.update(&data);
        bytes.extend_from_slice(&data);
    }
    if sender.has_hash(hash.finish()) { Ok(bytes) } else { Err(HttpError::FORGED) }
}

//! A request that arrives at a node: from a client, or from the node that the client has asked.

use hyper::http::request::Parts;

use super::peers::Peers;
use super::seal::{Forged, ForwardedCaller};
use crate::registry::http::context::Caller;
use crate::registry::http::error::HttpError;

/// Returns who asks. If another node has forwarded the request, that is its client.
///
/// # Errors
///
/// If the header is not one that a node has made for this request.
pub(in crate::registry::http) fn arrival(
    peers: &Peers,
    parts: &Parts,
    caller: Caller,
) -> Result<(Caller, Option<ForwardedCaller>), HttpError> {
    match ForwardedCaller::of(parts, &peers.key) {
        Ok(None) => Ok((caller, None)),
        Ok(Some(forwarded)) => {
            let (address, is_secure) = (forwarded.address, forwarded.is_secure);
            Ok((Caller { address, is_secure, ..caller }, Some(forwarded)))
        }
        Err(Forged) => Err(refused(caller)),
    }
}

impl ForwardedCaller {
    /// Checks that the body is the one that was forwarded.
    pub(in crate::registry::http) fn check_body(&self, body: &[u8], caller: Caller) -> Result<(), HttpError> {
        if self.covers(body) { Ok(()) } else { Err(refused(caller)) }
    }
}

fn refused(caller: Caller) -> HttpError {
    tracing::warn!(peer = %caller.address, "a request claims to come from another node, but has no valid seal; its address may belong to another cluster");
    HttpError::FORGED
}

//! A request on its way to the owner: what is passed on, and what is not.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Uri};

use super::seal::{FORWARDED, Key, Stamp};
use crate::registry::http::context::Caller;

/// Headers that concern one connection only (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    EXPECT,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    UPGRADE,
];

/// A client's request.
#[derive(Clone, Copy, Debug)]
pub(in crate::registry::http) struct Outgoing<'a> {
    pub(in crate::registry::http) parts: &'a Parts,
    /// The whole body, as it was sent.
    pub(in crate::registry::http) body: &'a Bytes,
    pub(in crate::registry::http) caller: Caller,
    /// The id of the response.
    pub(in crate::registry::http) id: &'a str,
    /// The address that stands for the host if the client names none.
    pub(in crate::registry::http) listening: SocketAddr,
}

impl Outgoing<'_> {
    /// Returns the request to send to the owner.
    pub(super) fn request(&self, node: &str, key: &Key, wait: Duration) -> Request<Full<Bytes>> {
        let Self { parts, body, caller, id, .. } = *self;
        let mut headers = parts.headers.clone();
        remove_hop_by_hop(&mut headers);
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_LENGTH); // hyper writes it
        if let Some(host) = self.host() {
            headers.insert(HOST, host);
        }
        let stamp = Stamp { node, address: caller.address, is_secure: caller.is_secure, id, wait };
        let path = parts.uri.path_and_query();
        let seal = key.seal(parts.method.as_str(), path.map_or("/", |path| path.as_str()), &stamp, body);
        headers.insert(FORWARDED, seal);
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = parts.method.clone();
        *request.uri_mut() = path.cloned().map_or(Uri::from_static("/"), Uri::from);
        *request.headers_mut() = headers;
        request
    }

    /// Returns the host for the owner, where it is not the client's header.
    fn host(&self) -> Option<HeaderValue> {
        let authority = self.parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        let is_unnamed = !self.parts.headers.contains_key(HOST);
        authority.or_else(|| HeaderValue::try_from(self.listening.to_string()).ok().filter(|_| is_unnamed))
    }
}

/// Returns whether a request does the same when it is executed twice. A heartbeat does: the token before the newest one
/// gets the same answer again. A removal does not: its second answer is 404.
pub(in crate::registry::http) fn is_repeatable(parts: &Parts) -> bool {
    matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) || is_heartbeat(parts)
}

pub(in crate::registry::http) fn is_heartbeat(parts: &Parts) -> bool {
    let path = parts.uri.path().strip_suffix('/').unwrap_or(parts.uri.path()).as_bytes();
    let is_named = || path.last_chunk().is_some_and(|end: &[u8; 10]| end.eq_ignore_ascii_case(b"/heartbeat"));
    parts.method == Method::POST && is_named()
}

/// Removes what concerns one connection only, with the headers that `Connection` names.
pub(super) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let names = values.flat_map(|value| value.split(',')).map(|name| name.trim().to_ascii_lowercase());
        for name in names.collect::<Vec<_>>() {
            headers.remove(name.as_str());
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

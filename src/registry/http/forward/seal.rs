//! The header by which a node recognises what another node has sent: who asks, and a MAC that only nodes can make.
//!
//! The MAC covers the method, the path with the query, and a hash of the body, which the header names. So the head
//! alone tells whether the sender is a node, before any of a long body is read.
//!
//! *Not* a signature of all headers: without TLS between the nodes, whoever could replace one of them could read the
//! client's token as well.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use ring::{digest, hmac};

use super::address::NodeId;

/// The header.
pub(super) const FORWARDED: HeaderName = HeaderName::from_static("x-service-registry-forwarded");

/// What its last part begins with.
const MAC: &str = ";mac=";

/// The key that the nodes of a cluster share.
#[derive(Debug)]
pub(super) struct Key(hmac::Key);

/// A header that no node of this cluster has made, or that belongs to another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry::http) struct Forged;

/// What a node says about a request of its client.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp<'a> {
    /// The sender.
    pub(super) node: &'a str,
    /// The address at the other end of the client's connection.
    pub(super) address: IpAddr,
    /// Whether that connection is encrypted.
    pub(super) is_secure: bool,
    /// The id of the response that the client will get.
    pub(super) id: &'a str,
    /// How long the client will still wait.
    pub(super) wait: Duration,
}

/// The client of a forwarded request, as the node that forwarded it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct ForwardedCaller {
    pub(in crate::registry) node: NodeId,
    pub(in crate::registry) address: IpAddr,
    pub(in crate::registry) is_secure: bool,
    pub(in crate::registry) id: String,
    /// How long the client will still wait.
    pub(in crate::registry) wait: Duration,
    /// The hash of the body, in hexadecimal.
    body: String,
}

impl Key {
    /// Derives the key from the cluster's secret.
    pub(super) fn of(secret: &[u8; 32]) -> Self {
        let mut hash = digest::Context::new(&digest::SHA256);
        hash.update(b"forward");
        hash.update(secret);
        Self(hmac::Key::new(hmac::HMAC_SHA256, hash.finish().as_ref()))
    }

    /// Makes the header of a request.
    pub(super) fn seal(&self, method: &str, path: &str, stamp: &Stamp<'_>, body: &[u8]) -> HeaderValue {
        let Stamp { node, address, is_secure, id, wait } = stamp;
        let (secure, wait, nonce) = (u8::from(*is_secure), wait.as_millis(), fastrand::u64(..));
        let mut text = String::with_capacity(method.len() + path.len() + node.len() + id.len() + 320);
        let _ = write!(text, "{method}\n{path}\n");
        let start = text.len();
        let _ = write!(text, "v1;node={node};caller={address};secure={secure};id={id};wait={wait};nonce={nonce:016x}");
        text.push_str(";body=");
        push_hex(&mut text, digest::digest(&digest::SHA256, body).as_ref());
        let mac = hmac::sign(&self.0, text.as_bytes());
        text.push_str(MAC);
        push_hex(&mut text, mac.as_ref());
        // Ids contain no characters that are invalid in a header; without a value the owner would refuse the request.
        HeaderValue::from_maybe_shared(Bytes::from(text).slice(start..)).unwrap_or(HeaderValue::from_static("v1"))
    }
}

impl ForwardedCaller {
    /// Reads who has sent a request to the node that forwarded it; none if no node did.
    pub(super) fn of(parts: &Parts, key: &Key) -> Result<Option<Self>, Forged> {
        let mut values = parts.headers.get_all(FORWARDED).iter();
        let Some(value) = values.next() else { return Ok(None) };
        let text = value.to_str().ok().filter(|_| values.next().is_none()).ok_or(Forged)?;
        let (stamp, mac) = text.rsplit_once(MAC).ok_or(Forged)?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let sealed = [parts.method.as_str(), "\n", path, "\n", stamp].concat();
        // In constant time.
        hmac::verify(&key.0, sealed.as_bytes(), &bytes_of_hex(mac).ok_or(Forged)?).map_err(|_| Forged)?;
        Self::parse(stamp).map(Some).ok_or(Forged)
    }

    /// Returns whether this is the body of the request.
    pub(super) fn covers(&self, body: &[u8]) -> bool {
        self.has_hash(digest::digest(&digest::SHA256, body))
    }

    pub(super) fn has_hash(&self, hash: digest::Digest) -> bool {
        bytes_of_hex(&self.body).is_some_and(|body| body == hash.as_ref())
    }

    fn parse(stamp: &str) -> Option<Self> {
        let mut parts = stamp.strip_prefix("v1;")?.split(';');
        let mut part = |name: &str| parts.next()?.strip_prefix(name);
        let node = part("node=")?.to_owned();
        let address = part("caller=")?.parse().ok()?;
        let is_secure = part("secure=")? == "1";
        let id = part("id=")?.to_owned();
        let wait = Duration::from_millis(part("wait=")?.parse().ok()?);
        part("nonce=")?;
        let body = part("body=")?.to_owned();
        Some(Self { node, address, is_secure, id, wait, body })
    }
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Returns the 32 bytes of a hash or MAC.
fn bytes_of_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != bytes.len() || !rest.is_empty() {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(pairs) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

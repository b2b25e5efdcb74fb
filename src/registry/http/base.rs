//! The registry's own address as the client sees it: `http://host:port`.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use hyper::header::{HOST, HeaderName};
use hyper::http::request::Parts;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Shown as the beginning of a URL, where one is needed; few answers have one.
pub(crate) struct Base<'a> {
    scheme: &'static str,
    host: Cow<'a, str>,
}

impl<'a> Base<'a> {
    /// The host that was asked, by the scheme that the client, or a proxy, used.
    pub(crate) fn of(parts: &'a Parts, is_secure: bool, listening: SocketAddr) -> Self {
        let header = |name| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let asked = parts.uri.authority().map(|authority| authority.as_str());
        let is_plain = |host: &&str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
        };
        let scheme = match header(FORWARDED_PROTO) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            None if is_secure => "https",
            _ => "http",
        };
        let host = asked.or_else(|| header(HOST)).filter(is_plain);
        Self { scheme, host: host.map_or_else(|| listening.to_string().into(), Cow::from) }
    }
}

impl Display for Base<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.host)
    }
}

//! The registry's own address as the client sees it: `http://host:port`.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use hyper::header::{HOST, HeaderName};
use hyper::http::request::Parts;

const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Displayed as the beginning of a URL. It is computed then, because few responses contain one.
pub(super) struct PublicUrl<'a> {
    pub(super) parts: &'a Parts,
    pub(super) is_secure: bool,
    /// The listening address, for requests that name no host.
    pub(super) listening: SocketAddr,
}

impl PublicUrl<'_> {
    fn header(&self, name: HeaderName) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// Returns the scheme of the client, or of its first proxy: of several values, the first is the client's own.
    fn scheme(&self) -> &'static str {
        let forwarded =
            self.header(FORWARDED_PROTO).map(|schemes| schemes.split(',').next().unwrap_or_default().trim());
        match forwarded {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            None if self.is_secure => "https",
            _ => "http",
        }
    }

    /// Returns the host that was asked for.
    fn host(&self) -> Option<&str> {
        let is_plain = |host: &&str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
        };
        let context = self.parts.uri.authority().map(|authority| authority.as_str());
        context.or_else(|| self.header(HOST)).filter(is_plain)
    }
}

impl Display for PublicUrl<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.host() {
            Some(host) => write!(f, "{}://{host}", self.scheme()),
            None => write!(f, "{}://{}", self.scheme(), self.listening),
        }
    }
}

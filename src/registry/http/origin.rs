//! The origin check of an open registry: refuses requests that a web page makes a browser send. They come from this
//! machine, and no token stops them.

use std::net::IpAddr;

use hyper::Version;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use hyper::http::request::Parts;

use super::error::HttpError;
use crate::registry::state::DomainError;

/// The longest host name, in characters (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 255;

/// Returns the host that the request names: the authority of a target in absolute form, otherwise `Host`, which
/// HTTP/1.1 requires exactly once (RFC 9112, 3.2).
pub(super) fn host(parts: &Parts) -> Result<Option<&str>, HttpError> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(DomainError::malformed("There is more than one Host header").into());
    }
    if host.is_none() && parts.version == Version::HTTP_11 {
        return Err(DomainError::malformed("There is no Host header").into());
    }
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    Ok(authority.or_else(|| host.map(|host| host.to_str().unwrap_or("?"))))
}

/// Accepts a request whose host is a loopback name, the address that it arrived at, or one of the registry's
/// configured names, and whose `Origin`, if it has one, is that same host.
///
/// A page whose own host name was changed to lead here after it was loaded still sends that name.
pub(super) fn check(host: Option<&str>, headers: &HeaderMap, local: IpAddr, names: &[String]) -> Result<(), HttpError> {
    let short = |text: &str| text.chars().filter(|c| !c.is_control()).take(LONGEST_NAME).collect::<String>();
    let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or("?"));
    if host.is_some_and(|host| !is_own(host, local, names)) {
        let name = short(host.map_or("", name_of));
        return Err(HttpError::Forbidden(
            format!(
                "Host {name} is neither a loopback name nor the address the registry listens on; \
                 start the registry with --host-name={name}"
            )
            .into(),
        ));
    }
    let of_own_pages = |origin: &str| origin.split_once("://").map(|(_, authority)| authority) == host;
    match origin.filter(|origin| !of_own_pages(origin)) {
        Some(origin) => Err(HttpError::Forbidden(
            format!(
                "Origin {} is a web page of another host; for such pages start the registry with --users",
                short(origin)
            )
            .into(),
        )),
        None => Ok(()),
    }
}

fn is_own(host: &str, local: IpAddr, names: &[String]) -> bool {
    let name = name_of(host);
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return address.to_canonical().is_loopback() || address.to_canonical() == local;
    }
    let name = name.trim_end_matches('.');
    name.eq_ignore_ascii_case("localhost")
        || name.to_ascii_lowercase().ends_with(".localhost")
        || names.iter().any(|own| own.eq_ignore_ascii_case(name))
}

/// Returns a host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(host: Option<&str>, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        origin.map(|value| headers.insert(ORIGIN, value.parse().unwrap()));
        check(host, &headers, "192.0.2.7".parse().unwrap(), &["registry.internal".to_owned()]).is_ok()
    }

    #[test]
    fn foreign_host_is_refused() {
        for host in [
            "localhost",
            "LOCALHOST:7117",
            "localhost.:80",
            "127.0.0.1:7117",
            "127.1.2.3",
            "[::1]:7117",
            "[::1]",
            "registry.localhost:7117",
            "[::ffff:127.0.0.1]:1",
            "192.0.2.7:7117",
            "Registry.Internal:7117",
        ] {
            assert!(passes(Some(host), None), "{host}");
        }
        for host in [
            "example.org",
            "example.org:7117",
            "localhost.example.org",
            "10.0.0.1:7117",
            "notlocalhost",
            "",
            "127.0.0.1.example.org",
            "[2001:db8::1]:7117",
            "0.0.0.0",
            "192.0.2.8",
            "registry.internal.example.org",
        ] {
            assert!(!passes(Some(host), None), "{host}");
        }
        assert!(passes(None, None), "a browser always sends one");
    }

    #[test]
    fn foreign_origin_is_refused() {
        assert!(passes(Some("localhost:7117"), Some("http://localhost:7117")));
        for origin in ["http://example.org", "null", "http://localhost:3000", "http://localhost", "", "localhost:7117"]
        {
            assert!(!passes(Some("localhost:7117"), Some(origin)), "{origin}");
        }
    }
}

//! The address of the client behind trusted proxies.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hyper::header::{FORWARDED, HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The addresses of trusted proxies: `ADDRESS` or `ADDRESS/BITS`.
///
/// ```
/// use service_registry::registry::TrustedProxy;
///
/// let network: TrustedProxy = "10.1.0.0/16".parse()?;
/// assert_eq!(network.to_string(), "10.1.0.0/16");
/// let host: TrustedProxy = "2001:db8::7".parse()?;
/// assert_eq!(host.to_string(), "2001:db8::7/128");
/// # Ok::<(), String>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rule = "give ADDRESS or ADDRESS/BITS, as in 192.0.2.7, 10.1.0.0/16 or 2001:db8::/48";
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text.parse().map_err(|_| rule.to_owned())?,
        };
        if network != network.trunc() {
            return Err(format!(
                "there are bits set beyond the first {}; is it {}?",
                network.prefix_len(),
                network.trunc()
            ));
        }
        Ok(Self(network))
    }
}

impl Display for TrustedProxy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Returns the client's address: the peer's, unless that is a trusted proxy. Then it is the last address in
/// `X-Forwarded-For`, or in `Forwarded` (RFC 7239), that is no trusted proxy: any client can write the ones before it.
///
/// If the two headers differ, a proxy has passed one of them on as the client wrote it, and neither counts.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[TrustedProxy]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|proxy| proxy.0.contains(&address));
    if !is_trusted(peer) {
        return peer;
    }
    let last = |name: &HeaderName, read: fn(&str) -> Vec<Option<IpAddr>>| {
        let lines = headers.get_all(name).iter().map(|line| line.to_str().unwrap_or("?"));
        let hops = read(&lines.collect::<Vec<_>>().join(","));
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            match hop {
                Some(hop) if is_trusted(client) => client = hop,
                _ => break,
            }
        }
        headers.contains_key(name).then_some(client)
    };
    match (last(&X_FORWARDED_FOR, x_forwarded_for), last(&FORWARDED, forwarded)) {
        (Some(one), Some(other)) if one != other => peer,
        (one, other) => one.or(other).unwrap_or(peer),
    }
}

fn x_forwarded_for(line: &str) -> Vec<Option<IpAddr>> {
    line.split(',').map(|hop| node(hop.trim())).collect()
}

/// Returns the `for` of each element; none where it is no address.
fn forwarded(line: &str) -> Vec<Option<IpAddr>> {
    split_unquoted(line, ',').map(|element| split_unquoted(element, ';').find_map(for_of)).collect()
}

fn for_of(pair: &str) -> Option<IpAddr> {
    let (name, value) = pair.split_once('=')?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    if name.trim().eq_ignore_ascii_case("for") { node(value) } else { None }
}

fn split_unquoted(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    text.split(move |c| {
        is_quoted ^= c == '"';
        c == at && !is_quoted
    })
}

/// Parses an address, with or without a port and brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"].map(|text| text.parse().unwrap());
        client(peer.parse().unwrap(), &headers, &trusted).to_string()
    }

    #[test]
    fn forwarded_address_counts_from_trusted_proxies_only() {
        let line = |value| [("x-forwarded-for", value)];
        assert_eq!(seen("10.1.1.1", &line("198.51.100.7")), "198.51.100.7");
        assert_eq!(seen("192.0.2.1", &line("198.51.100.7")), "198.51.100.7");
        assert_eq!(seen("192.0.2.2", &line("198.51.100.7")), "192.0.2.2", "no proxy");
        assert_eq!(seen("10.1.1.1", &[]), "10.1.1.1");
    }

    #[test]
    fn last_address_that_is_no_proxy_counts() {
        for (value, client) in [
            ("203.0.113.1, 198.51.100.7", "198.51.100.7"),
            ("203.0.113.1, 198.51.100.7, 10.2.2.2,192.0.2.1", "198.51.100.7"),
            ("10.9.9.9, 10.2.2.2", "10.9.9.9"),
            ("203.0.113.1, unknown", "10.1.1.1"),
            ("203.0.113.1, unknown, 10.2.2.2", "10.2.2.2"),
            ("198.51.100.7:4711", "198.51.100.7"),
            ("[2001:db9::1]:4711", "2001:db9::1"),
            ("[2001:db9::1]", "2001:db9::1"),
            ("2001:db9::1", "2001:db9::1"),
            ("::ffff:198.51.100.7", "198.51.100.7"),
            ("", "10.1.1.1"),
            ("198.51.100.7,", "10.1.1.1"),
        ] {
            assert_eq!(seen("10.1.1.1", &[("x-forwarded-for", value)]), client, "{value}");
        }
        let lines = [("x-forwarded-for", "203.0.113.1"), ("x-forwarded-for", "198.51.100.7")];
        assert_eq!(seen("10.1.1.1", &lines), "198.51.100.7", "lines are one list");
    }

    #[test]
    fn forwarded_header_is_parsed_as_in_rfc_7239() {
        for (value, client) in [
            ("for=198.51.100.7", "198.51.100.7"),
            ("for=203.0.113.1, For=\"198.51.100.7:4711\";proto=https;by=10.2.2.2", "198.51.100.7"),
            ("proto=http;for=\"[2001:db9:cafe::17]:4711\"", "2001:db9:cafe::17"),
            ("for=198.51.100.7;host=\"a,b;for=1.2.3.4\"", "198.51.100.7"),
            ("for=198.51.100.7, for=10.2.2.2", "198.51.100.7"),
            ("for=198.51.100.7, for=_hidden", "10.1.1.1"),
            ("for=198.51.100.7, proto=https", "10.1.1.1"),
            ("for=unknown", "10.1.1.1"),
            ("for=\"198.51.100.7", "10.1.1.1"),
        ] {
            assert_eq!(seen("10.1.1.1", &[("forwarded", value)]), client, "{value}");
        }
    }

    /// A proxy that writes one of the headers passes on the other as the client wrote it.
    #[test]
    fn headers_that_differ_are_ignored() {
        let both = |one, other| seen("10.1.1.1", &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("198.51.100.7", "for=198.51.100.7"), "198.51.100.7");
        assert_eq!(both("198.51.100.7", "for=203.0.113.1"), "10.1.1.1");
    }

    #[test]
    fn invalid_proxy_address_is_refused() {
        let parse = |text: &str| text.parse::<TrustedProxy>().map(|proxy| proxy.to_string());
        assert_eq!(parse("::ffff:10.0.0.1").unwrap(), "10.0.0.1/32");
        for wrong in ["", "proxy", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/a", "10.0.0", "[::1]", "10.0.0.1:80", "/8"] {
            assert!(parse(wrong).unwrap_err().starts_with("give ADDRESS or ADDRESS/BITS"), "{wrong}");
        }
        assert_eq!(parse("10.1.2.3/8").unwrap_err(), "there are bits set beyond the first 8; is it 10.0.0.0/8?");
    }
}

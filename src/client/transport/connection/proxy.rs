//! The proxies that the environment names, with the rules of curl.
//!
//! *Not* `Matcher::from_env` of hyper-util: it prefers the names in upper case, reads no list that is separated by
//! spaces, and its `*` excludes names but no addresses.

use std::fmt;
use std::net::IpAddr;

use hyper::Uri;
use hyper::header::HeaderValue;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use url::Url;

/// The proxies for http and for https, and the hosts that are reached without one.
pub(super) struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    no_proxy: String,
}

/// A proxy, and the variable that names it.
pub(super) struct Proxy {
    pub(super) variable: &'static str,
    intercept: Intercept,
}

impl Proxies {
    /// Reads the variables; nothing if none names a proxy.
    pub(super) fn from_env() -> Option<Self> {
        // A server that runs this program for a request has made this variable from a header of the request.
        let is_cgi = std::env::var_os("REQUEST_METHOD").is_some();
        let http = ["http_proxy", "HTTP_PROXY"];
        let proxies = Self {
            http: Proxy::named(if is_cgi { &http[..1] } else { &http }),
            https: Proxy::named(&["https_proxy", "HTTPS_PROXY"]),
            no_proxy: first_of(&["no_proxy", "NO_PROXY"]).map(|(_, list)| list).unwrap_or_default(),
        };
        (proxies.http.is_some() || proxies.https.is_some()).then_some(proxies)
    }

    /// Returns the proxy for a URL. This machine is reached without one.
    pub(super) fn find(&self, scheme: Option<&str>, host: Option<&str>) -> Option<&Proxy> {
        let proxy = if scheme == Some("https") { &self.https } else { &self.http };
        let host = host?.trim_start_matches('[').trim_end_matches(']');
        proxy.as_ref().filter(|_| !is_loopback(host) && !is_excluded(host, &self.no_proxy))
    }

    /// Returns whether a proxy for this URL is reached by TLS.
    pub(super) fn wants_tls(&self, url: &Url) -> bool {
        let proxy = self.find(Some(url.scheme()), url.host_str());
        proxy.is_some_and(|proxy| proxy.uri().scheme_str() == Some("https"))
    }
}

impl Proxy {
    /// Returns the proxy of the first of these variables that has a value, or else of the one for all URLs.
    fn named(names: &[&'static str]) -> Option<Self> {
        let (variable, value) = first_of(names).or_else(|| first_of(&["all_proxy", "ALL_PROXY"]))?;
        let any = Uri::from_static("http://any");
        let intercept = Matcher::builder().all(value).build().intercept(&any)?;
        Some(Self { variable, intercept })
    }

    pub(super) fn uri(&self) -> &Uri {
        self.intercept.uri()
    }

    /// The header for user name and password.
    pub(super) fn auth(&self) -> Option<&HeaderValue> {
        self.intercept.basic_auth()
    }
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

/// Returns the first of these variables that is not empty.
fn first_of(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()).map(|value| (*name, value)))
}

/// Returns whether a host is this machine.
fn is_loopback(host: &str) -> bool {
    if let Ok(address) = host.parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

/// Returns whether `no_proxy` names a host: `*` alone, or items between commas and blanks. An item is a name, which
/// stands for all names below it as well, an address, or a network (`192.0.2.0/24`).
fn is_excluded(host: &str, no_proxy: &str) -> bool {
    if no_proxy == "*" {
        return true;
    }
    let mut items = no_proxy.split([',', ' ', '\t']).filter(|item| !item.is_empty());
    match host.parse() {
        Ok(address) => items.any(|item| is_within(address, item)),
        Err(_) => items.any(|item| is_below(host, item)),
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let domain = domain.strip_prefix('.').unwrap_or(domain).as_bytes();
    host.len().checked_sub(domain.len()).is_some_and(|above| {
        host[above..].eq_ignore_ascii_case(domain) && !domain.is_empty() && (above == 0 || host[above - 1] == b'.')
    })
}

fn is_within(address: IpAddr, network: &str) -> bool {
    let (network, length) = network.split_once('/').map_or((network, None), |(network, bits)| (network, Some(bits)));
    let (address, network, all) = match (address, network.parse()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(network))) => (address.to_bits().into(), network.to_bits().into(), 32),
        (IpAddr::V6(address), Ok(IpAddr::V6(network))) => (address.to_bits(), network.to_bits(), 128),
        _ => return false,
    };
    let bits = length.map_or(Ok(all), str::parse).unwrap_or(u32::MAX);
    bits <= all && (address ^ network).checked_shr(all - bits).unwrap_or(0) == 0
}

//! Where a service can be reached, from its metadata.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::Name;

use crate::registry::model::StringList;

/// The metadata that has addresses.
const ADDRESS_KEYS: [&str; 3] = ["address", "ip", "host"];

/// Where a service can be reached.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Endpoint {
    pub(super) addresses: Vec<IpAddr>,
    /// The name of its host, if the metadata has one and no address.
    pub(super) name: Option<Name>,
    pub(super) port: Option<u16>,
}

impl Endpoint {
    pub(super) fn of(metadata: &StringList) -> Self {
        let (mut endpoint, mut port_in_address) = (Self::default(), None);
        for key in ADDRESS_KEYS {
            for (_, value) in metadata.pairs().filter(|(known, _)| *known == key) {
                let (address, port) = split_port(value.trim());
                port_in_address = port_in_address.or(port);
                match address.parse::<IpAddr>().map(|address| address.to_canonical()) {
                    Ok(address) if address.is_unspecified() || endpoint.addresses.contains(&address) => {}
                    Ok(address) => endpoint.addresses.push(address),
                    Err(_) => endpoint.name = endpoint.name.or_else(|| host_name(address)),
                }
            }
        }
        let port = metadata.pairs().find(|(key, _)| *key == "port").and_then(|(_, value)| port(value.trim()));
        endpoint.port = port.or(port_in_address);
        if !endpoint.addresses.is_empty() {
            endpoint.name = None;
        }
        endpoint
    }
}

fn port(text: &str) -> Option<u16> {
    text.parse().ok().filter(|port| *port != 0)
}

/// Divides `address:port`, `[address]:port`, `name:port` or `[address]`.
fn split_port(text: &str) -> (&str, Option<u16>) {
    if text.parse::<IpAddr>().is_ok() {
        return (text, None);
    }
    let is_socket = text.parse::<SocketAddr>().is_ok();
    let divided = text.rsplit_once(':').filter(|(name, _)| is_socket || !name.contains(':'));
    let (address, port) = match divided.and_then(|(address, digits)| Some((address, port(digits)?))) {
        Some((address, port)) => (address, Some(port)),
        None => (text, None),
    };
    (address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(address), port)
}

/// Parses a name that resolvers of other machines may know: it has a dot, and does not end in a number.
fn host_name(text: &str) -> Option<Name> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_name =
        text.contains('.') && text.split('.').all(is_label) && last.bytes().any(|byte| !byte.is_ascii_digit());
    Name::from_ascii(format!("{text}.")).ok().filter(|_| is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(metadata: &[&str]) -> (Vec<String>, Option<String>, Option<u16>) {
        let Endpoint { addresses, name, port } = Endpoint::of(&StringList::new(metadata.iter().copied()));
        (addresses.iter().map(IpAddr::to_string).collect(), name.map(|name| name.to_ascii()), port)
    }

    fn found(addresses: &[&str], name: Option<&str>, port: Option<u16>) -> (Vec<String>, Option<String>, Option<u16>) {
        (addresses.iter().map(ToString::to_string).collect(), name.map(str::to_owned), port)
    }

    #[test]
    fn addresses_names_and_ports_are_found() {
        for (metadata, expected) in [
            (&["address", "10.0.0.1", "port", "80"][..], found(&["10.0.0.1"], None, Some(80))),
            (&["ip", "fe80::1", "address", "10.0.0.1", "ip", "10.0.0.1"], found(&["10.0.0.1", "fe80::1"], None, None)),
            (&["host", "10.0.0.1"], found(&["10.0.0.1"], None, None)),
            (&["host", "web1"], found(&[], None, None)),
            (&["host", "web1.example.com"], found(&[], Some("web1.example.com."), None)),
            (&["address", "web1.example.com:81"], found(&[], Some("web1.example.com."), Some(81))),
            (&["address", "web1.example.com", "ip", "10.0.0.1"], found(&["10.0.0.1"], None, None)),
            (&["address", "10.0.0.1:81", "port", "80"], found(&["10.0.0.1"], None, Some(80))),
            (&["address", "[::1]:81"], found(&["::1"], None, Some(81))),
            (&["address", "[::1]"], found(&["::1"], None, None)),
            (&["address", "::ffff:10.0.0.1"], found(&["10.0.0.1"], None, None)),
            (&["address", "0.0.0.0", "port", "0"], found(&[], None, None)),
            (&["address", "10.0.0.300", "port", "http"], found(&[], None, None)),
            (&["address", "a b.c", "port", "70000"], found(&[], None, None)),
            (&["address", "http://web.example.com:80/", "ip", ""], found(&[], None, None)),
        ] {
            assert_eq!(endpoint(metadata), expected, "{metadata:?}");
        }
    }
}

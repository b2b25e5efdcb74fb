//! The addresses of this machine.

use std::fmt;
use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result, bail};
use ipnet::IpNet;
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Where an address is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The address from which packets leave by the default route.
    DefaultRoute,
    Interface(String),
    Network(IpNet),
}

impl Place {
    /// Parses the argument of a placeholder: `eth0`, or `10.0.0.0/8`.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if !text.contains('/') {
            return Ok(Self::Interface(text.to_owned()));
        }
        let network = text.parse().with_context(|| format!("{text:?} is no network; write one as 10.0.0.0/8"))?;
        Ok(Self::Network(network))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Finds an address of this machine that other machines can use.
pub(super) fn find(family: Family, place: &Place) -> Result<IpAddr> {
    match place {
        Place::DefaultRoute => of_default_route(family).with_context(|| {
            format!("this machine has no default route for {family}; name an interface or a network: {{ip:eth0}}, {{ip:10.0.0.0/8}}")
        }),
        Place::Interface(wanted) => {
            let found = addresses(family)?.into_iter().filter(|(interface, _)| interface == wanted).map(|(_, ip)| ip);
            best(found).with_context(|| format!("the interface {wanted} has no {family} address; {}", listed(family)))
        }
        Place::Network(network) => {
            let found = addresses(family)?.into_iter().map(|(_, ip)| ip).filter(|ip| network.contains(ip));
            best(found).with_context(|| format!("no interface has an {family} address in {network}; {}", listed(family)))
        }
    }
}

/// Asks the kernel for the source address of a packet to another network. Connecting a UDP socket sends none.
fn of_default_route(family: Family) -> Result<IpAddr> {
    // Addresses for documentation (RFC 5737, RFC 3849): no more specific route leads to them.
    let (any, elsewhere): (SocketAddr, SocketAddr) = match family {
        Family::V4 => (([0, 0, 0, 0], 0).into(), ([192, 0, 2, 1], 9).into()),
        Family::V6 => (([0_u16; 8], 0).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1_u16], 9).into()),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(elsewhere)?;
    let address = socket.local_addr()?.ip();
    if address.is_unspecified() || address.is_loopback() {
        bail!("the route leads to this machine itself");
    }
    Ok(address)
}

/// The addresses of interfaces that are up, in the order of the kernel.
fn addresses(family: Family) -> Result<Vec<(String, IpAddr)>> {
    let all = getifaddrs().context("the system does not tell the addresses of interfaces")?;
    let up = all.filter(|entry| entry.flags.contains(InterfaceFlags::IFF_UP));
    Ok(up
        .filter_map(|entry| {
            let address = entry.address?;
            let ip = match family {
                Family::V4 => IpAddr::V4(address.as_sockaddr_in()?.ip()),
                Family::V6 => IpAddr::V6(address.as_sockaddr_in6()?.ip()),
            };
            Some((entry.interface_name, ip))
        })
        .collect())
}

/// Prefers addresses that need no interface beside them: link-local ones do.
fn best(found: impl Iterator<Item = IpAddr>) -> Option<IpAddr> {
    let is_link_local = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    found.min_by_key(is_link_local)
}

fn listed(family: Family) -> String {
    let all = addresses(family).unwrap_or_default();
    let all: Vec<String> = all.into_iter().map(|(interface, ip)| format!("{ip} ({interface})")).collect();
    if all.is_empty() { format!("there are no {family} addresses") } else { format!("there are {}", all.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_interfaces_or_networks() {
        assert_eq!(Place::parse("eth0").unwrap(), Place::Interface("eth0".into()));
        assert_eq!(Place::parse("10.0.0.0/8").unwrap(), Place::Network("10.0.0.0/8".parse().unwrap()));
        assert!(Place::parse("10/8").unwrap_err().to_string().contains("write one as 10.0.0.0/8"));
    }

    #[test]
    fn loopback_is_found_by_interface_and_by_network() {
        let loopback: IpAddr = [127, 0, 0, 1].into();
        for place in ["lo", "127.0.0.0/8"] {
            assert_eq!(find(Family::V4, &Place::parse(place).unwrap()).unwrap(), loopback);
        }
        let error = find(Family::V4, &Place::Interface("none0".into())).unwrap_err().to_string();
        assert!(error.contains("none0 has no IPv4 address; there are ") && error.contains("127.0.0.1 (lo)"), "{error}");
    }

    #[test]
    fn link_local_address_is_the_last_choice() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(best([ip("fe80::1"), ip("2001:db8::1"), ip("2001:db8::2")].into_iter()), Some(ip("2001:db8::1")));
        assert_eq!(best([ip("169.254.1.1")].into_iter()), Some(ip("169.254.1.1")));
    }
}

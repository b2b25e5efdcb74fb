//! Services, prepared for answers: what each type of record needs, without duplicates, since a set of records has none.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use hickory_proto::rr::Name;

use super::endpoint::Endpoint;
use crate::registry::model::ServiceInfo;

/// The services of a name at one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot {
    pub(super) services: Vec<Arc<ServiceInfo>>,
    pub(super) v4: Vec<Ipv4Addr>,
    pub(super) v6: Vec<Ipv6Addr>,
    /// The names of hosts; none if any service has an address, which they would hide.
    pub(super) names: Vec<Name>,
    pub(super) ports: Vec<Port>,
}

/// A port of a service that can be reached.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) port: u16,
    pub(super) host: Host,
}

#[derive(Debug)]
pub(super) enum Host {
    /// The name of the service, which has these addresses.
    Own(Arc<ServiceInfo>, Vec<IpAddr>),
    /// The name in the metadata.
    Named(Name),
}

impl Snapshot {
    pub(super) fn of(services: Vec<Arc<ServiceInfo>>) -> Self {
        let mut snapshot = Self::default();
        let (mut names, mut named_ports) = (HashSet::new(), HashSet::new());
        for service in &services {
            let Endpoint { addresses, name, port } = Endpoint::of(&service.metadata);
            for address in &addresses {
                match address {
                    IpAddr::V4(address) => snapshot.v4.push(*address),
                    IpAddr::V6(address) => snapshot.v6.push(*address),
                }
            }
            names.extend(name.clone());
            let Some(port) = port else { continue };
            match name {
                Some(name) if named_ports.insert((name.clone(), port)) => {
                    snapshot.ports.push(Port { port, host: Host::Named(name) });
                }
                None if !addresses.is_empty() => {
                    snapshot.ports.push(Port { port, host: Host::Own(service.clone(), addresses) });
                }
                _ => {}
            }
        }
        snapshot.v4.sort_unstable();
        snapshot.v4.dedup();
        snapshot.v6.sort_unstable();
        snapshot.v6.dedup();
        if snapshot.v4.is_empty() && snapshot.v6.is_empty() {
            snapshot.names = names.into_iter().collect();
        }
        Self { services, ..snapshot }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::registry::model::{ServiceKind, StringList};

    pub(in crate::registry::dns) fn service(id: &str, metadata: &[&str]) -> Arc<ServiceInfo> {
        Arc::new(ServiceInfo {
            id: id.into(),
            tags: StringList::default(),
            metadata: StringList::new(metadata.iter().copied()),
            kind: ServiceKind::Standalone { timeout: 30 },
        })
    }

    #[test]
    fn snapshot_has_each_address_once_and_names_only_without_addresses() {
        let named = |id: &str| service(id, &["address", "db.example.com", "port", "5432"]);
        let only_names = Snapshot::of(vec![named("a"), named("b")]);
        assert_eq!((only_names.names.len(), only_names.ports.len(), only_names.v4.len()), (1, 1, 0));
        let local = |id: &str, port: &str| service(id, &["address", "10.0.0.1", "port", port]);
        let both = Snapshot::of(vec![named("a"), local("b", "80"), local("c", "81"), service("d", &["port", "82"])]);
        assert_eq!((both.names.len(), both.v4.len(), both.ports.len(), both.services.len()), (0, 1, 3, 4));
    }
}

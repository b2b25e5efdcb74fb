//! The records of an answer, in random order, and no more of them than fit.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::rdata::{CNAME, HINFO, NS, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::name::{self, Wanted};
use super::snapshot::{Host, Port, Snapshot};
use crate::registry::model::ServiceInfo;

/// Bytes of the smallest record of each type: its name is a pointer.
const ADDRESS: usize = 16;
const ADDRESS_V6: usize = 28;
const PORT: usize = 20;
const TEXT: usize = 13;

/// The longest string of a TXT record.
const STRING: usize = 255;

/// The weight of every SRV record. Not 0: clients divide what has equal weights evenly in any order, what has none
/// only if they shuffle.
const WEIGHT: u16 = 1;

/// The zone that is answered for.
#[derive(Debug)]
pub(super) struct Zone {
    pub(super) domain: Name,
    pub(super) name_server: Name,
    pub(super) hostmaster: Name,
    /// Where queries are answered.
    pub(super) address: SocketAddr,
    /// In seconds.
    pub(super) ttl: u32,
    pub(super) serial: u32,
}

/// The records that answer a query.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Records {
    pub(super) answers: Vec<Record>,
    /// The answer to what clients would ask next.
    pub(super) additionals: Vec<Record>,
}

impl Zone {
    pub(super) fn soa(&self) -> Record {
        let (name_server, hostmaster) = (self.name_server.clone(), self.hostmaster.clone());
        // Nobody gets the zone by transfer, so the times of secondary servers have no effect; they are usual ones.
        let soa = SOA::new(name_server, hostmaster, self.serial, 3_600, 600, 604_800, self.ttl);
        self.record(&self.domain, RData::SOA(soa))
    }

    /// Returns the records of the zone itself.
    pub(super) fn apex(&self, of_type: RecordType) -> Records {
        match of_type {
            RecordType::SOA => Records { answers: vec![self.soa()], additionals: Vec::new() },
            RecordType::NS => {
                let ns = self.record(&self.domain, RData::NS(NS(self.name_server.clone())));
                let additionals = [RecordType::A, RecordType::AAAA].map(|of_type| self.name_server(of_type).answers);
                Records { answers: vec![ns], additionals: additionals.concat() }
            }
            _ => Records::default(),
        }
    }

    /// Returns the records of the name server: its address, if it listens on a certain one.
    pub(super) fn name_server(&self, of_type: RecordType) -> Records {
        let address = self.address.ip().to_canonical();
        let is_wanted = matches!(of_type, RecordType::A if address.is_ipv4())
            || matches!(of_type, RecordType::AAAA if address.is_ipv6());
        let address = Some(address).filter(|address| is_wanted && !address.is_unspecified());
        let answers = address.into_iter().map(|address| self.record(&self.name_server, RData::from(address)));
        Records { answers: answers.collect(), additionals: Vec::new() }
    }

    /// Returns what is said to a query for any type (RFC 8482): not all, which would be long.
    pub(super) fn any(&self, asked: &Name) -> Records {
        let answers = vec![self.record(asked, RData::HINFO(HINFO::new("RFC8482".to_owned(), String::new())))];
        Records { answers, additionals: Vec::new() }
    }

    /// Returns the records of services under the name that was asked for; some of them, if there are more than fit
    /// into `room` bytes.
    pub(super) fn services(
        &self,
        asked: &Name,
        of_type: RecordType,
        wanted: &Wanted,
        snapshot: &Snapshot,
        room: usize,
    ) -> Records {
        let record = |data| self.record(asked, data);
        let answers: Vec<Record> = match of_type {
            RecordType::SRV => {
                return self.ports(asked, wanted, sample(&snapshot.ports, room / PORT + 1));
            }
            RecordType::TXT => {
                let some = sample(&snapshot.services, room / TEXT + 1);
                let texts: Vec<TXT> = some.iter().filter_map(|service| text(service)).collect();
                let mut known = HashSet::new();
                texts.iter().filter(|text| known.insert(*text)).map(|text| record(RData::TXT(text.clone()))).collect()
            }
            // A name of RFC 2782 has no host behind it.
            _ if wanted.is_rfc2782 => Vec::new(),
            RecordType::A if !snapshot.v4.is_empty() => {
                sample(&snapshot.v4, room / ADDRESS + 1).into_iter().map(|v4| record(RData::A((*v4).into()))).collect()
            }
            RecordType::AAAA if !snapshot.v6.is_empty() => {
                let some = sample(&snapshot.v6, room / ADDRESS_V6 + 1).into_iter();
                some.map(|v6| record(RData::AAAA((*v6).into()))).collect()
            }
            // One, since a name has one canonical name.
            RecordType::A | RecordType::AAAA | RecordType::CNAME => {
                let one = sample(&snapshot.names, 1).into_iter();
                one.map(|name| record(RData::CNAME(CNAME(name.clone())))).collect()
            }
            _ => Vec::new(),
        };
        Records { answers, additionals: Vec::new() }
    }

    fn ports(&self, asked: &Name, wanted: &Wanted, ports: Vec<&Port>) -> Records {
        let mut records = Records::default();
        let (mut known, mut put) = (HashSet::new(), |target: &Name, address: &IpAddr| {
            records.additionals.push(self.record(target, RData::from(*address)));
        });
        for Port { port, host } in ports {
            let target = match host {
                Host::Named(name) => name.clone(),
                Host::Own(service, addresses) => {
                    let name = name::of_service(&service.id, wanted.account.as_deref(), &self.domain);
                    let Some(name) = name else { continue };
                    if known.insert(name.clone()) {
                        addresses.iter().for_each(|address| put(&name, address));
                    }
                    name
                }
            };
            records.answers.push(self.record(asked, RData::SRV(SRV::new(0, WEIGHT, *port, target))));
        }
        records
    }

    fn record(&self, name: &Name, data: RData) -> Record {
        Record::from_rdata(name.clone(), self.ttl, data)
    }
}

/// Returns the metadata as `key=value`, in the form of RFC 6763; none if there is nothing that fits.
fn text(service: &ServiceInfo) -> Option<TXT> {
    let pairs = service.metadata.pairs().map(|(key, value)| format!("{key}={value}"));
    let pairs: Vec<String> = pairs.filter(|pair| pair.len() <= STRING).collect();
    (!pairs.is_empty()).then(|| TXT::new(pairs))
}

/// Returns some of many, in random order and with the same chance for each.
fn sample<T>(of: &[T], most: usize) -> Vec<&T> {
    let mut chosen = Vec::with_capacity(most.min(of.len()));
    if of.len() <= most {
        chosen.extend(of);
    } else {
        // Floyd's way: it takes as many steps as there are chosen, and not as there are to choose from.
        let mut known = HashSet::with_capacity(most);
        for last in of.len() - most..of.len() {
            let random = fastrand::usize(..=last);
            let index = if known.insert(random) { random } else { last };
            known.insert(index);
            chosen.extend(of.get(index));
        }
    }
    fastrand::shuffle(&mut chosen);
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_has_different_ones_in_all_orders() {
        let all: Vec<usize> = (0..20).collect();
        let mut firsts = HashSet::new();
        for most in [1, 5, 19, 20, 100] {
            for _ in 0..500 {
                let some = sample(&all, most);
                assert_eq!(some.iter().collect::<HashSet<_>>().len(), most.min(20));
                firsts.insert((most, *some[0]));
            }
        }
        assert_eq!(firsts.len(), 100, "each is the first at times");
        assert!(sample(&[0; 0], 5).is_empty());
    }
}

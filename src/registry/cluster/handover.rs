//! The message that goes along with a shard: what its leases have gathered since their records were written.
//!
//! The epoch, then for each lease: the account, the kind and the length of the owner's id, the id, the time left, and
//! three times. Numbers are big-endian.

use std::time::Instant;

use crate::registry::model::{LeaseState, Owner, SessionId};

const SESSION: u8 = b's';
const SERVICE: u8 = b'v';

/// A handover that has arrived.
#[derive(Debug)]
pub(super) struct Received {
    /// The epoch of the ownership that it belongs to.
    pub(super) epoch: u64,
    pub(super) leases: Vec<LeaseState>,
    at: Instant,
}

impl Received {
    pub(super) fn now(epoch: u64, leases: Vec<LeaseState>) -> Self {
        Self { epoch, leases, at: Instant::now() }
    }

    /// Returns how long ago it arrived, in milliseconds.
    pub(super) fn age(&self) -> u64 {
        u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

pub(super) fn encode(epoch: u64, leases: &[LeaseState]) -> Vec<u8> {
    let mut message = Vec::with_capacity(8 + leases.len() * 48);
    message.extend_from_slice(&epoch.to_be_bytes());
    for LeaseState { tenant, owner, left, heard, latest, previous } in leases {
        let (kind, id) = match owner {
            Owner::Session(id) => (SESSION, id.as_str()),
            Owner::Service(id) => (SERVICE, &**id),
        };
        let Ok(length) = u16::try_from(id.len()) else { continue }; // the API allows far less
        message.extend_from_slice(&tenant.to_be_bytes());
        message.push(kind);
        message.extend_from_slice(&length.to_be_bytes());
        message.extend_from_slice(id.as_bytes());
        for number in [left, heard, latest, previous] {
            message.extend_from_slice(&number.to_be_bytes());
        }
    }
    message
}

/// Returns none if the message is damaged.
pub(super) fn decode(message: &[u8]) -> Option<(u64, Vec<LeaseState>)> {
    let (epoch, mut rest) = message.split_first_chunk()?;
    let mut leases = Vec::new();
    while !rest.is_empty() {
        leases.push(lease(&mut rest)?);
    }
    Some((u64::from_be_bytes(*epoch), leases))
}

fn lease(rest: &mut &[u8]) -> Option<LeaseState> {
    let tenant = u32::from_be_bytes(take(rest)?);
    let [kind] = take(rest)?;
    let length = usize::from(u16::from_be_bytes(take(rest)?));
    let (id, after) = rest.split_at_checked(length)?;
    *rest = after;
    let id = std::str::from_utf8(id).ok()?;
    let owner = match kind {
        SESSION => Owner::Session(SessionId::parse(id)?),
        SERVICE => Owner::Service(id.into()),
        _ => return None,
    };
    let mut number = || Some(u64::from_be_bytes(take(rest)?));
    Some(LeaseState { tenant, owner, left: number()?, heard: number()?, latest: number()?, previous: number()? })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_read_as_it_was_written_and_refused_if_it_is_cut() {
        let lease = |owner| LeaseState { tenant: 7, owner, left: 1, heard: 1 << 63, latest: u64::MAX, previous: 0 };
        let session = Owner::Session(SessionId::parse("seAbCdEfGh").unwrap());
        let leases = vec![lease(session), lease(Owner::Service("größer".into()))];
        let message = encode(9, &leases);
        assert_eq!(decode(&message), Some((9, leases)));
        let ends: Vec<usize> = (0..message.len()).filter(|end| decode(&message[..*end]).is_some()).collect();
        assert_eq!(ends.len(), 2, "without a lease, and after the first one: {ends:?}");
        assert_eq!(decode(&[&[0; 12][..], b"x"].concat()), None);
    }
}

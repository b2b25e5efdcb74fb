//! How much a source is answered over UDP, where it may be forged: beyond a rate, answers say only that there is more
//! over TCP, and are no longer than the query; beyond a higher one there are none.
//!
//! Sources are networks: an attacker forges any address of its victim's. This machine's own addresses of loopback
//! cannot be forged by others, and are where a resolver asks for many; they are not counted. The table has a fixed
//! size. Networks that share a place in it are counted together; who shares one cannot be foreseen.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Instant;

/// Whole answers for a network in a second, and answers of any kind.
const WHOLE: u32 = 1_000;
const ANY: u32 = 10_000;
const PLACES: usize = 1 << 14;

#[derive(Debug)]
pub(super) struct SourceLimit {
    started: Instant,
    hasher: RandomState,
    places: Box<[Place]>,
}

/// The queries of a second.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    second: u64,
    queries: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer,
    Cut,
    Ignore,
}

impl SourceLimit {
    pub(super) fn new() -> Self {
        let places = vec![Place::default(); PLACES].into_boxed_slice();
        Self { started: Instant::now(), hasher: RandomState::new(), places }
    }

    pub(super) fn count(&mut self, source: IpAddr) -> Verdict {
        self.count_at(source, self.started.elapsed().as_secs())
    }

    fn count_at(&mut self, source: IpAddr, second: u64) -> Verdict {
        let source = source.to_canonical();
        if source.is_loopback() {
            return Verdict::Answer;
        }
        let hash = usize::try_from(self.hasher.hash_one(network(source)) % PLACES as u64).unwrap_or_default();
        let Some(place) = self.places.get_mut(hash) else { return Verdict::Ignore };
        if place.second != second {
            *place = Place { second, queries: 0 };
        }
        place.queries = place.queries.saturating_add(1);
        match place.queries {
            queries if queries <= WHOLE => Verdict::Answer,
            queries if queries <= ANY => Verdict::Cut,
            _ => Verdict::Ignore,
        }
    }
}

/// Returns the /24 or /56 of an address, as is usual for limits of this kind.
fn network(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits() >> 8),
        IpAddr::V6(address) => address.to_bits() >> 72 << 72,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_get_whole_answers_then_short_ones_then_none() {
        let mut limit = SourceLimit::new();
        let mut verdicts = |from: &str, to: &str, second: u64| {
            let mut counts = [0; 3];
            for n in 0..12_000 {
                let verdict = limit.count_at(if n % 2 == 0 { from } else { to }.parse().unwrap(), second);
                counts[verdict as usize] += 1;
            }
            counts
        };
        let bounded = [1_000, 9_000, 2_000];
        assert_eq!(verdicts("10.0.0.1", "10.0.0.254", 1), bounded);
        assert_eq!(verdicts("10.0.0.1", "::ffff:10.0.0.9", 2), bounded, "each second again");
        assert_eq!(verdicts("2001:db8::1", "2001:db8:0:ff::1", 2), bounded);
        assert_eq!(verdicts("127.0.0.1", "::1", 2), [12_000, 0, 0]);
    }
}

//! Guessing is slowed: failed logins are counted for each pair of name and address, each address, and each name.
//!
//! From an address that has failed too often, attempts are looked at one after the other, with growing pauses. For a
//! name that is guessed at from everywhere only the answers that say no are held back: whoever has the right key
//! comes in at once, so nobody can lock a user out from elsewhere.
//!
//! The same mistake again teaches nobody anything: it is answered as before, unseen, and only its own answers are held back.
//! Programs that still have an old key say it for ever, and those beside them with the new one must come in.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Mistakes that cost nothing: of a pair, of an address (there may be many users behind it), of a name.
const FREE_PAIR: u32 = 5;
const FREE_ADDRESS: u32 = 50;
const FREE_NAME: u32 = 20;
/// The first pause, doubled with each failure up to the last, in milliseconds. Some clients wait no longer than 5 s.
const FIRST_PAUSE: u64 = 100;
const DOUBLINGS: u32 = 5;
/// An attempt that would have to wait longer is refused unseen.
const LONGEST_WAIT: u64 = 4_000;
/// Failures are forgotten so long after the last one.
const MEMORY_MS: u64 = 15 * 60_000;
/// What was wrong is looked at again after so long, once.
const MISTAKE_MS: u64 = 60_000;
/// How many counts are kept. The oldest half goes when there are more.
const CAPACITY: usize = 10_000;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct Slowing {
    hasher: RandomState,
    counts: Mutex<HashMap<u64, Count>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    failures: u32,
    /// The last time anything happened here.
    last: u64,
    /// When the next attempt may be looked at.
    next: u64,
    /// The last attempt of this pair was right.
    is_known: bool,
}

/// An attempt to log in, and of whom failures are counted: numbers that stand for them, so that a count is small whatever they
/// are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pair: u64,
    address: u64,
    name: u64,
    /// What is said to be right, by whom, and from where.
    claim: u64,
}

/// When an attempt is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// After it was looked at, from then on.
    At(u64),
    /// As before, at that time: it was wrong a moment ago.
    Wrong(u64),
    /// At once, unseen: too many are waiting.
    TooMany,
}

impl Slowing {
    /// An attempt under this name from this address; `claim` is all that decides whether it is right.
    pub(crate) fn attempt(&self, name: &str, from: IpAddr, claim: impl Hash) -> Attempt {
        let from = network(from);
        Attempt {
            pair: self.hasher.hash_one(("pair", name, from)),
            address: self.hasher.hash_one(("address", from)),
            name: self.hasher.hash_one(("name", name)),
            claim: self.hasher.hash_one(("claim", claim, from)),
        }
    }

    /// When an attempt that arrives now is answered.
    pub(crate) fn turn(&self, now: u64, attempt: Attempt) -> Turn {
        let mut counts = self.lock();
        if let Some(mistake) = counts.get_mut(&attempt.claim) {
            if now.saturating_sub(mistake.last) < MISTAKE_MS {
                return Turn::Wrong(now + mistake.repeated());
            }
            mistake.last = now; // of many that wait for this, one is looked at
        }
        let seen = |lane: &u64| counts.get(lane).filter(|count| count.is_remembered(now)).copied().unwrap_or_default();
        let (pair, address) = (seen(&attempt.pair), seen(&attempt.address));
        let (lane, free) = if pair.failures >= FREE_PAIR {
            (attempt.pair, FREE_PAIR)
        } else if address.failures >= FREE_ADDRESS && !pair.is_known {
            (attempt.address, FREE_ADDRESS)
        } else {
            return Turn::At(now);
        };
        let Some(count) = counts.get_mut(&lane) else { return Turn::At(now) };
        let turn = count.next.max(now);
        if turn > now + LONGEST_WAIT {
            return Turn::TooMany;
        }
        count.next = turn + pause(count.failures - free);
        Turn::At(turn)
    }

    /// Counts a failure, but the same one only once. Returns until when its answer is to be held back.
    pub(crate) fn failed(&self, now: u64, attempt: Attempt) -> u64 {
        let mut counts = self.lock();
        if let Some(known) = counts.get_mut(&attempt.claim).filter(|known| known.is_remembered(now)) {
            known.last = now;
            return now + known.repeated();
        }
        let mut count = |lane| {
            make_room(&mut counts, now);
            let count = counts.entry(lane).or_default();
            if !count.is_remembered(now) {
                *count = Count::default();
            }
            *count = Count { failures: count.failures.saturating_add(1), last: now, ..*count };
            count.failures
        };
        count(attempt.claim);
        count(attempt.pair);
        count(attempt.address);
        match count(attempt.name).checked_sub(FREE_NAME) {
            Some(above) => now + pause(above),
            None => now,
        }
    }

    /// Forgives a pair its mistakes.
    pub(crate) fn succeeded(&self, now: u64, attempt: Attempt) {
        let mut counts = self.lock();
        make_room(&mut counts, now);
        counts.remove(&attempt.claim);
        counts.insert(attempt.pair, Count { last: now, is_known: true, ..Count::default() });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Counts the same mistake again. Returns how long its answer is to be held back.
    fn repeated(&mut self) -> u64 {
        let held = self.failures.checked_sub(FREE_PAIR).map_or(0, pause);
        self.failures = self.failures.saturating_add(1);
        held
    }

    fn is_remembered(&self, now: u64) -> bool {
        now.saturating_sub(self.last) < MEMORY_MS
    }
}

fn pause(above: u32) -> u64 {
    FIRST_PAUSE << above.min(DOUBLINGS)
}

/// Who has one address of IPv6 has all 2^64 of its network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

fn make_room(counts: &mut HashMap<u64, Count>, now: u64) {
    if counts.len() < CAPACITY {
        return;
    }
    counts.retain(|_, count| count.is_remembered(now));
    if counts.len() < CAPACITY {
        return;
    }
    let mut times: Vec<u64> = counts.values().map(|count| count.last).collect();
    let (_, &mut median, _) = times.select_nth_unstable(CAPACITY / 2);
    let mut left = CAPACITY / 2;
    counts.retain(|_, count| {
        let stays = count.last >= median && left > 0;
        left -= usize::from(stays);
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// One that makes another claim each time, as who guesses does.
    fn guess(slowing: &Slowing, name: &str, from: IpAddr) -> Attempt {
        slowing.attempt(name, from, fastrand::u64(..))
    }

    #[test]
    fn a_few_mistakes_are_free_then_attempts_queue_up() {
        let slowing = Slowing::default();
        let turn = |now, name, from| slowing.turn(now, guess(&slowing, name, from));
        let failed = |now| slowing.failed(now, guess(&slowing, "joe", HERE));
        for _ in 0..FREE_PAIR {
            assert_eq!(turn(0, "joe", HERE), Turn::At(0));
            failed(0);
        }
        assert_eq!(turn(0, "joe", HERE), Turn::At(0));
        assert_eq!(turn(0, "joe", HERE), Turn::At(100), "together does not help");
        failed(200);
        assert_eq!((turn(200, "joe", HERE), turn(200, "joe", HERE)), (Turn::At(200), Turn::At(400)));
        (0..100).for_each(|_| _ = turn(200, "joe", HERE));
        assert_eq!(turn(200, "joe", HERE), Turn::TooMany);
        assert_eq!(turn(200, "ann", HERE), Turn::At(200), "another user at the same place");
        assert_eq!(turn(200, "joe", ELSEWHERE), Turn::At(200), "the right user elsewhere");
        slowing.succeeded(10_000, guess(&slowing, "joe", HERE));
        assert_eq!((turn(10_000, "joe", HERE), turn(10_000, "joe", HERE)), (Turn::At(10_000), Turn::At(10_000)));
    }

    #[test]
    fn the_same_mistake_for_ever_is_in_nobodys_way() {
        let slowing = Slowing::default();
        let (old, new) = (slowing.attempt("joe", HERE, "old key"), slowing.attempt("joe", HERE, "new key"));
        assert_eq!(slowing.turn(0, old), Turn::At(0));
        slowing.failed(0, old);
        let held: Vec<Turn> = (0..10).map(|_| slowing.turn(1, old)).collect();
        assert_eq!(held[..5], [1, 1, 1, 1, 101].map(Turn::Wrong));
        assert_eq!(held[9], Turn::Wrong(3_201));
        assert_eq!(slowing.turn(1, new), Turn::At(1));
        assert_eq!(slowing.turn(1, slowing.attempt("joe", ELSEWHERE, "old key")), Turn::At(1));
        let later = MISTAKE_MS + 1;
        assert_eq!(slowing.turn(later, old), Turn::At(later), "it may be right by now");
        assert_eq!(slowing.turn(later, old), Turn::Wrong(later + 3_200), "but one attempt tells");
        slowing.succeeded(later, old);
        assert_eq!(slowing.turn(later, old), Turn::At(later));
    }

    /// For hours, or many at once: those with the right key, and others at that address, do not notice.
    #[test]
    fn a_mistake_is_counted_once_however_often_it_is_looked_at() {
        let slowing = Slowing::default();
        let old = slowing.attempt("joe", HERE, "old key");
        for now in (0..3_600_000).step_by(1_000) {
            if slowing.turn(now, old) == Turn::At(now) {
                slowing.failed(now, old);
            }
        }
        let together = slowing.attempt("joe", HERE, "another old key");
        (0..60).for_each(|_| assert_eq!(slowing.turn(3_600_000, together), Turn::At(3_600_000)));
        (0..60).for_each(|_| _ = slowing.failed(3_600_000, together));
        for name in ["joe", "joe", "joe", "joe", "joe", "ann", "bob"] {
            assert_eq!(slowing.turn(3_600_000, slowing.attempt(name, HERE, "right")), Turn::At(3_600_000));
        }
    }

    #[test]
    fn names_in_turn_do_not_help_either_but_who_was_right_there_before_is_let_through() {
        let slowing = Slowing::default();
        let turn = |name| slowing.turn(0, guess(&slowing, name, HERE));
        slowing.succeeded(0, guess(&slowing, "joe", HERE));
        for number in 0..FREE_ADDRESS {
            slowing.failed(0, guess(&slowing, &format!("user{number}"), HERE));
        }
        assert_eq!((turn("new"), turn("new2")), (Turn::At(0), Turn::At(100)));
        assert_eq!((turn("joe"), turn("joe")), (Turn::At(0), Turn::At(0)));
    }

    #[test]
    fn a_name_guessed_at_from_everywhere_is_answered_later() {
        let slowing = Slowing::default();
        let from = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let held: Vec<u64> = (0..40).map(|n| slowing.failed(0, guess(&slowing, "joe", from(n)))).collect();
        assert_eq!((held[18], held[19], held[20], held[39]), (0, 100, 200, 3_200));
        assert_eq!(slowing.turn(0, guess(&slowing, "joe", ELSEWHERE)), Turn::At(0));
    }

    #[test]
    fn failures_are_forgotten_and_never_too_many() {
        let slowing = Slowing::default();
        (0..20).for_each(|_| _ = slowing.failed(0, guess(&slowing, "joe", HERE)));
        assert_eq!(slowing.failed(MEMORY_MS, guess(&slowing, "joe", HERE)), MEMORY_MS);
        for n in 0..30_000_u32 {
            let from = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            slowing.failed(u64::from(n), guess(&slowing, &n.to_string(), from));
            assert!(slowing.lock().len() <= CAPACITY);
        }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let same = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| network(text.parse().unwrap()));
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), HERE);
    }
}

//! The login throttle: slows guessing down. It counts failed logins for each pair of name and address, each address,
//! and each name.
//!
//! Credentials that were right from an address before are checked there at once, whatever others do, so no guesser can
//! lock out a user. Other logins queue up after failures: for the same name from the same address, or for any name from
//! that address. When the queue is full, a login is deferred without a check; its second attempt precedes new guesses.
//! For a name that is guessed from many addresses, and an address that guesses, failed responses are delayed.
//!
//! A repeated mistake reveals nothing new: it gets the same response without a check, and only its own responses are
//! delayed. So a program with an old key does not disturb the programs with the new one beside it.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::turns::Lane;

/// Free mistakes: of a pair, of an address (which many users may share), of a name.
const FREE_PAIR: u32 = 5;
const FREE_ADDRESS: u32 = 50;
const FREE_NAME: u32 = 20;
/// The first pause between two attempts of a pair, in milliseconds. It doubles with each failure up to the last value.
const FIRST_PAUSE: u64 = 100;
const PAIR_DOUBLINGS: u32 = 2;
/// The pause between two attempts of an address under names with few mistakes.
const ADDRESS_PAUSE: u64 = 40;
/// How often the first pause is doubled for delayed responses.
const DOUBLINGS: u32 = 5;
/// An attempt that would have to wait longer is deferred without a check; its second try may wait up to the last
/// moment. Some clients wait no longer than 5 s.
const LONGEST_WAIT: u64 = 3_000;
const LONGEST_WAIT_AGAIN: u64 = 4_000;
/// Failures are forgotten this long after the last one.
const MEMORY_MS: u64 = 15 * 60_000;
/// Wrong credentials are checked again after this time, once.
const MISTAKE_MS: u64 = 60_000;
/// The most counts, right credentials and deferred logins that are kept. Beyond that, the oldest half is dropped.
/// They are kept apart, so that a flood of mistakes does not displace right credentials.
const CAPACITY: usize = 10_000;

/// The counts.
#[derive(Debug, Default)]
pub(crate) struct LoginThrottle {
    hasher: RandomState,
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    counts: HashMap<u64, Count>,
    /// Credentials that were right from an address, and when they last were.
    right: HashMap<u64, u64>,
    /// Deferred logins, and when they were deferred.
    put_off: HashMap<u64, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    failures: u32,
    /// The time of the last event.
    last: u64,
    /// When the next attempt may be checked.
    next: u64,
}

/// An attempt to log in, as the numbers under which its failures are counted. A count is small, however long the
/// names are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pair: u64,
    address: u64,
    name: u64,
    /// The credentials, the name and the address.
    credentials: u64,
    /// The same, with the users file that decides about them.
    credentials_hash: u64,
}

/// When an attempt is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// After its check, at once: the credentials were right before.
    Known,
    /// After its check, at this time at the earliest.
    At(u64),
    /// Like the same mistake a moment ago, at this time.
    Wrong(u64),
    /// Without a check, at this time: too many logins are waiting.
    TooMany(u64),
}

impl LoginThrottle {
    /// Makes an attempt under this name from this address. `credentials` and the generation of the users file are all
    /// that decides whether it is right.
    pub(crate) fn attempt(&self, name: &str, from: IpAddr, credentials: impl Hash, generation: u64) -> Attempt {
        let from = network(from);
        let credentials = self.hasher.hash_one(("credentials", credentials, from));
        Attempt {
            pair: self.hasher.hash_one(("pair", name, from)),
            address: self.hasher.hash_one(("address", from)),
            name: self.hasher.hash_one(("name", name)),
            credentials,
            credentials_hash: self.hasher.hash_one(("claim", credentials, generation)),
        }
    }

    /// Returns when an attempt that arrives now is answered. One without a place to wait is deferred.
    pub(crate) fn turn(&self, now: u64, attempt: Attempt, has_place: bool) -> Verdict {
        let tables = &mut *self.lock();
        if tables.right.contains_key(&attempt.credentials) {
            return Verdict::Known;
        }
        let is_back = tables.was_put_off(now, attempt);
        let counts = &mut tables.counts;
        if let Some(failed_attempt) = counts.get_mut(&attempt.credentials_hash) {
            if now.saturating_sub(failed_attempt.last) < MISTAKE_MS {
                return Verdict::Wrong(now + failed_attempt.repeated());
            }
            failed_attempt.last = now; // of many attempts that wait for this time, one is checked
        }
        let failures =
            |lane| counts.get(&lane).filter(|count| count.is_remembered(now)).map_or(0, |count| count.failures);
        let (lane, between) = match failures(attempt.pair).checked_sub(FREE_PAIR) {
            Some(above) => (attempt.pair, pause(above, PAIR_DOUBLINGS)),
            None if failures(attempt.address) >= FREE_ADDRESS => (attempt.address, ADDRESS_PAUSE),
            None => return Verdict::At(now),
        };
        let Some(count) = counts.get_mut(&lane) else { return Verdict::At(now) };
        let turn = count.next.max(now);
        let longest = match (has_place, is_back) {
            (false, _) => 0,
            (true, false) => LONGEST_WAIT,
            (true, true) => LONGEST_WAIT_AGAIN,
        };
        if turn > now + longest {
            let failures = count.failures;
            tables.put_off(now, attempt);
            return Verdict::TooMany(now + pause(failures, DOUBLINGS));
        }
        count.next = turn + between;
        tables.put_off.remove(&attempt.credentials);
        Verdict::At(turn)
    }

    /// Returns whether these credentials were deferred a while ago.
    pub(crate) fn was_put_off(&self, now: u64, attempt: Attempt) -> bool {
        self.lock().was_put_off(now, attempt)
    }

    /// Takes back an attempt that was not checked after all.
    pub(crate) fn put_off(&self, now: u64, attempt: Attempt) {
        self.lock().put_off(now, attempt);
    }

    /// Counts a failure, the same one only once. Returns until when its response is delayed.
    pub(crate) fn failed(&self, now: u64, attempt: Attempt) -> u64 {
        let tables = &mut *self.lock();
        tables.right.remove(&attempt.credentials); // after a change of the users file
        let counts = &mut tables.counts;
        if let Some(known) = counts.get_mut(&attempt.credentials_hash).filter(|known| known.is_remembered(now)) {
            known.last = now;
            return now + known.repeated();
        }
        let mut count = |lane| {
            make_room(counts, |count| count.last);
            let count = counts.entry(lane).or_default();
            if !count.is_remembered(now) {
                *count = Count::default();
            }
            *count = Count { failures: count.failures.saturating_add(1), last: now, ..*count };
            count.failures
        };
        count(attempt.credentials_hash);
        count(attempt.pair);
        let held = |failures: u32, free| failures.checked_sub(free).map_or(0, |above| pause(above, DOUBLINGS));
        now + held(count(attempt.address), FREE_ADDRESS).max(held(count(attempt.name), FREE_NAME))
    }

    /// Remembers right credentials. They do not clear the count of the pair, or each login would make some guesses
    /// free.
    pub(crate) fn succeeded(&self, now: u64, attempt: Attempt) {
        let tables = &mut *self.lock();
        tables.counts.remove(&attempt.credentials_hash);
        make_room(&mut tables.right, |last| *last);
        tables.right.insert(attempt.credentials, now);
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// Returns the lane in which the login waits for its hash.
    pub(crate) fn lane(&self) -> Lane {
        Lane::Address(self.address)
    }
}

impl Tables {
    fn was_put_off(&self, now: u64, attempt: Attempt) -> bool {
        self.put_off.get(&attempt.credentials).is_some_and(|time| now.saturating_sub(*time) < MEMORY_MS)
    }

    fn put_off(&mut self, now: u64, attempt: Attempt) {
        make_room(&mut self.put_off, |time| *time);
        self.put_off.insert(attempt.credentials, now);
    }
}

impl Count {
    /// Counts a repeated mistake. Returns how long its response is delayed.
    fn repeated(&mut self) -> u64 {
        let held = self.failures.checked_sub(FREE_PAIR).map_or(0, |above| pause(above, DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        held
    }

    fn is_remembered(&self, now: u64) -> bool {
        now.saturating_sub(self.last) < MEMORY_MS
    }
}

fn pause(above: u32, doublings: u32) -> u64 {
    FIRST_PAUSE << above.min(doublings)
}

/// A client with an IPv6 address has all 2^64 addresses of its network.
pub(super) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
        address => address,
    }
}

/// Drops the oldest half if there is no room for another entry.
fn make_room<T>(table: &mut HashMap<u64, T>, last: impl Fn(&T) -> u64) {
    if table.len() < CAPACITY {
        return;
    }
    let mut times: Vec<u64> = table.values().map(&last).collect();
    let (_, &mut median, _) = times.select_nth_unstable(CAPACITY / 2);
    let mut left = CAPACITY / 2;
    table.retain(|_, entry| {
        let stays = last(entry) >= median && left > 0;
        left -= usize::from(stays);
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    /// One with other credentials each time, like a guesser's.
    fn guess(login_throttle: &LoginThrottle, name: &str, from: IpAddr) -> Attempt {
        login_throttle.attempt(name, from, fastrand::u64(..), 0)
    }

    fn with_key(login_throttle: &LoginThrottle, name: &str, from: IpAddr, key: &str) -> Attempt {
        login_throttle.attempt(name, from, (name, key), 0)
    }

    #[test]
    fn attempts_queue_up_after_a_few_mistakes() {
        let login_throttle = LoginThrottle::default();
        let turn = |now, name, from| login_throttle.turn(now, guess(&login_throttle, name, from), true);
        let failed = |now| login_throttle.failed(now, guess(&login_throttle, "joe", HERE));
        for _ in 0..FREE_PAIR {
            assert_eq!(turn(0, "joe", HERE), Verdict::At(0));
            failed(0);
        }
        assert_eq!(turn(0, "joe", HERE), Verdict::At(0));
        assert_eq!(turn(0, "joe", HERE), Verdict::At(100), "together does not help");
        failed(200);
        assert_eq!((turn(200, "joe", HERE), turn(200, "joe", HERE)), (Verdict::At(200), Verdict::At(400)));
        (0..100).for_each(|_| _ = turn(200, "joe", HERE));
        assert_eq!(turn(200, "joe", HERE), Verdict::TooMany(200 + 3_200));
        assert_eq!(
            login_throttle.turn(9_999, guess(&login_throttle, "joe", HERE), false),
            Verdict::At(9_999),
            "no request waits any more"
        );
        assert!(
            matches!(login_throttle.turn(9_999, guess(&login_throttle, "joe", HERE), false), Verdict::TooMany(_)),
            "no place to wait"
        );
        assert_eq!(turn(200, "ann", HERE), Verdict::At(200), "another user at the same place");
        assert_eq!(turn(200, "joe", ELSEWHERE), Verdict::At(200), "the right user elsewhere");
    }

    /// A guesser cannot lock out a user who was logged in, not from the same address and not under the same name; and
    /// gets no guesses for free because another login is right.
    #[test]
    fn known_credentials_are_checked_at_once_during_guessing() {
        let login_throttle = LoginThrottle::default();
        let right = with_key(&login_throttle, "joe", HERE, "right");
        login_throttle.succeeded(0, right);
        for number in 0..3 * CAPACITY as u64 {
            let name = if number % 2 == 0 { "joe".to_owned() } else { format!("user{number}") };
            login_throttle.turn(number, guess(&login_throttle, &name, HERE), true);
            login_throttle.failed(number, guess(&login_throttle, &name, HERE));
            login_throttle.put_off(number, guess(&login_throttle, &name, HERE));
        }
        let now = 3 * CAPACITY as u64;
        assert_eq!(login_throttle.turn(now, right, true), Verdict::Known);
        login_throttle.succeeded(now, right);
        assert_ne!(
            login_throttle.turn(now, with_key(&login_throttle, "joe", ELSEWHERE, "right"), true),
            Verdict::Known,
            "from there only"
        );
        (0..100).for_each(|_| _ = login_throttle.turn(now, guess(&login_throttle, "joe", HERE), true));
        assert!(matches!(login_throttle.turn(now, guess(&login_throttle, "joe", HERE), true), Verdict::TooMany(_)));
        assert_eq!(login_throttle.turn(now, right, true), Verdict::Known);
        login_throttle.failed(now, right);
        assert_ne!(login_throttle.turn(now, right, true), Verdict::Known, "another users file: it is wrong now");
    }

    #[test]
    fn deferred_login_precedes_new_guesses() {
        let login_throttle = LoginThrottle::default();
        (0..FREE_PAIR + 5).for_each(|_| _ = login_throttle.failed(0, guess(&login_throttle, "joe", HERE)));
        let fill = |now| {
            while matches!(login_throttle.turn(now, guess(&login_throttle, "joe", HERE), true), Verdict::At(_)) {}
        };
        fill(0);
        let new = with_key(&login_throttle, "joe", HERE, "right");
        assert!(matches!(login_throttle.turn(0, new, true), Verdict::TooMany(_)));
        fill(1);
        let Verdict::At(time) = login_throttle.turn(1, new, true) else { panic!("put off again") };
        assert!(time <= 1 + LONGEST_WAIT_AGAIN, "{time}");
        assert!(matches!(login_throttle.turn(1, guess(&login_throttle, "joe", HERE), true), Verdict::TooMany(_)));
    }

    #[test]
    fn repeated_mistake_delays_no_other_login() {
        let login_throttle = LoginThrottle::default();
        let (old, new) =
            (with_key(&login_throttle, "joe", HERE, "old key"), with_key(&login_throttle, "joe", HERE, "new key"));
        assert_eq!(login_throttle.turn(0, old, true), Verdict::At(0));
        login_throttle.failed(0, old);
        let held: Vec<Verdict> = (0..10).map(|_| login_throttle.turn(1, old, true)).collect();
        assert_eq!(held[..5], [1, 1, 1, 1, 101].map(Verdict::Wrong));
        assert_eq!(held[9], Verdict::Wrong(3_201));
        assert_eq!(login_throttle.turn(1, new, true), Verdict::At(1));
        assert_eq!(
            login_throttle.turn(1, with_key(&login_throttle, "joe", ELSEWHERE, "old key"), true),
            Verdict::At(1)
        );
        assert_eq!(
            login_throttle.turn(1, login_throttle.attempt("joe", HERE, ("joe", "old key"), 1), true),
            Verdict::At(1),
            "another users file"
        );
        let later = MISTAKE_MS + 1;
        assert_eq!(login_throttle.turn(later, old, true), Verdict::At(later), "it may be right by now");
        assert_eq!(login_throttle.turn(later, old, true), Verdict::Wrong(later + 3_200), "but one attempt tells");
        login_throttle.succeeded(later, old);
        assert_eq!(login_throttle.turn(later, old, true), Verdict::Known);
    }

    /// For hours, or many at once: those with the right key, and others at that address, do not notice.
    #[test]
    fn repeated_mistake_is_counted_once() {
        let login_throttle = LoginThrottle::default();
        let old = with_key(&login_throttle, "joe", HERE, "old key");
        for now in (0..3_600_000).step_by(1_000) {
            if login_throttle.turn(now, old, true) == Verdict::At(now) {
                login_throttle.failed(now, old);
            }
        }
        let together = with_key(&login_throttle, "joe", HERE, "another old key");
        (0..60).for_each(|_| assert_eq!(login_throttle.turn(3_600_000, together, true), Verdict::At(3_600_000)));
        (0..60).for_each(|_| _ = login_throttle.failed(3_600_000, together));
        for name in ["joe", "joe", "joe", "joe", "joe", "ann", "bob"] {
            assert_eq!(
                login_throttle.turn(3_600_000, with_key(&login_throttle, name, HERE, "right"), true),
                Verdict::At(3_600_000)
            );
        }
    }

    #[test]
    fn guessing_under_many_names_is_slowed() {
        let login_throttle = LoginThrottle::default();
        let turn = |name| login_throttle.turn(0, guess(&login_throttle, name, HERE), true);
        let failed = |number| login_throttle.failed(0, guess(&login_throttle, &format!("user{number}"), HERE));
        assert!((1..FREE_ADDRESS).all(|number| failed(number) == 0));
        assert_eq!((failed(0), failed(51), failed(60)), (100, 200, 400), "answers are held back");
        assert_eq!((turn("new"), turn("new2"), turn("new3")), (Verdict::At(0), Verdict::At(40), Verdict::At(80)));
        assert_eq!(login_throttle.turn(0, guess(&login_throttle, "new", ELSEWHERE), true), Verdict::At(0));
    }

    #[test]
    fn name_guessed_from_many_addresses_is_answered_later() {
        let login_throttle = LoginThrottle::default();
        let from = |n: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(n));
        let held: Vec<u64> =
            (0..40).map(|n| login_throttle.failed(0, guess(&login_throttle, "joe", from(n)))).collect();
        assert_eq!((held[18], held[19], held[20], held[39]), (0, 100, 200, 3_200));
        assert_eq!(login_throttle.turn(0, guess(&login_throttle, "joe", ELSEWHERE), true), Verdict::At(0));
    }

    #[test]
    fn counts_of_failures_expire_and_are_bounded() {
        let login_throttle = LoginThrottle::default();
        (0..20).for_each(|_| _ = login_throttle.failed(0, guess(&login_throttle, "joe", HERE)));
        assert_eq!(login_throttle.failed(MEMORY_MS, guess(&login_throttle, "joe", HERE)), MEMORY_MS);
        for n in 0..30_000_u32 {
            let from = IpAddr::from(std::net::Ipv4Addr::from_bits(n));
            let attempt = guess(&login_throttle, &n.to_string(), from);
            login_throttle.failed(u64::from(n), attempt);
            login_throttle.put_off(u64::from(n), attempt);
            login_throttle.succeeded(u64::from(n), attempt);
            let Tables { counts, right, put_off } = &*login_throttle.lock();
            assert!([counts.len(), right.len(), put_off.len()].iter().all(|len| *len <= CAPACITY));
        }
    }

    #[test]
    fn ipv6_network_counts_as_one_address() {
        let same = ["2001:db8::1", "2001:db8::ffff:1"].map(|text| network(text.parse().unwrap()));
        assert_eq!(same[0], same[1]);
        assert_ne!(same[0], network("2001:db8:0:1::1".parse().unwrap()));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), HERE);
    }
}

//! Bounds how many logins may wait, or have their responses delayed: each of them occupies a connection.
//!
//! An address may have as many places as it leaves to others. So a flood from one address gets at most half, and there
//! is always room for another address, and for logins that were deferred before.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::login_throttle::network;

/// The logins that wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    most: usize,
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    taken: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    waiting: &'a Waiting,
    address: IpAddr,
}

impl Waiting {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, places: Mutex::default() }
    }

    /// Returns a place for a login from this address, if it may have one more.
    pub(crate) fn enter(&self, from: IpAddr, was_put_off: bool) -> Option<Place<'_>> {
        let address = network(from);
        let mut places = self.lock();
        let left = self.most.saturating_sub(places.taken);
        let own = places.by_address.get(&address).copied().unwrap_or(0);
        if left == 0 || (own >= left && !was_put_off) {
            return None;
        }
        places.taken += 1;
        places.by_address.insert(address, own + 1);
        Some(Place { waiting: self, address })
    }

    fn lock(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut places = self.waiting.lock();
        places.taken -= 1;
        if let Some(own) = places.by_address.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                places.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_leaves_as_many_places_as_it_has() {
        let waiting = Waiting::new(8);
        let address = |last: u8| IpAddr::from([192, 0, 2, last]);
        let enter = |last: u8| std::iter::from_fn(|| waiting.enter(address(last), false)).collect::<Vec<_>>();
        let (first, second) = (enter(1), enter(2));
        assert_eq!((first.len(), second.len(), enter(3).len()), (4, 2, 1));
        let again: Vec<_> = std::iter::from_fn(|| waiting.enter(address(1), true)).collect();
        assert_eq!(again.len(), 2, "all that are left");
        drop(again);
        drop(first);
        assert!(waiting.enter(address(1), false).is_some());
        drop(second);
        assert!(waiting.lock().by_address.is_empty() && waiting.lock().taken == 0);
    }

    #[test]
    fn network_of_ipv6_is_one_address() {
        let waiting = Waiting::new(2);
        let _place = waiting.enter("2001:db8::1".parse().unwrap(), false).unwrap();
        assert!(waiting.enter("2001:db8::2".parse().unwrap(), false).is_none());
        assert!(waiting.enter("2001:db8:1::1".parse().unwrap(), false).is_some());
    }
}

//! Bounds how many requests may wait, or be streams: each of them occupies a connection.
//!
//! An account may have four times as many as it leaves free, and an address of it four times as many as it leaves to
//! the account's others. So one account alone gets most of them, and another one still finds some.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::registry::http::resources::fair_share::Party;
use crate::registry::model::TenantId;

/// How many times as many as are left.
const SHARE: usize = 4;

/// The requests that wait or are streams.
#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_tenant: HashMap<TenantId, usize>,
    by_party: HashMap<Party, usize>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    party: Party,
}

impl Places {
    /// Of this many connections, a quarter remains for requests that are answered at once.
    pub(crate) fn new(connections: usize) -> Self {
        Self { most: connections - connections / 4, taken: Mutex::default() }
    }

    /// Returns a place; none if the party has as many as it may.
    pub(crate) fn enter(self: &Arc<Self>, party: Party) -> Option<Place> {
        let mut taken = self.lock();
        let left = self.most.saturating_sub(taken.all);
        let of_tenant = taken.by_tenant.get(&party.0).copied().unwrap_or_default();
        let of_party = taken.by_party.get(&party).copied().unwrap_or_default();
        let left_to_tenant = (SHARE * left).saturating_sub(of_tenant).min(left);
        if left_to_tenant == 0 || of_party >= SHARE * left_to_tenant {
            return None;
        }
        taken.all += 1;
        taken.by_tenant.insert(party.0, of_tenant + 1);
        taken.by_party.insert(party, of_party + 1);
        Some(Place { places: self.clone(), party })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        leave(&mut taken.by_tenant, &self.party.0);
        leave(&mut taken.by_party, &self.party);
    }
}

fn leave<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(places: &Arc<Places>, tenant: TenantId, address: u8) -> Vec<Place> {
        std::iter::from_fn(|| places.enter((tenant, [127, 0, 0, address].into()))).collect()
    }

    #[test]
    fn account_and_address_leave_some_to_others() {
        let places = Arc::new(Places::new(1000));
        let first = all(&places, 1, 1);
        let same_account = all(&places, 1, 2);
        let second = all(&places, 2, 1);
        let third = all(&places, 3, 1);
        let counts = [&first, &same_account, &second, &third].map(Vec::len);
        assert_eq!(counts, [572, 27, 116, 27]);
        drop((first, same_account, second, third));
        let taken = places.lock();
        assert_eq!((taken.all, taken.by_tenant.len(), taken.by_party.len()), (0, 0, 0), "no party is remembered");
    }
}

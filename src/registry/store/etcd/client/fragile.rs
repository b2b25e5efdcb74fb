//! An etcd in memory for tests. Its answers can be lost, and transactions can be late, as with a real one whose leader
//! moves or whose network breaks, only at will and much more often.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::members::Members;
use super::{Compare, EtcdClient, EtcdConfig, EtcdError, Found, KeyValue, Operation, Outcome, Page};

/// What happens to a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Fault {
    Nothing,
    LostBefore,
    LostAfter,
    /// The answer is lost, and the transaction is made later.
    Late,
    Refused,
    NoSpace,
}

#[derive(Debug, Default)]
pub(in crate::registry) struct Fragile(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    values: BTreeMap<Vec<u8>, KeyValue>,
    revision: i64,
    /// What happens to the next transactions.
    faults: VecDeque<Fault>,
    late: Vec<(Vec<Compare>, Vec<Operation>)>,
    /// With it, faults happen at random.
    random: Option<fastrand::Rng>,
    /// The number of transactions that were made.
    made: usize,
}

impl EtcdClient {
    pub(in crate::registry) fn fragile(etcd: &Arc<Fragile>) -> Self {
        let endpoints = vec!["http://fragile".to_owned()];
        let config = EtcdConfig { endpoints, prefix: String::new(), user: None, ca: None, identity: None, quota: 0 };
        Self { members: Arc::new(Members::new(&config).unwrap()), fragile: Some(etcd.clone()) }
    }
}

impl Fragile {
    /// Faults happen at random from now on.
    pub(in crate::registry) fn at_random(&self, random: Option<fastrand::Rng>) {
        self.lock().random = random;
    }

    pub(in crate::registry) fn next_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.lock().faults.extend(faults);
    }

    /// Makes the transactions that are late, if their conditions still hold.
    pub(in crate::registry) fn make_late(&self) {
        let mut inner = self.lock();
        for (compares, operations) in std::mem::take(&mut inner.late) {
            let _ = inner.make(&compares, operations);
        }
    }

    pub(in crate::registry) fn made(&self) -> usize {
        self.lock().made
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn page(&self, page: &Page) -> Result<Found, EtcdError> {
        let mut inner = self.lock();
        if inner.happens(50) {
            return Err(EtcdError::Refused("fragile: no answer".to_owned()));
        }
        let to = if page.to.is_empty() { [&page.from[..], b"\0"].concat() } else { page.to.clone() };
        let all = inner.values.range(page.from.clone()..to.max(page.from.clone())).map(|(_, value)| value.clone());
        let mut values: Vec<KeyValue> = if page.descending { all.rev().collect() } else { all.collect() };
        let count = values.len();
        if page.limit > 0 {
            values.truncate(page.limit as usize);
        }
        Ok(Found { revision: inner.revision, more: values.len() < count, count: count as i64, values })
    }

    pub(super) fn transact(&self, compares: Vec<Compare>, operations: Vec<Operation>) -> Result<Outcome, EtcdError> {
        let mut inner = self.lock();
        if !inner.late.is_empty() && inner.happens(2) {
            let count = inner.late.len();
            let index = inner.random.as_mut().map_or(0, |random| random.usize(..count));
            let (compares, operations) = inner.late.remove(index);
            let _ = inner.make(&compares, operations);
        }
        let lost = || EtcdError::Unclear("fragile: the answer is lost".to_owned());
        match inner.next_fault() {
            Fault::Nothing => inner.make(&compares, operations),
            Fault::LostBefore => Err(lost()),
            Fault::LostAfter => inner.make(&compares, operations).and(Err(lost())),
            Fault::Late => {
                inner.late.push((compares, operations));
                Err(lost())
            }
            Fault::Refused => Err(EtcdError::Refused("fragile: no leader".to_owned())),
            Fault::NoSpace => Err(EtcdError::NoSpace),
        }
    }
}

impl Inner {
    /// Once in so many times.
    fn happens(&mut self, odds: u32) -> bool {
        self.random.as_mut().is_some_and(|random| random.u32(..odds) == 0)
    }

    fn next_fault(&mut self) -> Fault {
        if let Some(fault) = self.faults.pop_front() {
            return fault;
        }
        let Some(random) = &mut self.random else { return Fault::Nothing };
        match random.u32(..20) {
            0 | 1 => Fault::LostBefore,
            2 | 3 => Fault::LostAfter,
            4..7 => Fault::Late,
            7 => Fault::Refused,
            8 => Fault::NoSpace,
            _ => Fault::Nothing,
        }
    }

    /// With the limits of a real one.
    fn make(&mut self, compares: &[Compare], operations: Vec<Operation>) -> Result<Outcome, EtcdError> {
        let refused = |text: &str| Err(EtcdError::Refused(format!("fragile: {text}")));
        if operations.len() > 128 {
            return refused("too many operations");
        }
        let sizes = operations.iter().map(|operation| match operation {
            Operation::Put { key, value, .. } => key.len() + value.len(),
            Operation::Delete { key } => key.len(),
            Operation::DeleteRange { from, to } => from.len() + to.len(),
        });
        if sizes.sum::<usize>() > 1_572_864 {
            return refused("request is too large");
        }
        let mut puts = BTreeSet::new();
        for operation in &operations {
            if let Operation::Put { key, .. } = operation
                && !puts.insert(key.clone())
            {
                return refused("duplicate key");
            }
        }
        for operation in &operations {
            let is_twice = match operation {
                Operation::Delete { key } => puts.contains(key),
                Operation::DeleteRange { from, to } => puts.range(from.clone()..to.clone()).next().is_some(),
                Operation::Put { .. } => false,
            };
            if is_twice {
                return refused("duplicate key");
            }
        }
        let succeeded = compares.iter().all(|compare| self.holds(compare));
        if succeeded {
            self.revision += 1;
            self.made += 1;
            operations.into_iter().for_each(|operation| self.apply(operation));
        }
        Ok(Outcome { succeeded, revision: self.revision })
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision(key, revision) => {
                self.values.get(key).map_or(0, |value| value.mod_revision) == *revision
            }
            Compare::CreateRevision(key, revision) => {
                self.values.get(key).map_or(0, |value| value.create_revision) == *revision
            }
            Compare::Value(key, expected) => self.values.get(key).is_some_and(|value| value.value == *expected),
        }
    }

    fn apply(&mut self, operation: Operation) {
        match operation {
            Operation::Put { key, value, lease } => {
                let mod_revision = self.revision;
                let create_revision = self.values.get(&key).map_or(mod_revision, |before| before.create_revision);
                self.values.insert(key.clone(), KeyValue { key, create_revision, mod_revision, value, lease });
            }
            Operation::Delete { key } => _ = self.values.remove(&key),
            Operation::DeleteRange { from, to } => self.values.retain(|key, _| !(&from..&to).contains(&key)),
        }
    }
}

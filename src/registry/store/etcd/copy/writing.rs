//! The transactions of a restore.

use std::thread::sleep;
use std::time::Duration;

use super::place::Place;
use crate::registry::Error;
use crate::registry::model::Keys;
use crate::registry::store::etcd::{Compare, EtcdError, KeyValue, Operation, Page, meta};

/// The keys of one answer.
const PAGE: i64 = 10_000;
/// The most operations of a transaction. etcd allows 128 by default.
const OPERATIONS: usize = 120;
/// The most bytes of a transaction. etcd allows 1.5 MiB by default.
const BYTES: usize = 1 << 20;
/// The name of the key with the number of a restore.
pub(super) const RESTORING: &str = "restore";
/// How often a transaction without a clear answer is sent, and the time between.
const ATTEMPTS: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);

/// A restore that has begun.
pub(super) struct Writing<'a> {
    pub(super) place: &'a Place,
    /// The random number of this restore.
    number: Vec<u8>,
    operations: Vec<Operation>,
    bytes: usize,
}

impl<'a> Writing<'a> {
    /// Marks the cluster as incomplete. From then on no node joins it.
    pub(super) fn begin(place: &'a Place, keys: &Keys, shards: u16, force: bool) -> Result<Self, Error> {
        place.refuse_nodes()?;
        let layout = &place.layout;
        let [format, restoring] = ["format", RESTORING].map(|name| layout.meta(name));
        let (from, to) = layout.all_meta();
        let before = place.page(Page { from, to, ..Page::default() })?.values;
        let revision =
            |key: &Vec<u8>| before.iter().find(|entry| entry.key == *key).map_or(0, |entry| entry.mod_revision);
        if revision(&format) != 0 && !force {
            let cure = "there is a registry already; name another --etcd-prefix, or replace it with --force";
            return Err(place.wrong(cure));
        }
        let number = format!("{:016x}", fastrand::u64(..)).into_bytes();
        let seen = [&format, &restoring].map(|key| Compare::ModRevision(key.clone(), revision(key)));
        let begin = vec![
            Operation::Delete { key: format },
            Operation::put(restoring, number.clone()),
            Operation::put(layout.meta("keys"), keys.bytes()),
            Operation::put(layout.meta("shards"), shards.to_string()),
        ];
        if !place.runtime.block_on(place.client.transact(seen.into(), begin))?.succeeded {
            return Err(place.wrong("a node or another restore has just begun; try again"));
        }
        let mut writing = Self { place, number, operations: Vec::new(), bytes: 0 };
        // A node that had read the format before may have joined in the meantime.
        if let Err(error) = place.refuse_nodes() {
            writing.undo(before)?;
            return Err(error);
        }
        Ok(writing)
    }

    /// Puts back what the beginning has changed.
    pub(super) fn undo(&mut self, before: Vec<KeyValue>) -> Result<(), Error> {
        let names = ["keys", "shards", RESTORING].map(|name| self.place.layout.meta(name));
        let is_new = |key: &Vec<u8>| !before.iter().any(|entry| entry.key == *key);
        self.operations = names.into_iter().filter(is_new).map(|key| Operation::Delete { key }).collect();
        self.operations.extend(before.iter().map(|entry| Operation::put(entry.key.clone(), entry.value.clone())));
        self.write()
    }

    /// Removes everything that was there. Without owners, nobody can write to a shard any more.
    pub(super) fn clear(&mut self) -> Result<(), Error> {
        let layout = &self.place.layout;
        let [owners, sequences] = layout.owners_and_sequences();
        for (mut from, to) in [owners, sequences, layout.all_data()] {
            loop {
                let page = Page { from, to: to.clone(), limit: PAGE, keys_only: true, ..Page::default() };
                let found = self.place.page(page)?;
                let (Some(first), Some(last)) = (found.values.first(), found.values.last()) else { break };
                let end = following(&last.key);
                self.operations.push(Operation::DeleteRange { from: first.key.clone(), to: end.clone() });
                self.write()?;
                from = end;
            }
        }
        Ok(())
    }

    pub(super) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), Error> {
        let bytes = key.len() + value.len();
        if self.operations.len() == OPERATIONS || self.bytes + bytes > BYTES {
            self.write()?;
        }
        self.bytes += bytes;
        self.operations.push(Operation::put(key, value));
        Ok(())
    }

    /// Makes the changes that have gathered. Sent again, the transaction does the same once more, or nothing.
    fn write(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        let operations = std::mem::take(&mut self.operations);
        let compares = vec![Compare::Value(self.place.layout.meta(RESTORING), self.number.clone())];
        let mut last = None;
        for _ in 0..ATTEMPTS {
            let sent = self.place.client.transact(compares.clone(), operations.clone());
            match self.place.runtime.block_on(sent) {
                Ok(outcome) if outcome.succeeded => return Ok(()),
                Ok(_) => return Err(self.place.wrong("another restore has begun")),
                Err(EtcdError::NoSpace) => return Err(EtcdError::NoSpace.into()),
                Err(error) => last = Some(error),
            }
            sleep(PAUSE);
        }
        Err(last.unwrap_or(EtcdError::NoSpace).into())
    }

    /// Makes it whole.
    pub(super) fn end(mut self) -> Result<(), Error> {
        self.write()?;
        let [format, restoring] = ["format", RESTORING].map(|name| self.place.layout.meta(name));
        self.operations = vec![Operation::put(format, meta::CURRENT), Operation::Delete { key: restoring }];
        self.write()
    }
}

/// Returns the first key after this one.
fn following(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

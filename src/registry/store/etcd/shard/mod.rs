//! A shard: the records of some tenants, written by its owner alone.
//!
//! A commit is one or more transactions. Each compares the fence, which is the revision at which the owner of the shard
//! was last changed, and the sequence number of the commit before. So nothing is written by an owner that is none any
//! more, and no transaction is carried out twice, or after the one that follows it, however often it is sent.
//!
//! In reading order: `cut` makes transactions of requests; `transaction` makes operations of them, with `event_page` for
//! events; this file and `chain` send them until the outcome is known; `reader` reads.

mod chain;
mod cut;
pub(super) mod event_page;
mod reader;
#[cfg(test)]
mod tests;
mod transaction;

pub(crate) use reader::ShardReader;

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::Layout;
use super::client::{Compare, EtcdClient, EtcdError, Operation};
use crate::registry::store::record::event_key;
use crate::registry::store::{Backend, CommitError, EventRange, RecordWrite, Visit};
use crate::registry::switches::is_switched_off;
use chain::{Chain, Position};
use cut::{MOST_OPERATIONS, Request};

/// How long a transaction is tried without a clear answer. Longer than etcd takes to find a new leader.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The time between two tries that were refused at once.
const PAUSE: Duration = Duration::from_millis(50);

/// The records of a shard in etcd, for one ownership of it.
#[derive(Debug)]
pub(crate) struct ShardStore {
    client: EtcdClient,
    reader: ShardReader,
    /// The keys in etcd of the owner and of the sequence number.
    owner: Vec<u8>,
    sequence: Vec<u8>,
    fence: i64,
    chain: Mutex<Chain>,
    runtime: tokio::runtime::Handle,
    time_limit: Duration,
    pause: Duration,
}

impl ShardStore {
    /// Writes as the owner since a revision. `sequence` is the value that its key has now; empty if there is none.
    pub(crate) fn new(
        client: EtcdClient,
        layout: Layout,
        shard: u16,
        owner_revision: i64,
        sequence: Vec<u8>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let (owner, sequence_key) = (layout.owner(shard), layout.sequence(shard));
        let reader = ShardReader::new(client.clone(), layout, shard, runtime.clone());
        let chain = Mutex::new(Chain::new(sequence));
        let (sequence, fence) = (sequence_key, owner_revision);
        let (time_limit, pause) = (TIME_LIMIT, PAUSE);
        Self { client, reader, owner, sequence, fence, chain, runtime, time_limit, pause }
    }

    async fn commit_all(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
        let mut chain = self.chain.lock().await;
        let mut parts: VecDeque<Vec<Request<'_>>> = cut::cut(requests).into();
        // What has just failed is tried once each time: requests wait for it.
        let time_limit = if chain.has_failed { Duration::ZERO } else { self.time_limit };
        chain.has_failed = true;
        while let Some(part) = parts.pop_front() {
            if !self.commit_part(&mut chain, &part, Instant::now() + time_limit).await? {
                let halves = cut::halves(part).ok_or_else(|| io::Error::other("a record is too large for etcd"))?;
                halves.into_iter().rev().for_each(|half| parts.push_front(half));
            }
        }
        chain.has_failed = false;
        Ok(())
    }

    /// Sends a transaction until its outcome is known. Returns false if it is too large for etcd.
    async fn commit_part(&self, chain: &mut Chain, part: &[Request<'_>], until: Instant) -> Result<bool, CommitError> {
        let mut sent = Vec::new();
        loop {
            let tried = self.try_part(chain, part, &mut sent, until).await;
            let failed = match tried {
                Ok(Tried::Committed) => return Ok(true),
                Ok(Tried::TooLarge) => return Ok(false),
                Ok(Tried::Fenced) => return Err(CommitError::Fenced),
                Ok(Tried::Moved) => continue, // to where an earlier transaction has led, which happens once for each
                Err(error) => error,
            };
            if failed == EtcdError::NoSpace || Instant::now() >= until {
                return Err(CommitError::Failed(failed.into()));
            }
            tokio::time::sleep(self.pause).await;
        }
    }

    /// Sends a transaction from where the chain is, and the same again as long as it is unclear whether it was made.
    /// `sent` has the values of those that were sent for this part before.
    async fn try_part(
        &self,
        chain: &mut Chain,
        part: &[Request<'_>],
        sent: &mut Vec<Vec<u8>>,
        until: Instant,
    ) -> Result<Tried, EtcdError> {
        let Some(mut operations) = transaction::operations(&self.reader, part).await? else {
            return Ok(Tried::TooLarge);
        };
        let next = chain.next()?;
        operations.push(Operation::put(&self.sequence[..], &next[..]));
        sent.push(next.clone());
        loop {
            chain.may_be_at(&next);
            match self.client.transact(self.conditions(chain), operations.clone()).await {
                Ok(outcome) if outcome.succeeded => {
                    chain.is_at(next);
                    return Ok(Tried::Committed);
                }
                Ok(_) => {}
                Err(EtcdError::Unclear(_)) if Instant::now() < until => {
                    tokio::time::sleep(self.pause).await;
                    continue;
                }
                Err(error) => return Err(error),
            }
            return match self.look(chain, &next).await? {
                Position::Here => {
                    chain.is_at(next);
                    Ok(Tried::Committed)
                }
                Position::Known(sequence) => {
                    let is_made = sent.contains(&sequence);
                    chain.is_at(sequence);
                    Ok(if is_made { Tried::Committed } else { Tried::Moved })
                }
                Position::Before => Err(EtcdError::Refused("etcd refused a transaction whose conditions hold".into())),
                Position::Foreign => Ok(Tried::Fenced),
            };
        }
    }

    fn conditions(&self, chain: &Chain) -> Vec<Compare> {
        let mut conditions = Vec::new();
        if !is_switched_off("fence") {
            conditions.push(Compare::ModRevision(self.owner.clone(), self.fence));
        }
        if !is_switched_off("chain") {
            conditions.push(match chain.current() {
                [] => Compare::CreateRevision(self.sequence.clone(), 0),
                current => Compare::Value(self.sequence.clone(), current.to_vec()),
            });
        }
        conditions
    }

    /// Finds out why the conditions of a transaction did not hold.
    async fn look(&self, chain: &Chain, next: &[u8]) -> Result<Position, EtcdError> {
        let sequence = self.client.get(&self.sequence).await?.map(|found| found.value).unwrap_or_default();
        // Read second: whoever takes the shard is found here before it can have changed what was read first.
        let owner = self.client.get(&self.owner).await?.map_or(0, |found| found.mod_revision);
        let position = chain.position(sequence, next);
        if owner != self.fence && position != Position::Here && !is_switched_off("fence") {
            return Ok(Position::Foreign);
        }
        Ok(position)
    }
}

/// What came of a transaction.
enum Tried {
    Committed,
    TooLarge,
    /// An earlier transaction was made after all: this one must be made anew, after it.
    Moved,
    Fenced,
}

impl Backend for ShardStore {
    fn name(&self) -> &'static str {
        "etcd"
    }

    fn commit(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
        self.runtime.block_on(self.commit_all(requests))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        self.reader.scan(from, to, visit)
    }

    fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        self.reader.scan_back(from, to, visit)
    }

    fn dump(&self, visit: &mut Visit<'_>) -> io::Result<()> {
        self.reader.dump(0, visit).map(drop)
    }

    /// Removes whole pages, by fenced transactions that only remove: a full etcd accepts them. They are no part of the
    /// chain, since it does not matter when they are made.
    fn remove_events(&self, ranges: &[EventRange]) -> Result<usize, CommitError> {
        let part = &ranges[..ranges.len().min(MOST_OPERATIONS)];
        let remove = |EventRange { tenant, from, until }: &EventRange| Operation::DeleteRange {
            from: self.reader.key(&event_key(*tenant, *from)),
            to: self.reader.key(&event_key(*tenant, *until)),
        };
        if part.is_empty() {
            return Ok(0);
        }
        let fence = Compare::ModRevision(self.owner.clone(), self.fence);
        let removed = self.runtime.block_on(self.client.transact(vec![fence], part.iter().map(remove).collect()));
        match removed {
            Ok(outcome) if outcome.succeeded => Ok(part.len()),
            Ok(_) => Err(CommitError::Fenced),
            Err(error) => Err(CommitError::Failed(error.into())),
        }
    }
}

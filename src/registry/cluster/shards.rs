//! The shards that are here.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{OwnedRwLockReadGuard, RwLock as Gate};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep};

use super::claim::Claim;
use crate::registry::engine::Engine;
use crate::registry::model::LeaseState;
use crate::registry::switches::is_switched_off;

/// Between two looks whether a claim that ran out was extended.
const CLAIM_POLL: Duration = Duration::from_millis(20);

/// A shard of this node.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) engine: Arc<Engine>,
    /// The fence: the revision at which the key of the owner was written.
    pub(super) revision: i64,
    pub(super) epoch: u64,
    /// Closed by a handover, which waits until no request is inside.
    pub(super) gate: Arc<Gate<()>>,
    pub(super) claim: Arc<Claim>,
    /// It is being handed over.
    is_moving: AtomicBool,
    /// The task that expires leases.
    pub(super) sweeper: RwLock<AbortHandle>,
}

impl Shard {
    /// Starts to serve an engine.
    pub(super) fn begin(engine: Engine, revision: i64, epoch: u64, claim: Arc<Claim>) -> Arc<Self> {
        let engine = Arc::new(engine);
        let sweeper = RwLock::new(sweep(&engine));
        let (gate, is_moving) = (Arc::default(), AtomicBool::new(false));
        Arc::new(Self { engine, revision, epoch, gate, claim, is_moving, sweeper })
    }

    /// Returns whether a handover may begin, which is then the only one.
    pub(super) fn begin_move(&self) -> bool {
        !self.is_moving.swap(true, Ordering::AcqRel)
    }

    pub(super) fn is_moving(&self) -> bool {
        self.is_moving.load(Ordering::Acquire)
    }

    /// Stops to expire leases.
    fn pause(&self) {
        self.sweeper.read().unwrap_or_else(PoisonError::into_inner).abort();
    }

    /// Stays here after all.
    pub(super) fn stay(&self) {
        self.is_moving.store(false, Ordering::Release);
        *self.sweeper.write().unwrap_or_else(PoisonError::into_inner) = sweep(&self.engine);
    }

    /// Stops to expire leases, and waits until everything is durable. Returns what is known about the leases; none if
    /// that failed.
    pub(super) async fn finish(&self) -> Option<Vec<LeaseState>> {
        self.pause();
        self.engine.finish().await
    }

    /// Ends it. Requests that it has not answered are not answered from it.
    pub(super) fn end(&self) {
        self.pause();
        self.engine.leave();
    }
}

impl Shard {
    async fn confirm(&self, until: Instant) -> bool {
        if is_switched_off("confirm") {
            return true;
        }
        loop {
            if self.engine.has_left() {
                return false;
            }
            if self.claim.is_valid() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            sleep(CLAIM_POLL).await;
        }
    }
}

fn sweep(engine: &Arc<Engine>) -> AbortHandle {
    let engine = engine.clone();
    tokio::spawn(async move { engine.keep_swept().await }).abort_handle()
}

/// What there is of a shard.
#[derive(Clone, Debug, Default)]
pub(super) enum Slot {
    #[default]
    Away,
    /// It is being taken, or loaded.
    Coming,
    Here(Arc<Shard>),
}

/// All shards, by their numbers.
#[derive(Debug)]
pub(super) struct Table(RwLock<Vec<Slot>>);

impl Table {
    pub(super) fn new(shards: u16) -> Self {
        Self(RwLock::new(vec![Slot::Away; usize::from(shards)]))
    }

    pub(super) fn get(&self, shard: u16) -> Slot {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(usize::from(shard)).cloned().unwrap_or_default()
    }

    /// Returns what was there before.
    pub(super) fn set(&self, shard: u16, slot: Slot) -> Slot {
        let mut slots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        slots.get_mut(usize::from(shard)).map(|place| std::mem::replace(place, slot)).unwrap_or_default()
    }

    /// Returns the shards that are here.
    pub(super) fn here(&self) -> Vec<(u16, Arc<Shard>)> {
        let slots = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let here = |(shard, slot): (u16, &Slot)| match slot {
            Slot::Here(found) => Some((shard, found.clone())),
            _ => None,
        };
        (0..).zip(slots.iter()).filter_map(here).collect()
    }
}

/// The permission to answer a request from a shard. A handover waits until it is dropped.
#[derive(Debug)]
pub(in crate::registry) struct Hold {
    shard: Arc<Shard>,
    _inside: OwnedRwLockReadGuard<()>,
}

impl Hold {
    /// Returns none while the shard is handed over.
    pub(super) fn of(shard: Arc<Shard>) -> Option<Self> {
        let inside = shard.gate.clone().try_read_owned().ok()?;
        Some(Self { shard, _inside: inside })
    }

    pub(in crate::registry) fn engine(&self) -> &Arc<Engine> {
        &self.shard.engine
    }

    /// Lets a handover go on, for a request that waits. Its answer must be confirmed all the same.
    pub(in crate::registry) fn release(self) -> Answered {
        Answered(self.shard)
    }

    /// Returns whether the answer may be given: the shard was certainly this node's after the answer was made. Waits
    /// for that until then at most.
    pub(in crate::registry) async fn confirm(&self, until: Instant) -> bool {
        self.shard.confirm(until).await
    }
}

/// The shard that a request was answered from.
#[derive(Debug)]
pub(in crate::registry) struct Answered(Arc<Shard>);

impl Answered {
    /// The same as [`Hold::confirm`].
    pub(in crate::registry) async fn confirm(&self, until: Instant) -> bool {
        self.0.confirm(until).await
    }
}

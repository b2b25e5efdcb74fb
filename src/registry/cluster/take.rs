//! Takes a shard that has no live owner, or that was handed over to this node, and loads it.

use std::io;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::handover::Received;
use super::life::Membership;
use super::node::Node;
use super::operation::kept_since;
use super::shards::{Shard, Slot};
use super::view::Ownership;
use crate::registry::engine::Engine;
use crate::registry::model::{Clock, Now};
use crate::registry::state::State;
use crate::registry::store::etcd::{Compare, EtcdError, Operation, ShardStore};
use crate::registry::store::recovery;
use crate::registry::switches::is_switched_off;

/// What a lease gets at least whose deadline passed during a handover, in milliseconds: requests have waited meanwhile.
const LEAST_LEFT: u64 = 300;
/// A load that has failed is tried again after this time.
const RETRY: Duration = Duration::from_millis(500);

impl Node {
    /// Takes a shard. `owner` is what its key says.
    pub(super) async fn take(self: Arc<Self>, number: u16, owner: Option<Ownership>, own: Arc<Membership>) {
        let begun = Instant::now();
        match self.try_to_take(number, owner, &own).await {
            Ok(Some(shard)) if own.claim.is_valid() => {
                let ms = begun.elapsed().as_millis();
                tracing::debug!(shard = number, epoch = shard.epoch, ms, "this node has the shard now");
                self.config.counters.shards_taken.inc();
                self.table.set(number, Slot::Here(shard));
            }
            Ok(shard) => {
                if let Some(shard) = shard {
                    shard.end();
                }
                self.table.set(number, Slot::Away);
            }
            Err(error) => {
                tracing::error!(%error, shard = number, "the shard cannot be loaded; it will be tried again");
                tokio::time::sleep(RETRY).await;
                self.table.set(number, Slot::Away);
            }
        }
        self.tell_moved();
    }

    /// Returns none if another node was faster.
    async fn try_to_take(
        &self,
        number: u16,
        owner: Option<Ownership>,
        own: &Membership,
    ) -> io::Result<Option<Arc<Shard>>> {
        // Also if the key names this node already: a transaction of its own that was sent before, and whose answer was
        // lost, cannot take effect afterwards.
        let seen = owner.as_ref().filter(|owner| owner.node == own.id).map(|owner| owner.epoch);
        let Some(Ownership { epoch, revision, .. }) = self.claim(number, owner, own).await? else { return Ok(None) };
        let received = self.received().remove(&number).filter(|received| Some(received.epoch) == seen);
        self.load(number, epoch, revision, received, own).await.map(Some)
    }

    /// Writes the key of the owner, if it is still as it was, and this node still lives.
    async fn claim(
        &self,
        number: u16,
        owner: Option<Ownership>,
        own: &Membership,
    ) -> Result<Option<Ownership>, EtcdError> {
        let layout = &self.config.layout;
        let key = layout.owner(number);
        let epoch = owner.as_ref().map_or(1, |owner| owner.epoch + 1);
        let seen = owner.map_or(0, |owner| owner.revision);
        let next = Ownership { node: own.id.clone(), epoch, revision: 0 };
        let compares =
            vec![Compare::ModRevision(key.clone(), seen), Compare::CreateRevision(layout.node(&own.id), own.joined)];
        let value = serde_json::to_vec(&next).unwrap_or_default(); // plain texts and numbers
        let outcome = self.config.client.transact(compares, vec![Operation::Put { key, value, lease: 0 }]).await?;
        Ok(outcome.succeeded.then_some(Ownership { revision: outcome.revision, ..next }))
    }

    /// Reads the records of a shard that is this node's. No former owner changes them any more.
    async fn load(
        &self,
        number: u16,
        epoch: u64,
        revision: i64,
        received: Option<Received>,
        own: &Membership,
    ) -> io::Result<Arc<Shard>> {
        let config = &self.config;
        let sequence = config.client.get(&config.layout.sequence(number)).await?;
        let sequence = sequence.map(|entry| entry.value).unwrap_or_default();
        let (client, layout, runtime) = (config.client.clone(), config.layout.clone(), config.runtime.clone());
        let store = Arc::new(ShardStore::new(client, layout, number, revision, sequence, runtime));
        let (keys, retention) = (config.keys.clone(), config.retention);
        let kept_since = kept_since(&config.client, &config.layout).await?;
        let disk = store.clone();
        let load = move || {
            let mut state = State::new(keys);
            (state.retention, state.kept_since) = (retention, kept_since);
            // The clock of the engine begins at 0 when it serves: every lease has its whole timeout from then on.
            let start = Now { mono: 0, wall: Clock::system().now().wall };
            recovery::load(&*disk, start, &mut state)?;
            Ok::<_, io::Error>(state)
        };
        let mut state = tokio::task::spawn_blocking(load).await.map_err(io::Error::other)??;
        let clock = Clock::system();
        let now = clock.now();
        if let Some(received) = received.filter(|_| !is_switched_off("lefts")) {
            state.resume(now, received.age(), LEAST_LEFT, received.leases);
        } else if is_switched_off("timeouts") {
            let all = state.lease_states(now);
            let short = all.into_iter().map(|lease| crate::registry::model::LeaseState { left: LEAST_LEFT, ..lease });
            state.resume(now, 0, 0, short.collect());
        }
        let engine = Engine::new(clock, state, Some(store), config.counters.clone())?;
        let tenants = self.users.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let is_here = |tenant: &u32| super::placement::shard_of(*tenant, config.shards) == number;
        engine.create_tenants(now, tenants.into_iter().filter(is_here).collect());
        engine.align_ids(now);
        Ok(Shard::begin(engine, revision, epoch, own.claim.clone()))
    }
}

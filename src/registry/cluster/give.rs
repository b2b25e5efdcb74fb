//! Hands a shard over to another node: what its leases have gathered goes along, so that no timeout begins anew, and
//! requests wait in the meantime, so that none fails.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::handover::{self, Received};
use super::life::Membership;
use super::node::Node;
use super::shards::{Shard, Slot};
use super::view::Ownership;
use crate::registry::store::etcd::{Compare, EtcdError, Operation};
use crate::registry::switches::is_switched_off;

/// How long requests under way may take until the handover is put off. A write waits for etcd for about 5 s.
const DRAIN_LIMIT: Duration = Duration::from_secs(6);
/// The most shards that are handed over at a time at the stop.
const AT_A_TIME: usize = 16;
/// Between two looks for shards that are still here at the stop.
const AGAIN: Duration = Duration::from_millis(50);

impl Node {
    /// Hands over a shard to the node with this id. If that fails, the shard stays here.
    pub(super) async fn give(self: Arc<Self>, number: u16, shard: Arc<Shard>, to: String) {
        if shard.begin_move() && !self.try_to_give(number, &shard, &to).await {
            shard.stay();
        }
    }

    async fn try_to_give(&self, number: u16, shard: &Shard, to: &str) -> bool {
        let Some(url) = self.view.load().nodes.get(to).map(|member| member.info.url.clone()) else { return false };
        let entering = shard.gate.clone().write_owned();
        let closed = if is_switched_off("drain") { None } else { timeout(DRAIN_LIMIT, entering).await.ok() };
        if closed.is_none() && !is_switched_off("drain") {
            return false;
        }
        let Some(leases) = shard.finish().await else { return false };
        let next = shard.epoch + 1;
        if let Err(error) = (self.config.courier)(url, number, handover::encode(next, &leases)).await {
            tracing::warn!(shard = number, node = to, "the shard cannot be handed over: {error}");
            return false;
        }
        // From here on nothing is answered from it, whatever comes of the transaction.
        shard.end();
        match self.pass_on(number, shard, to, next).await {
            Ok(true) => {
                self.config.counters.shards_given.inc();
                tracing::debug!(shard = number, node = to, "the shard was handed over");
            }
            outcome => {
                // If the key still names this node, it takes the shard again.
                tracing::warn!(?outcome, shard = number, node = to, "it is unclear whether the shard was handed over");
                self.received().insert(number, Received::now(shard.epoch, leases));
            }
        }
        self.table.set(number, Slot::Away);
        self.tell_moved();
        true
    }

    /// Writes the key of the owner; returns whether it was as expected.
    async fn pass_on(&self, number: u16, shard: &Shard, to: &str, epoch: u64) -> Result<bool, EtcdError> {
        let layout = &self.config.layout;
        let key = layout.owner(number);
        let mut view = (**self.view.load()).clone();
        let joined = view.nodes.get(to).map_or(-1, |member| member.joined);
        let next = Ownership { node: to.to_owned(), epoch, revision: 0 };
        let compares =
            vec![Compare::ModRevision(key.clone(), shard.revision), Compare::CreateRevision(layout.node(to), joined)];
        let value = serde_json::to_vec(&next).unwrap_or_default(); // plain texts and numbers
        let outcome = self.config.client.transact(compares, vec![Operation::Put { key, value, lease: 0 }]).await?;
        if outcome.succeeded {
            view.owners.insert(number, Ownership { revision: outcome.revision, ..next });
            view.revision = view.revision.max(outcome.revision); // a range that was read before is older
            self.view.store(Arc::new(view));
        }
        Ok(outcome.succeeded)
    }

    /// Hands over all shards, as far as there are other nodes. What stays is stored.
    pub(super) async fn give_all(self: &Arc<Self>, own: &Membership) {
        loop {
            let mut view = (**self.view.load()).clone();
            view.nodes.remove(&own.id);
            let here = self.table.here();
            let is_coming = (0..self.config.shards).any(|number| matches!(self.table.get(number), Slot::Coming));
            if here.is_empty() && !is_coming {
                return;
            }
            let mut jobs = JoinSet::new();
            for (number, shard) in here {
                while jobs.len() >= AT_A_TIME {
                    jobs.join_next().await;
                }
                match view.wanted(number) {
                    Some(to) => drop(jobs.spawn(self.clone().give(number, shard, to.to_owned()))),
                    None => drop(shard.finish().await),
                }
            }
            while jobs.join_next().await.is_some() {}
            if view.wanted(0).is_none() {
                return;
            }
            sleep(AGAIN).await;
        }
    }

    /// Takes in a handover that has arrived; the key of the owner follows. Returns false if the message is damaged.
    pub(in crate::registry) fn receive(&self, number: u16, message: &[u8]) -> bool {
        let Some((epoch, leases)) = handover::decode(message) else { return false };
        self.received().insert(number, Received::now(epoch, leases));
        true
    }
}

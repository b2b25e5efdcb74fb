//! How this node is, for metrics and for checks of its health.

use std::sync::atomic::Ordering;

use crate::registry::cluster::Node;
use crate::registry::cluster::shards::Slot;
use crate::registry::state::Sizes;

/// What this node has, and what it sees of the others.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::registry) struct Share {
    pub(in crate::registry) nodes: usize,
    pub(in crate::registry) shards: usize,
    /// Shards of all nodes without a live owner.
    pub(in crate::registry) unowned: usize,
}

impl Node {
    /// Returns why changes may be refused here, whichever node would store them; none if they can be made.
    pub(in crate::registry) async fn fault(&self) -> Option<String> {
        if self.is_leaving() {
            return Some("the node is being stopped".to_owned());
        }
        if !self.membership.load().claim.is_valid() {
            return Some("etcd does not answer (--etcd); the log has the reason".to_owned());
        }
        if self.is_full.load(Ordering::Relaxed) {
            return Some("etcd has too little room left (--etcd-quota); registrations are refused".to_owned());
        }
        for (number, shard) in self.table.here() {
            if let Some(fault) = shard.engine.storage_fault().await {
                return Some(format!("shard {number}: {fault}"));
            }
        }
        None
    }

    /// Returns how much there is in the shards of this node.
    pub(in crate::registry) fn sizes(&self) -> Sizes {
        self.table.here().into_iter().map(|(_, shard)| shard.engine.sizes()).fold(Sizes::default(), Sizes::plus)
    }

    pub(in crate::registry) fn share(&self) -> Share {
        let view = self.view.load();
        let (mut shards, mut unowned) = (0, 0);
        for number in 0..self.config.shards {
            match self.table.get(number) {
                Slot::Here(_) => shards += 1,
                _ if view.live_owner(number).is_none() => unowned += 1,
                _ => {}
            }
        }
        Share { nodes: view.nodes.len(), shards, unowned }
    }
}

//! The nodes and the owners of shards, as a node knows them, for clients that ask this node.

use serde::Serialize;

use super::node::Node;

/// Made of what the node has read last: at most a second old while etcd answers.
#[derive(Debug, Serialize)]
pub(in crate::registry) struct Summary {
    /// The id of the node that answers; empty until it has joined.
    node: String,
    nodes: Vec<NodeSummary>,
    shards: Vec<ShardSummary>,
}

#[derive(Debug, Serialize)]
struct NodeSummary {
    id: String,
    url: String,
    version: String,
    /// In milliseconds since 1970.
    started: u64,
    leaving: bool,
    /// How many shards it has.
    shards: usize,
}

#[derive(Debug, Serialize)]
struct ShardSummary {
    shard: u16,
    /// The node that has it; none while its owner is gone.
    node: Option<String>,
    /// How often it has changed its owner.
    epoch: u64,
}

impl Node {
    /// Describes the cluster without asking etcd, so that it works while etcd is away.
    pub(in crate::registry) fn summary(&self) -> Summary {
        let (view, own) = (self.view.load(), self.membership.load());
        let shard = |shard| ShardSummary {
            shard,
            node: view.live_owner(shard).map(|(owner, _)| owner.node.clone()),
            epoch: view.owners.get(&shard).map_or(0, |owner| owner.epoch),
        };
        let shards: Vec<ShardSummary> = (0..self.config.shards).map(shard).collect();
        let nodes = view.nodes.iter().map(|(id, member)| NodeSummary {
            id: id.clone(),
            url: member.info.url.clone(),
            version: member.info.version.clone(),
            started: member.info.started,
            leaving: member.info.leaving,
            shards: shards.iter().filter(|shard| shard.node.as_ref() == Some(id)).count(),
        });
        Summary { node: own.id.clone(), nodes: nodes.collect(), shards }
    }
}

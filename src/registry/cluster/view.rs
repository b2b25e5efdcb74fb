//! What etcd says about the nodes and the owners of shards, at one revision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::placement;
use crate::registry::store::etcd::{Found, Layout};

/// The version of what nodes say to each other.
pub(super) const PROTOCOL: u32 = 1;

/// What a node says about itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::registry) struct NodeInfo {
    pub(in crate::registry) url: String,
    pub(in crate::registry) version: String,
    pub(in crate::registry) protocol: u32,
    /// The fingerprint of its users file; all nodes should have the same.
    pub(in crate::registry) users: String,
    /// In milliseconds since 1970.
    pub(in crate::registry) started: u64,
    /// It hands its shards over, and takes none.
    pub(in crate::registry) leaving: bool,
}

/// The owner of a shard, as the key of the shard has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::registry) struct Ownership {
    pub(in crate::registry) node: String,
    /// Rises with each change.
    pub(in crate::registry) epoch: u64,
    /// The revision at which the key was written.
    #[serde(skip)]
    pub(in crate::registry) revision: i64,
}

/// A live node.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Member {
    pub(in crate::registry) info: NodeInfo,
    /// The revision at which it joined.
    pub(in crate::registry) joined: i64,
}

#[derive(Clone, Debug, Default)]
pub(in crate::registry) struct View {
    pub(in crate::registry) revision: i64,
    /// By their ids.
    pub(in crate::registry) nodes: BTreeMap<String, Member>,
    /// By shard.
    pub(in crate::registry) owners: BTreeMap<u16, Ownership>,
}

impl View {
    /// Reads it from the range of [`Layout::live`]. Keys that this version does not know are skipped.
    pub(in crate::registry) fn of(found: Found, layout: &Layout) -> Self {
        let mut view = Self { revision: found.revision, ..Self::default() };
        for entry in found.values {
            if let Some(node) = layout.node_of(&entry.key) {
                if let Ok(info) = serde_json::from_slice(&entry.value) {
                    view.nodes.insert(node.to_owned(), Member { info, joined: entry.create_revision });
                }
            } else if let Some(shard) = layout.shard_of_owner(&entry.key)
                && let Ok(owner) = serde_json::from_slice::<Ownership>(&entry.value)
            {
                view.owners.insert(shard, Ownership { revision: entry.mod_revision, ..owner });
            }
        }
        view
    }

    /// Returns the owner of a shard, if it lives.
    pub(in crate::registry) fn live_owner(&self, shard: u16) -> Option<(&Ownership, &Member)> {
        let owner = self.owners.get(&shard)?;
        Some((owner, self.nodes.get(&owner.node)?))
    }

    /// Returns the node that should have a shard. A node that leaves should have none.
    pub(in crate::registry) fn wanted(&self, shard: u16) -> Option<&str> {
        let staying = self.nodes.iter().filter(|(_, member)| !member.info.leaving);
        placement::wanted(shard, staying.map(|(id, _)| id.as_str()))
    }
}

//! Nodes and their places, as far as forwarding knows them.

use url::Url;

/// The id of a node: 16 hexadecimal digits, others at each start.
pub(in crate::registry) type NodeId = String;

/// Where the shard of a request is, as far as this node knows. `Here` comes with what keeps it here.
#[derive(Clone, Debug)]
pub(in crate::registry) enum Location<H> {
    Here(H),
    At { node: NodeId, url: Url },
    Unsettled,
}

impl<H> Location<H> {
    /// Returns whether this is where that node is.
    pub(super) fn is_at(&self, node: &str) -> bool {
        matches!(self, Self::At { node: found, .. } if found == node)
    }

    /// Returns the node, if it is another one.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Self::At { node, .. } => Some(node),
            Self::Here(_) | Self::Unsettled => None,
        }
    }
}

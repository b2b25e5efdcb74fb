//! The configuration of a node.

use crate::registry::store::EtcdConfig;

/// What a registry needs to be a node of a cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Where the data is.
    pub etcd: EtcdConfig,
    /// The URL of this node for the other ones, without a path.
    pub advertise_url: String,
    /// How many shards the accounts are divided into, if this node makes the cluster.
    pub shards: u16,
    /// Authorities (PEM) of the other nodes' certificates; none for the system's.
    pub node_ca: Option<Vec<u8>>,
    /// The certificate and the key (PEM) of this node, for nodes that require certificates of their clients.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

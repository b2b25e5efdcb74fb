//! What operators need: `report` says how the cluster and etcd are, and `condition` how this node is; `upkeep` keeps etcd
//! small, by what `space` decides; `restore_etcd` makes a cluster of a backup.

mod condition;
mod report;
mod space;
mod upkeep;

pub(in crate::registry) use condition::Share;
pub use report::{ClusterReport, cluster_report};
pub(in crate::registry) use upkeep::{Upkeep, kept_since};

use std::path::Path;

use super::placement::shard_of;
use crate::registry::Error;
use crate::registry::store::etcd::{self, EtcdConfig};

/// Verifies a copy, and makes a cluster of it with this many shards. Replaces a registry that is there only with
/// `force`. Returns the number of records. A restore that was interrupted leaves a cluster in which no node starts.
///
/// # Errors
///
/// [`Error::Backup`] if the copy is damaged, [`Error::NodesRun`] if nodes run: then nothing was changed.
/// [`Error::Etcd`].
pub fn restore_etcd(file: &Path, config: &EtcdConfig, shards: u16, force: bool) -> Result<u64, Error> {
    etcd::restore(file, config, shards, force, shard_of)
}

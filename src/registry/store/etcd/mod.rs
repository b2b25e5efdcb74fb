//! The store in etcd, for registries on several machines.
//!
//! In reading order: `config` says how etcd is reached; `layout` has the keys; `client` calls etcd; `meta` is what all
//! nodes share; `shard` has the records; `copy` writes backups and restores them.

mod client;
mod config;
mod copy;
mod layout;
pub(crate) mod meta;
mod shard;

#[cfg(test)]
pub(in crate::registry) use client::fixture;
pub(crate) use client::{
    AlarmKind, Compare, EtcdClient, EtcdError, Found, KeyValue, Member, Operation, Page, Status, Watching,
};
pub use config::EtcdConfig;
pub use copy::backup_etcd;
pub(in crate::registry) use copy::restore;
pub(crate) use layout::Layout;
pub(crate) use shard::{ShardReader, ShardStore};

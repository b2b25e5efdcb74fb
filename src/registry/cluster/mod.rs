//! The registry on etcd, shared by any number of nodes.
//!
//! Accounts are hashed to shards. A shard is one engine, at one node: its owner. The owner is named by a key in etcd, and
//! each commit of the engine compares that key, so that a former owner changes nothing. A node answers from its shards
//! only while its lease in etcd certainly lives, since another node may take them afterwards: `claim`.
//!
//! In reading order: `config` says how a node takes part; `view` is what etcd says about nodes and owners; `placement`
//! decides which node should have a shard; `shards` is the table of what is here; `node` is what the other rooms use;
//! `life` joins the cluster and keeps the lease; `tend` looks what there is to take and to hand over, `take` and `give`
//! do it, and `handover` is the message between the two; `summary` tells clients of nodes and shards, `operation` is for
//! operators.

mod claim;
mod config;
mod give;
mod handover;
mod life;
mod node;
mod operation;
mod placement;
mod shards;
mod summary;
mod take;
mod tend;
mod view;

pub use config::ClusterConfig;
pub(super) use node::{Node, NodeConfig, Place};
pub(super) use operation::Share;
pub use operation::{ClusterReport, cluster_report, restore_etcd};
pub(super) use shards::Hold;

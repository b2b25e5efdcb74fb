//! Copies a cluster into a file, and makes a cluster of such a file. The file is that of the embedded store, so copies
//! move between the two.
//!
//! A restore that was interrupted must not look like a whole registry: its first transaction removes the format, without
//! which no node starts, and its last one writes it. A random number of this restore is there in between, and every
//! transaction compares it. So two restores do not mix either.
//!
//! In reading order: `place` is where a cluster is; `backup` reads it; `restore` verifies the file and begins and ends;
//! `writing` makes the transactions in between; `target` puts each record where the cluster has it.

mod backup;
#[cfg(test)]
mod copy_test;
mod place;
mod restore;
mod target;
mod writing;

pub use backup::backup_etcd;
pub(in crate::registry) use restore::restore;

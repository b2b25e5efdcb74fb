//! The commands beside `serve`, `backup` and `restore`. Each file has the options of its command; `cli` lists them.
//!
//! `reading/` shows what a registry has; `acting/` waits, watches and changes; `wrapper` talks to the wrappers of this
//! machine; `cluster` asks etcd.

pub(super) mod acting;
#[cfg(feature = "etcd")]
pub(super) mod cluster;
pub(super) mod completions;
pub(super) mod config_file;
pub(super) mod hash_key;
pub(super) mod reading;
pub(super) mod wrapper;

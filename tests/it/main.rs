//! The one integration-test binary: a bench, and flat test files beside it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that panics has failed, which is what it is for")]

mod acting;
mod bench;
mod client;
#[cfg(feature = "etcd")]
mod cluster;
mod commands;
mod registry;
mod wrapper;

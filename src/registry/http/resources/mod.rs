//! The resources of the API, one file each: a request that the router has assigned becomes an operation on the state.
//!
//! `lists` writes the pages of all lists, and `fair_share` divides among the tenants what pages cost. `follow` has the
//! requests that wait for changes.

pub(super) mod configuration;
pub(super) mod events;
mod fair_share;
mod follow;
pub(super) mod limits;
mod lists;
pub(super) mod login;
pub(super) mod prometheus;
pub(super) mod services;
pub(super) mod sessions;

pub(crate) use fair_share::{PageShares, ShareGuard};
#[cfg(feature = "etcd")]
pub(crate) use follow::client_wait;
pub(crate) use follow::{Interrupts, Place, Places, is_followed};

//! resources.

pub(super) mod configuration;
pub(super) mod events;
mod fair_share;
pub(super) mod limits;
mod lists;
pub(super) mod login;
pub(super) mod services;
pub(super) mod sessions;

pub(crate) use fair_share::Held;
pub(crate) use lists::Lists;

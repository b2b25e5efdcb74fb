//! resources.

pub(crate) mod configuration;
pub(crate) mod events;
mod fair_share;
pub(crate) mod limits;
mod lists;
pub(crate) mod login;
pub(crate) mod services;
pub(crate) mod sessions;

pub(crate) use fair_share::Held;
pub(crate) use lists::Lists;

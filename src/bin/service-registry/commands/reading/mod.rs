//! The commands that show what a registry has: one file for each. `completion` offers ids and tags to shells.

pub(super) mod completion;
pub(crate) mod config;
pub(crate) mod events;
pub(crate) mod limits;
pub(crate) mod overview;
pub(crate) mod services;
pub(crate) mod sessions;

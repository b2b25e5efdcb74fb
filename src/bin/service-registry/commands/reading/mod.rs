//! The commands that show what a registry has: one file for each.

pub(crate) mod services;
pub(crate) mod sessions;

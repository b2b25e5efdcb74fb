//! commands.

pub(crate) mod hash_key;
pub(crate) mod wrapper;

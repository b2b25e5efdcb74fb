//! commands.

pub(super) mod hash_key;
pub(super) mod wrapper;

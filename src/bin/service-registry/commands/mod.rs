//! The commands beside `serve`, `backup` and `restore`.

pub(super) mod hash_key;
pub(super) mod wrapper;

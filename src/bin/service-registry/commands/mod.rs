//! The commands that are neither `serve` nor a copy of a data directory: `hash-key`, and requests to a running wrapper.

pub(super) mod hash_key;
pub(super) mod wrapper;

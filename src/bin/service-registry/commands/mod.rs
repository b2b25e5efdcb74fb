//! The commands beside `serve`, `backup` and `restore`. Each file has the options of its command; `cli` lists them.
//!
//! `reading/` shows what a registry has; `acting/` waits for something, watches or changes it; `wrapper` talks to the wrappers of this machine.

pub(super) mod acting;
pub(super) mod hash_key;
pub(super) mod reading;
pub(super) mod wrapper;

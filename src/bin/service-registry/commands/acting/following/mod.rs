//! The list of services, followed, and what is done for it.
//!
//! In reading order: `changes` is what the registry tells; `source` makes numbered lists of it; `schedule` decides in a
//! pure machine when a job runs; `follow` is the loop around both, for `watch` and `render`; `process` runs a command.

pub(super) mod changes;
pub(super) mod follow;
pub(super) mod process;
pub(super) mod schedule;
#[cfg(test)]
mod schedule_test;
pub(super) mod source;

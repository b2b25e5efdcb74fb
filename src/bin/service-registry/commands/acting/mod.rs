//! The commands that wait, watch and change: one file for each.
//!
//! `deregister` and `register` change the registry; `lock` becomes the wrapper; `wait` and `watch` need the list of
//! services, which `changes` follows; `schedule` decides in a pure machine when `watch` runs its
//! command, and `process` runs it. `time` reads times, `stop` waits for SIGTERM and SIGINT.

mod changes;
pub(crate) mod deregister;
pub(crate) mod lock;
mod process;
pub(crate) mod register;
mod schedule;
#[cfg(test)]
mod schedule_test;
mod stop;
mod time;
pub(crate) mod wait;
pub(crate) mod watch;

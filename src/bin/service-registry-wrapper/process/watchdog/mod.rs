//! The watchdog, a second process that kills the child and its descendants when the wrapper is killed, or when their
//! place is about to be given away while the wrapper is stopped, starved or killed.
//!
//! It is a fork of the wrapper from before there is a second thread. *Not* an exec of the program: that takes the
//! loader's time, needs /proc, and a hidden command line. *Not* a process that shares the wrapper's memory: the
//! kernel's out-of-memory killer ends it with the wrapper.
//!
//! In reading order: `handle` is the wrapper's side, `process` what runs in the watchdog, `message` what they send, and
//! `pidfd` how a process is named and killed.

mod handle;
mod message;
mod pidfd;
mod process;

pub(crate) use handle::Watchdog;
pub(super) use message::introduce;

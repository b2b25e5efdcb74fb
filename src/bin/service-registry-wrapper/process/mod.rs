//! The child and its descendants as processes.
//!
//! In reading order: `lookup` finds the command; `spawn` starts it, with the `environment` it gets; `wait` reaps and
//! signals processes; `tree` signals, reaps and terminates what descends from the wrapper, which `descendants` finds in
//! /proc; `successor` finds the process that replaces the main one; `awaited` are processes besides the
//! child; `descriptors` closes what the wrapper inherited;
//! `blocking` runs work that may block in a thread; `watchdog` is a second process that kills the child and its
//! descendants when the wrapper cannot.

mod awaited;
pub(super) mod blocking;
pub(super) mod descendants;
mod descriptors;
mod environment;
mod lookup;
mod spawn;
mod successor;
mod tree;
pub(super) mod wait;
mod watchdog;

pub(crate) use awaited::Awaited;
pub(crate) use blocking::Blocking;
pub(crate) use descriptors::{check_fd_limit, close_inherited};
pub(crate) use lookup::find;
pub(crate) use spawn::{ChildChannels, Inherited, SpawnContext, spawn};
pub(crate) use tree::ProcessTree;
pub(crate) use wait::Change;
pub(crate) use watchdog::Watchdog;

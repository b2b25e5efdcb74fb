//! The child and its descendants as processes.
//!
//! In reading order: `lookup` finds the command and waits for processes; `spawn` starts it; `tree` signals, reaps and terminates
//! what descends from the wrapper, which `descendants` finds in /proc; `descriptors` closes what the wrapper inherited;
//! `blocking` gives a thread to work that may block.

pub(super) mod blocking;
pub(super) mod descendants;
pub(super) mod descriptors;
pub(super) mod lookup;
pub(super) mod spawn;
pub(super) mod tree;

pub(crate) use blocking::Blocking;
pub(crate) use lookup::Change;
pub(crate) use tree::ProcessTree;

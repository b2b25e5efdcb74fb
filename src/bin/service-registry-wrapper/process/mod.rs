//! process.

pub(super) mod blocking;
pub(super) mod descendants;
pub(super) mod descriptors;
pub(super) mod lookup;
pub(super) mod spawn;
pub(super) mod tree;

pub(crate) use blocking::Blocking;
pub(crate) use lookup::Change;
pub(crate) use tree::ProcessTree;

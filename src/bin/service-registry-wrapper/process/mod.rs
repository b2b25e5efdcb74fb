//! process.

pub(crate) mod blocking;
pub(crate) mod descendants;
pub(crate) mod descriptors;
pub(crate) mod lookup;
pub(crate) mod spawn;
pub(crate) mod tree;

pub(crate) use blocking::Blocking;
pub(crate) use lookup::Change;
pub(crate) use tree::ProcessTree;

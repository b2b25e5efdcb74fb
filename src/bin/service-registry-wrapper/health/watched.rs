//! The child, as the checks see it.

use std::cell::Cell;
use std::collections::HashSet;
use std::rc::Rc;

use nix::libc::pid_t;

use crate::process::{Awaited, Inherited};
use crate::systemd::NotifyProxy;

/// What the checks know of the child, and need to start processes beside it.
pub(crate) struct Watched<'a> {
    pub child: Rc<Cell<pid_t>>,
    /// Children of the wrapper that do not descend from the child.
    pub inherited_children: HashSet<pid_t>,
    pub notify: Option<&'a NotifyProxy>,
    pub inherited: &'a Inherited,
    pub awaited: Awaited,
}

//! Processes besides the child whose exit is waited for: `exec` checks. `waitpid` has one owner, so their statuses come
//! from there.

use std::cell::RefCell;
use std::collections::HashMap;
use std::process::ExitStatus;
use std::rc::Rc;

use nix::libc::{self, pid_t};
use tokio::sync::oneshot;

use super::wait;

/// The processes that are waited for; each leads a process group. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Awaited(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    processes: HashMap<pid_t, oneshot::Sender<ExitStatus>>,
    is_over: bool,
}

impl Awaited {
    /// Returns the status of a process that was just started, once it has exited.
    pub(crate) fn add(&self, process: pid_t) -> oneshot::Receiver<ExitStatus> {
        let (tell, status) = oneshot::channel();
        self.0.borrow_mut().processes.insert(process, tell);
        status
    }

    /// Kills the process group of one of them, if it has not been reaped.
    pub(crate) fn kill(&self, process: pid_t) {
        if self.0.borrow().processes.contains_key(&process) {
            wait::send(-process, libc::SIGKILL);
        }
    }

    /// Passes on the status of a process that was reaped. Returns whether it was one of these.
    pub(super) fn reaped(&self, process: pid_t, status: ExitStatus) -> bool {
        let Some(tell) = self.0.borrow_mut().processes.remove(&process) else { return false };
        wait::send(-process, libc::SIGKILL); // what it has left in its group; just reaped, its number is not used again
        let _ = tell.send(status); // nobody waits for a check that was killed
        true
    }

    /// Returns whether the child has exited: no further process is to be started.
    pub(crate) fn is_over(&self) -> bool {
        self.0.borrow().is_over
    }

    /// Kills all of them, because the child has exited; returns them. Nobody waits for them any more.
    pub(super) fn end(&self) -> Vec<pid_t> {
        let mut inner = self.0.borrow_mut();
        inner.is_over = true;
        let all: Vec<pid_t> = inner.processes.drain().map(|(process, _)| process).collect();
        all.iter().for_each(|process| wait::send(-process, libc::SIGKILL));
        all
    }
}

//! The child and its descendants: forwards signals to them, reaps them, and terminates those that remain.

use std::collections::HashSet;
use std::process::ExitStatus;

use nix::libc::{self, pid_t};
use tracing::{debug, info, warn};

use super::descendants;
use super::wait::{self, Change};
use crate::options::ChildConfig;
use crate::signals;
use crate::signals::Foreground;
use crate::signals::Received;

/// The child and its descendants.
pub(crate) struct ProcessTree<'a> {
    child: pid_t,
    child_config: &'a ChildConfig,
    foreground: Foreground,
    /// Children of a shell that exec'd the wrapper. They do not descend from the child.
    inherited_children: HashSet<pid_t>,
    /// The signals that the child was sent.
    forwarded: HashSet<i32>,
    /// The child's status, once it has exited.
    exit_status: Option<ExitStatus>,
    /// The descendants that were signalled since the child exited.
    signalled: HashSet<pid_t>,
    has_logged_termination: bool,
}

impl<'a> ProcessTree<'a> {
    pub(crate) fn new(
        child: pid_t,
        child_config: &'a ChildConfig,
        mut foreground: Foreground,
        inherited_children: HashSet<pid_t>,
    ) -> Self {
        foreground.belong_to(child);
        let (forwarded, signalled) = (HashSet::new(), HashSet::new());
        Self {
            child,
            child_config,
            foreground,
            inherited_children,
            forwarded,
            exit_status: None,
            signalled,
            has_logged_termination: false,
        }
    }

    pub(crate) fn child(&self) -> pid_t {
        self.child
    }

    /// Returns the child's status if it has exited.
    pub(crate) fn exit_status(&self) -> Option<ExitStatus> {
        self.exit_status
    }

    /// Records a signal that may come from the terminal.
    pub(crate) fn record_key(&mut self, signal: Received) {
        self.foreground.hear(signal);
    }

    /// Gives the child the foreground, unless it stays behind the wrapper, and forwards the signal of a key, which the
    /// terminal would have sent to the group.
    pub(crate) fn give_foreground(&mut self, signal: i32) {
        self.foreground.give_foreground();
        self.forward_to(signal, true);
    }

    /// Forwards a signal, rewritten, to the child, or to the remaining descendants once the child has exited.
    pub(crate) fn forward(&mut self, signal: i32) {
        self.forward_to(signal, self.child_config.is_for_group(signal));
    }

    fn forward_to(&mut self, signal: i32, is_for_group: bool) {
        let rewritten = self.child_config.rewritten(signal);
        if rewritten == 0 {
            debug!(signal = signals::name(signal), "dropped");
            return;
        }
        debug!(signal = signals::name(signal), as_signal = signals::name(rewritten), "forwarded");
        if self.exit_status.is_some() {
            descendants::signal_all(rewritten, &mut HashSet::new(), &self.inherited_children);
        } else if rewritten == libc::SIGCONT {
            if !self.foreground.resumed_together() {
                self.resume();
            }
        } else {
            self.forwarded.insert(rewritten);
            self.send(rewritten, is_for_group);
        }
    }

    /// Forwards a signal that asks the child to end. A stopped process would receive it only after SIGCONT, so stopped
    /// ones are continued, as systemd does.
    pub(crate) fn ask_to_end(&mut self, signal: i32) {
        self.forward(signal);
        if self.child_config.rewritten(signal) == 0 || self.exit_status.is_some() {
            return;
        }
        let signalled =
            |process| process == self.child || (!self.shares_group() && signals::group_of(process) == Some(self.child));
        for process in descendants::stopped(signalled) {
            wait::send(process, libc::SIGCONT);
        }
    }

    /// Continues the child, in the foreground if `fg` put the wrapper there.
    fn resume(&self) {
        self.foreground.give_foreground();
        self.send(libc::SIGCONT, true);
    }

    /// Signals the child's group, and the child itself if it has left the group; or the child alone.
    fn send(&self, signal: i32, is_for_group: bool) {
        let is_for_group = is_for_group && !self.shares_group();
        if is_for_group {
            wait::send(-self.child, signal);
        }
        let is_reached = is_for_group && signals::leads_its_group(self.child);
        if !is_reached && self.exit_status.is_none() {
            wait::send(self.child, signal);
        }
    }

    /// Returns whether the wrapper has sent this signal to the child.
    pub(crate) fn was_sent(&self, signal: i32) -> bool {
        self.forwarded.contains(&signal)
    }

    /// Returns whether the child is in the wrapper's process group, and signals go to the child alone.
    pub(crate) fn shares_group(&self) -> bool {
        !self.foreground.own_group
    }

    /// Reaps all exited processes: one SIGCHLD may stand for several. Returns whether the child has exited and, unless
    /// orphans are to be left, no descendant remains.
    pub(crate) fn reap_all(&mut self) -> bool {
        let mut childless = false;
        loop {
            match wait::next_change() {
                // Another process may get the child's number afterwards.
                Change::Exited(process, status) if process == self.child && self.exit_status.is_none() => {
                    self.exit_status = Some(status);
                }
                Change::Exited(process, _) => self.reaped(process),
                Change::Stopped(process, signal) if process == self.child => {
                    // The signal that continues a stopped wrapper is read like any other. Where the wrapper did not
                    // stop, it continues the child.
                    if !self.foreground.stopped_by(signal) {
                        self.resume();
                    }
                }
                Change::Stopped(..) => {}
                Change::None => break,
                Change::Childless => {
                    childless = true;
                    break;
                }
            }
        }
        self.exit_status.is_some() && (childless || self.child_config.leave_orphans || self.has_no_descendants())
    }

    /// False if /proc does not show descendants: then the processes that `waitpid` knows count.
    fn has_no_descendants(&self) -> bool {
        descendants::descendants(&self.inherited_children).is_some_and(|all| all.is_empty())
    }

    fn reaped(&mut self, process: pid_t) {
        self.signalled.remove(&process);
        if self.inherited_children.remove(&process) {
            return;
        }
        if self.child_config.warn_on_reap {
            warn!("reaped process {process}, whose parent did not wait for it");
        } else {
            debug!(pid = process, "reaped an orphan");
        }
    }

    /// Asks the remaining descendants to end, those included that were adopted since the last time.
    pub(crate) fn terminate_descendants(&mut self, signal: i32) {
        if !std::mem::replace(&mut self.has_logged_termination, true) {
            info!("the command has exited; terminating its remaining descendants");
        }
        self.signal_all(signal);
    }

    /// Kills the child and its descendants, except orphans that are to be left.
    pub(crate) fn kill(&mut self) {
        self.signalled.clear();
        if self.child_config.leave_orphans {
            self.send(libc::SIGKILL, true);
        } else {
            self.signal_all(libc::SIGKILL);
        }
    }

    fn signal_all(&mut self, signal: i32) {
        if !descendants::signal_all(signal, &mut self.signalled, &self.inherited_children) {
            self.send(signal, true); // without /proc, the group is all that is known
        }
    }

    /// Takes the terminal back once the process tree is gone.
    pub(crate) fn take_back_foreground(&mut self) {
        self.foreground.take_back(self.exit_status);
    }

    /// Returns whether a key (Ctrl-C) ended the child.
    pub(crate) fn was_interrupted(&self, status: ExitStatus) -> bool {
        self.foreground.was_interrupted(status, &self.forwarded)
    }
}

//! The child and its descendants: forwards signals to them, reaps them, and terminates those that remain.

use std::cell::Cell;
use std::collections::HashSet;
use std::process::ExitStatus;
use std::rc::Rc;
use std::time::Duration;

use nix::libc::{self, pid_t};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::awaited::Awaited;
use super::descendants;
use super::successor;
use super::wait::{self, Change};
use crate::options::ChildConfig;
use crate::signals;
use crate::signals::Foreground;
use crate::signals::Received;

/// How long the pid file may take to name the process that follows the main one. gunicorn renames its file within a
/// second after the master before has exited.
const SUCCESSION: Duration = Duration::from_secs(5);

/// The child and its descendants.
pub(crate) struct ProcessTree<'a> {
    /// The main process: the one that was started, or its successor. Shared with those who report it.
    child: Rc<Cell<pid_t>>,
    /// The group that signals go to.
    group: pid_t,
    child_config: &'a ChildConfig,
    foreground: Foreground,
    /// Children of a shell that exec'd the wrapper. They do not descend from the child.
    inherited_children: HashSet<pid_t>,
    /// Processes that the wrapper started besides the child.
    awaited: Awaited,
    /// The signals that the child was sent.
    forwarded: HashSet<i32>,
    /// The child's status, once it has exited.
    exit_status: Option<ExitStatus>,
    /// With `--pid-file`: the status of a main process whose successor is being looked for, and until when.
    succeeded: Option<(ExitStatus, Instant)>,
    /// The descendants that were signalled since the child exited.
    signalled: HashSet<pid_t>,
    /// The processes of other users that were warned about.
    out_of_reach: HashSet<pid_t>,
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
        Self {
            child: Rc::new(Cell::new(child)),
            group: child,
            child_config,
            foreground,
            inherited_children,
            awaited: Awaited::default(),
            forwarded: HashSet::new(),
            exit_status: None,
            succeeded: None,
            signalled: HashSet::new(),
            out_of_reach: HashSet::new(),
            has_logged_termination: false,
        }
    }

    pub(crate) fn child(&self) -> pid_t {
        self.child.get()
    }

    /// The number of the main process, now and after it has been replaced.
    pub(crate) fn watch_child(&self) -> Rc<Cell<pid_t>> {
        self.child.clone()
    }

    /// Returns whether there is a main process to signal.
    fn has_child(&self) -> bool {
        self.exit_status.is_none() && self.succeeded.is_none()
    }

    /// The processes that the wrapper starts besides the child.
    pub(crate) fn awaited(&self) -> Awaited {
        self.awaited.clone()
    }

    pub(crate) fn inherited_children(&self) -> &HashSet<pid_t> {
        &self.inherited_children
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
        if !self.has_child() {
            // Not counted: what asks them to end is sent to them all the same.
            let asked = std::mem::take(&mut self.signalled);
            self.signal_all(rewritten);
            self.signalled = asked;
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
        if self.child_config.rewritten(signal) == 0 || !self.has_child() {
            return;
        }
        let signalled = |process| {
            process == self.child() || (!self.shares_group() && signals::group_of(process) == Some(self.group))
        };
        for process in descendants::stopped(signalled) {
            wait::send(process, libc::SIGCONT);
        }
    }

    /// Continues the child, in the foreground if `fg` put the wrapper there.
    fn resume(&mut self) {
        self.foreground.give_foreground();
        self.send(libc::SIGCONT, true);
    }

    /// Signals the child's group, and the child itself if it has left the group; or the child alone.
    fn send(&mut self, signal: i32, is_for_group: bool) {
        let is_for_group = is_for_group && !self.shares_group();
        if is_for_group {
            wait::send(-self.group, signal);
        }
        if self.has_child() {
            let is_reached = is_for_group && signals::group_of(self.child()) == Some(self.group);
            if !is_reached {
                wait::send(self.child(), signal);
            }
            if self.is_child_out_of_reach() {
                self.warn_out_of_reach(self.child());
            }
        }
    }

    /// Returns whether the child runs as another user, so that the wrapper may not signal it.
    pub(crate) fn is_child_out_of_reach(&self) -> bool {
        self.has_child() && wait::is_out_of_reach(self.child())
    }

    /// Returns whether there are processes left, and the wrapper may not kill any of them.
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match descendants::descendants(&self.inherited_children) {
            Some(all) => !all.is_empty() && all.into_iter().all(wait::is_out_of_reach),
            None => self.is_child_out_of_reach(), // /proc does not show the others
        }
    }

    /// Names the processes that are left, and their users; nothing if /proc does not show them.
    pub(crate) fn describe_remaining(&self) -> Option<String> {
        let all = descendants::descendants(&self.inherited_children)?;
        Some(all.into_iter().map(describe).collect::<Vec<_>>().join(", "))
    }

    /// Names the child and its user.
    pub(crate) fn describe_child(&self) -> String {
        describe(self.child())
    }

    /// Says it once of each process.
    fn warn_out_of_reach(&mut self, process: pid_t) {
        if self.out_of_reach.insert(process) {
            warn!(
                "the wrapper may not signal {}; let the command that changes the user start the wrapper, not the wrapper \
                 that command",
                describe(process)
            );
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
    /// orphans are to be left, no descendant remains. `is_stopping`: a child that exits is not being replaced.
    pub(crate) fn reap_all(&mut self, is_stopping: bool) -> bool {
        let mut childless = false;
        loop {
            match wait::next_change() {
                // Another process may get the child's number afterwards.
                Change::Exited(process, status) if process == self.child() && self.has_child() => {
                    if self.child_config.pid_file.is_some() && !is_stopping {
                        self.succeeded = Some((status, Instant::now() + SUCCESSION));
                    } else {
                        self.ended(status);
                    }
                }
                Change::Exited(process, status) if self.awaited.reaped(process, status) => {}
                Change::Exited(process, _) => self.reaped(process),
                Change::Stopped(process, signal) if process == self.child() => {
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
        if self.succeeded.is_some() && (childless || self.has_no_descendants()) {
            self.end_succession();
        }
        self.exit_status.is_some() && (childless || self.child_config.leave_orphans || self.has_no_descendants())
    }

    /// False if /proc does not show descendants: then the processes that `waitpid` knows count.
    pub(crate) fn has_no_descendants(&self) -> bool {
        descendants::descendants(&self.inherited_children).is_some_and(|all| all.is_empty())
    }

    /// False if /proc does not show descendants.
    pub(crate) fn has_descendants(&self) -> bool {
        descendants::descendants(&self.inherited_children).is_some_and(|all| !all.is_empty())
    }

    /// Returns whether the main process has exited and its successor is being looked for.
    pub(crate) fn awaits_successor(&self) -> bool {
        self.succeeded.is_some()
    }

    /// Returns the search for the process that the pid file names.
    pub(crate) fn search(&self) -> Option<impl Future<Output = Result<pid_t, String>> + Send + 'static> {
        let (file, (_, until)) = self.child_config.pid_file.clone().zip(self.succeeded)?;
        Some(successor::find(file, until, self.inherited_children.clone()))
    }

    /// Takes this process for the main one. Returns the one before and its status.
    pub(crate) fn succeed(&mut self, next: pid_t) -> Option<(pid_t, ExitStatus)> {
        let (status, _) = self.succeeded.take()?;
        // A daemon has a group of its own; a server that replaces itself stays in the group of the one before.
        if let Some(group) = signals::group_of(next).filter(|group| Some(*group) != signals::group_of(0)) {
            self.group = group;
        }
        Some((self.child.replace(next), status))
    }

    /// No process follows the one that has exited.
    pub(crate) fn end_succession(&mut self) {
        if let Some((status, _)) = self.succeeded.take() {
            self.ended(status);
        }
    }

    fn ended(&mut self, status: ExitStatus) {
        self.exit_status = Some(status);
        // They do not descend from the child, and nobody waits for their end.
        self.inherited_children.extend(self.awaited.end());
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
        match descendants::signal_all(signal, &mut self.signalled, &self.inherited_children) {
            Some(out_of_reach) => out_of_reach.into_iter().for_each(|process| self.warn_out_of_reach(process)),
            None => self.send(signal, true), // without /proc, the group is all that is known
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

fn describe(process: pid_t) -> String {
    format!("process {process} of {}", descendants::user_of(process))
}

//! The child and what descends from it: who is signalled, who is buried, and whether anybody is left.

use std::collections::HashSet;
use std::process::ExitStatus;

use nix::libc::{self, pid_t};
use tracing::{debug, info, warn};

use super::descendants;
use super::lookup;
use super::lookup::Change;
use crate::options::ChildConfig;
use crate::signals;
use crate::signals::Foreground;
use crate::signals::Received;

/// A running child and what descends from it.
pub(crate) struct ProcessTree<'a> {
    child: pid_t,
    child_config: &'a ChildConfig,
    foreground: Foreground,
    /// Children that the wrapper was born with: a shell that became the wrapper had started them. They are not the child's.
    inherited_children: HashSet<pid_t>,
    /// What the child was sent.
    forwarded: HashSet<i32>,
    /// How the child ended.
    ended: Option<ExitStatus>,
    /// Who was told to end since the child did.
    told: HashSet<pid_t>,
    /// Whether the log says that they are.
    said: bool,
}

impl<'a> ProcessTree<'a> {
    pub(crate) fn new(
        child: pid_t,
        child_config: &'a ChildConfig,
        mut foreground: Foreground,
        inherited_children: HashSet<pid_t>,
    ) -> Self {
        foreground.belong_to(child);
        let (forwarded, told) = (HashSet::new(), HashSet::new());
        Self { child, child_config, foreground, inherited_children, forwarded, ended: None, told, said: false }
    }

    /// How the child ended, if it did.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.ended
    }

    /// Takes note of a signal that may be the terminal's.
    pub(crate) fn hear(&mut self, signal: Received) {
        self.foreground.hear(signal);
    }

    /// Gives the child the foreground if it wants it, and passes a signal on.
    pub(crate) fn give_foreground(&mut self, signal: i32) {
        self.foreground.give_foreground();
        self.forward(signal);
    }

    /// Passes a signal on as it is rewritten: to the child while it lives, and then to what it left behind.
    pub(crate) fn forward(&mut self, signal: i32) {
        let rewritten = self.child_config.rewritten(signal);
        if rewritten == 0 {
            debug!(signal = signals::name(signal), "dropped");
            return;
        }
        debug!(signal = signals::name(signal), as_signal = signals::name(rewritten), "passed on");
        if self.ended.is_some() {
            descendants::signal_all(rewritten, &mut HashSet::new(), &self.inherited_children);
        } else if rewritten == libc::SIGCONT {
            if !self.foreground.resumed_together() {
                self.go_on();
            }
        } else {
            self.forwarded.insert(rewritten);
            self.send(rewritten);
        }
    }

    /// Passes on a signal that asks the child to end. A process that is stopped would hear it only when somebody continues
    /// it, and that is mostly nobody: so whoever was signalled and is stopped is continued, as systemd does.
    pub(crate) fn ask_to_end(&mut self, signal: i32) {
        self.forward(signal);
        if self.child_config.rewritten(signal) == 0 || self.ended.is_some() {
            return;
        }
        let signalled =
            |process| process == self.child || (!self.shares_group() && lookup::group_of(process) == Some(self.child));
        for process in descendants::stopped(signalled) {
            lookup::send(process, libc::SIGCONT);
        }
    }

    /// What `fg` and `bg` do: the child goes on, in the foreground if the wrapper was put there.
    fn go_on(&self) {
        self.foreground.give_foreground();
        self.send(libc::SIGCONT);
    }

    /// A child that has left its group for another one is still the child.
    fn send(&self, signal: i32) {
        if !self.shares_group() {
            lookup::send(-self.child, signal);
        }
        let is_reached = !self.shares_group() && lookup::leads_its_group(self.child);
        if !is_reached && self.ended.is_none() {
            lookup::send(self.child, signal);
        }
    }

    /// Whether the child stands in the wrapper's process group, and so gets signals alone.
    pub(crate) fn shares_group(&self) -> bool {
        !self.foreground.own_group
    }

    /// One SIGCHLD may stand for many. Whether the child has ended and, unless orphans are to be left, nobody is left.
    pub(crate) fn reap_all(&mut self) -> bool {
        let mut childless = false;
        loop {
            match lookup::next_change() {
                // Its number may be another's afterwards.
                Change::Ended(process, status) if process == self.child && self.ended.is_none() => {
                    self.ended = Some(status);
                }
                Change::Ended(process, _) => self.reaped(process),
                Change::Stopped(process, signal) if process == self.child => {
                    // What ended a stop is read like any other signal; without one it is on us.
                    if !self.foreground.stopped_by(signal) {
                        self.go_on();
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
        self.ended.is_some() && (childless || self.child_config.leave_orphans || self.has_no_descendants())
    }

    /// Where nobody can be seen, whoever is still to be waited for counts.
    fn has_no_descendants(&self) -> bool {
        descendants::descendants(&self.inherited_children).is_some_and(|all| all.is_empty())
    }

    fn reaped(&mut self, process: pid_t) {
        self.told.remove(&process);
        if self.inherited_children.remove(&process) {
            return;
        }
        if self.child_config.warn_on_reap {
            warn!("buried process {process}, whose parent did not wait for it");
        } else {
            debug!(pid = process, "buried an orphan");
        }
    }

    /// What the child left behind is asked to end, and those who were adopted since the last time.
    pub(crate) fn terminate_descendants(&mut self, signal: i32) {
        if !std::mem::replace(&mut self.said, true) {
            info!("the command has ended; ending what it left behind");
        }
        self.signal_all(signal);
    }

    /// Kills all there are, whatever they were told before; but for orphans that are to be left.
    pub(crate) fn kill(&mut self) {
        self.told.clear();
        if self.child_config.leave_orphans {
            self.send(libc::SIGKILL);
        } else {
            self.signal_all(libc::SIGKILL);
        }
    }

    fn signal_all(&mut self, signal: i32) {
        if !descendants::signal_all(signal, &mut self.told, &self.inherited_children) {
            self.send(signal); // its group is all that is known
        }
    }

    /// The child and all of its family are gone, and with them their claim to the terminal.
    pub(crate) fn take_back_foreground(&mut self) {
        self.foreground.take_back(self.ended);
    }

    /// Whether a key (Ctrl-C) ended the child.
    pub(crate) fn was_interrupted(&self, status: ExitStatus) -> bool {
        self.foreground.was_interrupted(status, &self.forwarded)
    }
}

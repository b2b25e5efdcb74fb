//! The child's place on the terminal: foreground or background, and which processes receive its keys.
//!
//! Only the foreground group receives keys and may read. So the child gets a foreground group of its own only if no
//! other process of the wrapper's group needs the terminal. A key that ended the child alone is sent to the wrapper's
//! group afterwards.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc::{self, pid_t};
use nix::sys::termios::Termios;

use super::terminal::{Suspend, Terminal, is_sole_job, leads_its_group, suspend_self};
use super::{Origin, Received};
use crate::options::ChildConfig;
use crate::options::Scope;
use crate::signals;

/// The child's place on the terminal, if there is one.
pub(crate) struct Foreground {
    terminal: Option<Terminal>,
    /// 0 before the start.
    child: pid_t,
    /// The child leads a group of its own. Otherwise it shares the wrapper's.
    pub own_group: bool,
    /// The child gets the foreground whenever the wrapper has it: from the start, or since the child asked for it.
    is_wanted: bool,
    /// The signals of keys that the wrapper's own group has received.
    keys: HashSet<i32>,
    /// SIGCONT has just ended a stop of the wrapper and the child together, so the child has received it already.
    resumed_together: bool,
    /// The child had the foreground when it exited.
    had_foreground: bool,
    /// The terminal's modes before the start, if the wrapper is the only process of its job.
    modes: Option<Termios>,
}

impl Foreground {
    /// Decides the child's group and place. If other processes share the terminal (a pipeline, a script and its other
    /// commands), the child stays in their group: all of them receive the keys, and all may read. If keys are
    /// rewritten, the wrapper must receive them first, so the child starts in the background; if it reads from the
    /// terminal, the kernel stops it, and then it gets the foreground.
    pub(crate) fn of(terminal: Option<Terminal>, child_config: &ChildConfig) -> Self {
        let (is_sole_job, rewrites) = (is_sole_job(), child_config.rewrites_keys());
        let is_standard = terminal.as_ref().is_some_and(|terminal| terminal.is_standard);
        let own_group = child_config.scope != Scope::Child && (is_sole_job || rewrites || !is_standard);
        let is_wanted = own_group && is_sole_job && !rewrites;
        let modes = terminal.as_ref().filter(|terminal| is_sole_job && terminal.is_ours()).and_then(Terminal::modes);
        Self {
            terminal,
            child: 0,
            own_group,
            is_wanted,
            keys: HashSet::new(),
            resumed_together: false,
            had_foreground: false,
            modes,
        }
    }

    /// The terminal that a child takes over when it starts.
    pub(crate) fn at_start(&self) -> Option<RawFd> {
        self.terminal.as_ref().filter(|terminal| self.is_wanted && terminal.is_ours()).map(Terminal::descriptor)
    }

    /// Sets the child, once it is started.
    pub(crate) fn belong_to(&mut self, child: pid_t) {
        self.child = child;
    }

    /// Records a signal of the terminal to the wrapper's group.
    pub(crate) fn hear(&mut self, signal: Received) {
        if signal.origin == Origin::Kernel {
            self.keys.insert(signal.number);
        }
    }

    /// Gives the child the foreground if the wrapper has it, unless the child is to stay in the background.
    pub(crate) fn give_foreground(&self) {
        if let Some(terminal) = &self.terminal
            && self.is_wanted
            && terminal.is_ours()
        {
            terminal.give_to(self.child);
        }
    }

    /// Handles a child that was stopped by this signal. A shell waits for the wrapper, so the wrapper stops as well.
    /// Returns false if the child is to continue: because it asked for the foreground and gets it, or because no shell
    /// could end the stop.
    pub(crate) fn stopped_by(&mut self, signal: i32) -> bool {
        let asks = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        let Some(terminal) = &self.terminal else { return true };
        if !asks && !matches!(signal, libc::SIGTSTP | libc::SIGSTOP) {
            return true;
        }
        if asks && self.own_group && terminal.is_ours() {
            self.is_wanted = true;
            return false;
        }
        if !self.own_group && !leads_its_group(self.child) {
            // A key stops both. But the wrapper would not learn that another process continues the child alone.
            self.resumed_together = signal != libc::SIGSTOP && suspend_self(signal, Suspend::Wrapper);
            return true;
        }
        if signal == libc::SIGSTOP {
            suspend_self(libc::SIGTSTP, Suspend::Wrapper);
            return true;
        }
        let stopped = suspend_self(signal, if self.keys.remove(&signal) { Suspend::Wrapper } else { Suspend::Group });
        stopped || asks // a child that asks would only be stopped again
    }

    /// Returns whether the child has received the SIGCONT that was read as well.
    pub(crate) fn resumed_together(&mut self) -> bool {
        std::mem::take(&mut self.resumed_together)
    }

    /// Takes the foreground back after the child's exit, so that the next process can read from the terminal. After a
    /// child that died of a signal the wrapper restores the modes: a shell does so if it sees the signal, but the
    /// wrapper's exit status shows none.
    pub(crate) fn take_back(&mut self, ended: Option<ExitStatus>) {
        let Some(terminal) = &self.terminal else { return };
        self.had_foreground = self.own_group && terminal.take_back(self.child);
        if let Some(modes) = &self.modes
            && ended.is_some_and(|status| status.signal().is_some())
            && terminal.is_ours()
        {
            terminal.restore(modes);
        }
    }

    /// Returns whether a key (Ctrl-C) ended the child, and not a signal that the wrapper forwarded. If the child alone
    /// received the key, it is sent to the wrapper's group: without a wrapper, the terminal would have sent it to the
    /// script as well.
    pub(crate) fn was_interrupted(&self, status: ExitStatus, forwarded: &HashSet<i32>) -> bool {
        let Some(signal) = status.signal().filter(|signal| matches!(*signal, libc::SIGINT | libc::SIGQUIT)) else {
            return false;
        };
        let was_alone = self.had_foreground && !forwarded.contains(&signal);
        if was_alone {
            signals::signal_own_group(signal);
        }
        was_alone || self.keys.contains(&signal)
    }
}

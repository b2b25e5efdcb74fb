//! The child's place on the terminal: in the foreground or behind it, and who else hears of its keys.
//!
//! Whoever has the foreground hears keys and reads alone. So a child gets it in a group of its own only where nobody else of
//! the wrapper's group needs it, and what it hears alone nevertheless, others are told.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc::{self, pid_t};
use nix::sys::termios::Termios;

use super::terminal::{Stop, Terminal, is_sole_job, stop_self};
use super::{Origin, Received};
use crate::options::ChildConfig;
use crate::options::Scope;
use crate::process::lookup::leads_its_group;
use crate::signals;

/// The child's place on the terminal, if there is one.
pub(crate) struct Foreground {
    terminal: Option<Terminal>,
    /// Whose it is; nobody's before the start.
    child: pid_t,
    /// Whether the child leads a group of its own. If not, it has the wrapper's place.
    pub own_group: bool,
    /// Whether the child is to be in front whenever the wrapper is: from the start, or since it asked.
    wanted: bool,
    /// Keys that the wrapper's own group has heard, as signals.
    heard: HashSet<i32>,
    /// Whether SIGCONT has just ended a stop of the wrapper and the child together, and so is no news to the child.
    went_on: bool,
    /// Whether the child was in front when it ended.
    had: bool,
    /// The terminal's modes before the start, where the wrapper is all that its shell waits for.
    modes: Option<Termios>,
}

impl Foreground {
    /// Where the terminal belongs to others as well (the rest of a pipeline, a script and its other commands), the child
    /// shares their group: each hears the keys, and anybody may read. Where keys are rewritten the wrapper must hear them first,
    /// so the child stands behind it; if it reads keys nevertheless, the kernel stops it, and it gets the foreground then.
    pub(crate) fn of(terminal: Option<Terminal>, child_config: &ChildConfig) -> Self {
        let (is_sole_job, rewrites) = (is_sole_job(), child_config.rewrites_keys());
        let is_standard = terminal.as_ref().is_some_and(|terminal| terminal.is_standard);
        let own_group = child_config.scope == Scope::Group && (is_sole_job || rewrites || !is_standard);
        let wanted = own_group && is_sole_job && !rewrites;
        let modes = terminal.as_ref().filter(|terminal| is_sole_job && terminal.is_ours()).and_then(Terminal::modes);
        Self { terminal, child: 0, own_group, wanted, heard: HashSet::new(), went_on: false, had: false, modes }
    }

    /// The terminal that a child takes over when it starts.
    pub(crate) fn at_start(&self) -> Option<RawFd> {
        self.terminal.as_ref().filter(|terminal| self.wanted && terminal.is_ours()).map(Terminal::descriptor)
    }

    /// The child is there.
    pub(crate) fn belong_to(&mut self, child: pid_t) {
        self.child = child;
    }

    /// Takes note of what the terminal says to the wrapper's group.
    pub(crate) fn hear(&mut self, signal: Received) {
        if signal.origin == Origin::Kernel {
            self.heard.insert(signal.number);
        }
    }

    /// The foreground is the child's if it is the wrapper's, and the child wants it.
    pub(crate) fn give_foreground(&self) {
        if let Some(terminal) = &self.terminal
            && self.wanted
            && terminal.is_ours()
        {
            terminal.give_to(self.child);
        }
    }

    /// The child was stopped by this signal. A shell waits for the wrapper, not for the child: it must see it stop as
    /// well. False if the child is to go on: because it asked for the foreground and may have it, or because there can be no
    /// stop where no shell could end it.
    pub(crate) fn stopped_by(&mut self, signal: i32) -> bool {
        let asks = matches!(signal, libc::SIGTTIN | libc::SIGTTOU);
        let Some(terminal) = &self.terminal else { return true };
        if !asks && !matches!(signal, libc::SIGTSTP | libc::SIGSTOP) {
            return true;
        }
        if asks && self.own_group && terminal.is_ours() {
            self.wanted = true;
            return false;
        }
        if !self.own_group && !leads_its_group(self.child) {
            // A key stops both; but nothing would tell the wrapper that somebody lets the child go on.
            self.went_on = signal != libc::SIGSTOP && stop_self(signal, Stop::Wrapper);
            return true;
        }
        if signal == libc::SIGSTOP {
            stop_self(libc::SIGTSTP, Stop::Wrapper);
            return true;
        }
        let stopped = stop_self(signal, if self.heard.remove(&signal) { Stop::Wrapper } else { Stop::Group });
        stopped || asks // what asks would only be stopped again
    }

    /// Whether a SIGCONT that was read is the one that a shell sent to the child as well.
    pub(crate) fn resumed_together(&mut self) -> bool {
        std::mem::take(&mut self.went_on)
    }

    /// The child has ended: whoever reads next from the terminal can. A shell puts the modes back itself when it sees a
    /// command die of a signal, which could not tidy up; the wrapper's status tells it of no signal.
    pub(crate) fn take_back(&mut self, ended: Option<ExitStatus>) {
        let Some(terminal) = &self.terminal else { return };
        self.had = self.own_group && terminal.take_back(self.child);
        if let Some(modes) = &self.modes
            && ended.is_some_and(|status| status.signal().is_some())
            && terminal.is_ours()
        {
            terminal.restore(modes);
        }
    }

    /// Whether a key (Ctrl-C) ended the child, and not a signal that the wrapper passed on (`forwarded`). Without the wrapper
    /// the terminal would have sent it to those who started the child as well, and a script would stop: they are told.
    pub(crate) fn was_interrupted(&self, status: ExitStatus, forwarded: &HashSet<i32>) -> bool {
        let Some(signal) = status.signal().filter(|signal| matches!(*signal, libc::SIGINT | libc::SIGQUIT)) else {
            return false;
        };
        let heard_alone = self.had && !forwarded.contains(&signal);
        if heard_alone {
            signals::tell_own_group(signal);
        }
        heard_alone || self.heard.contains(&signal)
    }
}

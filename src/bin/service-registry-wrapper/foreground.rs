//! The child's place on the terminal: in the foreground or behind it, and who else hears of its keys.
//!
//! The child leads a group of its own, so what a shell put into the wrapper's group (the rest of a pipeline, the script
//! that started it) does not hear a key that goes to the child, and must be told.

use std::collections::HashSet;
use std::os::fd::RawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc::{self, pid_t};

use crate::cli::Scope;
use crate::parenting::Parenting;
use crate::signals::{self, Origin, Received};
use crate::terminal::{Stop, Terminal, in_pipeline, stop_by};

/// The child's place on the terminal, if there is one.
pub(crate) struct Foreground {
    terminal: Option<Terminal>,
    /// Whose it is; nobody's before the start.
    child: pid_t,
    /// Whether the child leads a group of its own. If not, it has the wrapper's place.
    own_group: bool,
    /// Whether the child is to be in front whenever the wrapper is: from the start, or since it asked.
    wanted: bool,
    /// Keys that the wrapper's own group has heard, as signals.
    heard: HashSet<i32>,
    /// Whether SIGCONT has just ended a stop of the wrapper and the child together, and so is no news to the child.
    went_on: bool,
    /// Whether the child was in front when it ended.
    had: bool,
}

impl Foreground {
    /// In a pipeline another program may read the keys, and where they are rewritten the wrapper must hear them first. A child
    /// that reads them nevertheless is stopped by the kernel, and gets the foreground then.
    pub(crate) fn of(terminal: Option<Terminal>, parenting: &Parenting) -> Self {
        let own_group = parenting.scope == Scope::Group;
        let wanted = own_group && !in_pipeline() && !parenting.rewrites_keys();
        Self { terminal, child: 0, own_group, wanted, heard: HashSet::new(), went_on: false, had: false }
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
    pub(crate) fn hand_over(&self) {
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
        if signal == libc::SIGSTOP {
            stop_by(libc::SIGTSTP, Stop::Wrapper);
            return true;
        }
        if !self.own_group {
            self.went_on = stop_by(signal, Stop::Wrapper);
            return true; // the child's stop was one, so the wrapper's was
        }
        stop_by(signal, if self.heard.remove(&signal) { Stop::Wrapper } else { Stop::Group })
    }

    /// Whether a SIGCONT that was read is the one that a shell sent to the child as well.
    pub(crate) fn went_on_together(&mut self) -> bool {
        std::mem::take(&mut self.went_on)
    }

    /// The child has ended: whoever reads next from the terminal can.
    pub(crate) fn take_back(&mut self) {
        self.had = self.terminal.as_ref().is_some_and(|terminal| self.own_group && terminal.take_back(self.child));
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

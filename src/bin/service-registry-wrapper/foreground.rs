//! The child's place on the terminal: in the foreground or behind it, and who else hears of its keys.
//!
//! The child leads a group of its own, so what a shell put into the wrapper's group (the rest of a pipeline, the script
//! that started it) does not hear a key that goes to the child, and must be told.

use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::libc::{self, pid_t};

use crate::signals::{self, Origin, Received};
use crate::terminal::{Stop, Terminal, stop_by};

/// The child's place on the terminal, if there is one.
pub(crate) struct Foreground<'a> {
    terminal: Option<&'a Terminal>,
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

impl<'a> Foreground<'a> {
    pub(crate) fn new(terminal: Option<&'a Terminal>, child: pid_t, own_group: bool, wanted: bool) -> Self {
        Self { terminal, child, own_group, wanted, heard: HashSet::new(), went_on: false, had: false }
    }

    /// Takes note of what the terminal says to the wrapper's group.
    pub(crate) fn hear(&mut self, signal: Received) {
        if signal.origin == Origin::Kernel {
            self.heard.insert(signal.number);
        }
    }

    /// The foreground is the child's if it is the wrapper's, and the child wants it.
    pub(crate) fn hand_over(&self) {
        if let Some(terminal) = self.terminal
            && self.own_group
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
        let Some(terminal) = self.terminal.filter(|_| asks || matches!(signal, libc::SIGTSTP | libc::SIGSTOP)) else {
            return true;
        };
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
        self.had = self.terminal.is_some_and(|terminal| self.own_group && terminal.take_back(self.child));
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

//! What runs in the watchdog: it waits until the deadline, or until the wrapper is killed, and kills the child and its
//! descendants then.

use std::collections::HashSet;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::libc::{self, pid_t};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_name;
use nix::sys::socket::{MsgFlags, send};
use nix::unistd::{getpid, setsid};

use super::message::{ChildProcess, Message, receive};
use super::pidfd::{PIDFD_SIGNAL_PROCESS_GROUP, pidfd_kill, pidfd_open};
use crate::boot_time::{BootTime, BootTimer};
use crate::process::descendants::{Identity, descendants_of};
use crate::process::descriptors::close_all_but;

/// How often descendants are looked for that were started while others were killed.
const ROUNDS: usize = 100;

/// From the child's start to the first look at its descendants. Each further one is twice as long after the one before
/// it, since most programs start their processes first; besides, the watchdog looks whenever the deadline moves.
const FIRST_LOOK: Duration = Duration::from_millis(50);

/// What the watchdog must know of the options.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    /// Descendants of the child are to survive it.
    pub leaves_orphans: bool,
    /// How long after the wrapper's end the child is killed, which the kernel has sent the parent-death signal; none if
    /// it may run on until its place is lost.
    pub kill_after: Option<Duration>,
}

pub(super) struct WatchdogProcess {
    socket: RawFd,
    wrapper: pid_t,
    settings: Settings,
    /// Children of the wrapper that do not descend from the child; the watchdog is one.
    excluded: HashSet<pid_t>,
    deadline: Option<BootTime>,
    child: Option<ChildProcess>,
    child_has_exited: bool,
    wrapper_has_ended: bool,
    /// The descendants as they were at the last look, for when the wrapper is killed: they have other parents then.
    known: Vec<Identity>,
    /// From one look to the next.
    pause: Duration,
}

impl WatchdogProcess {
    /// Lives. The process ends when this returns.
    pub(super) fn run(socket: RawFd, wrapper: pid_t, inherited_children: &HashSet<pid_t>, settings: Settings) {
        let _ = setsid(); // so that signals to the wrapper's group and from its terminal do not reach this process
        let _ = set_name(c"registry-fence");
        close_all_but(socket); // no pipe stays open for this process
        run_first();
        let mut watchdog = Self {
            socket,
            wrapper,
            settings,
            excluded: inherited_children.iter().copied().chain([getpid().as_raw()]).collect(),
            deadline: None,
            child: None,
            child_has_exited: false,
            wrapper_has_ended: false,
            known: Vec::new(),
            pause: FIRST_LOOK,
        };
        let Ok(timer) = BootTimer::new() else { return }; // the wrapper sees that it is gone
        while !watchdog.is_done() && timer.set(watchdog.deadline).is_ok() {
            watchdog.wait(&timer);
        }
    }

    /// Waits for an event, and handles it.
    #[expect(unsafe_code, reason = "the socket is a number on both sides of the fork")]
    fn wait(&mut self, timer: &BootTimer) {
        // SAFETY: the socket is open as long as this process lives.
        let socket = unsafe { BorrowedFd::borrow_raw(self.socket) };
        let mut waits = Vec::with_capacity(3);
        if !self.wrapper_has_ended {
            waits.push(PollFd::new(socket, PollFlags::POLLIN));
        }
        if let Some(child) = &self.child {
            waits.push(PollFd::new(timer.as_fd(), PollFlags::POLLIN));
            if !self.child_has_exited {
                waits.push(PollFd::new(child.pidfd.as_fd(), PollFlags::POLLIN));
            }
        }
        let pause = self.child.as_ref().and_then(|_| PollTimeout::try_from(self.pause).ok());
        let is_time = poll(&mut waits, pause.unwrap_or(PollTimeout::NONE)) == Ok(0); // every signal is blocked
        self.child_has_exited |= self.child.as_ref().is_some_and(|child| is_readable(child.pidfd.as_fd()));
        let mut has_moved = false;
        while !self.wrapper_has_ended {
            match receive(self.socket) {
                Some(Message::Deadline(deadline)) => (self.deadline, has_moved) = (deadline, true),
                Some(Message::Child(child)) => self.child = Some(child),
                Some(Message::End) => {
                    self.wrapper_has_ended = true;
                    let own = self.settings.kill_after.map(|time| BootTime::now() + time);
                    self.deadline = self.deadline.into_iter().chain(own).min();
                }
                None => break,
            }
        }
        if is_time {
            self.pause = self.pause.saturating_mul(2);
        }
        // Until the child runs there is nothing to see, and it starts sooner without the look.
        if is_time || (has_moved && self.child.is_some()) {
            self.look();
        }
    }

    /// Returns whether nothing is left to wait for, after it has done what is to be done.
    fn is_done(&mut self) -> bool {
        let is_over = self.deadline.is_some_and(|deadline| deadline <= BootTime::now());
        // The kernel has sent the child the parent-death signal. If that does not end it, the deadline does.
        let is_orphaned = self.wrapper_has_ended && self.child_has_exited;
        if self.child.is_some() && (is_over || (is_orphaned && !self.settings.leaves_orphans)) {
            let _ = send(self.socket, &[0], MsgFlags::MSG_NOSIGNAL); // the wrapper may be gone
            self.kill_all();
            return true;
        }
        self.wrapper_has_ended && (self.child_has_exited || self.child.is_none() || self.deadline.is_none())
    }

    /// Records the descendants. Of those that it knows it keeps the ones that live: their parents may have exited.
    fn look(&mut self) {
        let found = self.descendants();
        let mut known: HashSet<Identity> = self.known.drain(..).filter(|process| process.lives()).collect();
        known.extend(found.into_iter().filter_map(Identity::of));
        self.known = known.into_iter().collect();
    }

    /// The child's descendants, as far as /proc shows them: from the wrapper downwards while it lives, since it adopts
    /// orphans.
    fn descendants(&self) -> Vec<pid_t> {
        let child = self.child.as_ref().filter(|_| !self.child_has_exited).map(|child| child.pid);
        let roots: Vec<_> = if self.wrapper_has_ended {
            child.into_iter().chain(self.known.iter().map(|process| process.pid)).collect()
        } else {
            vec![self.wrapper]
        };
        let mut all: Vec<_> =
            roots.into_iter().flat_map(|root| descendants_of(root, &self.excluded).unwrap_or_default()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Kills the child first, then its group and its descendants, until there are no new ones.
    fn kill_all(&mut self) {
        if self.wrapper_has_ended {
            self.look(); // the child's death will scatter its descendants
        }
        if let Some(child) = &self.child {
            child.kill();
        }
        if self.settings.leaves_orphans {
            return;
        }
        let mut killed = HashSet::new();
        for _ in 0..ROUNDS {
            self.look();
            let before = killed.len();
            for &process in &self.known {
                if killed.insert(process) {
                    process.kill();
                }
            }
            if killed.len() == before {
                return;
            }
        }
    }
}

impl ChildProcess {
    fn kill(&self) {
        pidfd_kill(self.pidfd.as_fd(), 0);
        if self.leads_group {
            pidfd_kill(self.pidfd.as_fd(), PIDFD_SIGNAL_PROCESS_GROUP);
        }
    }
}

impl Identity {
    fn kill(self) {
        // The pidfd is of this process if the process still is the same one afterwards.
        if let Ok(pidfd) = pidfd_open(self.pid)
            && self.lives()
        {
            pidfd_kill(pidfd.as_fd(), 0);
        }
    }
}

fn is_readable(descriptor: BorrowedFd<'_>) -> bool {
    let mut wait = [PollFd::new(descriptor, PollFlags::POLLIN)];
    poll(&mut wait, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

/// Takes precedence over other processes on a busy machine, where the wrapper's user may do so: the time between the
/// kill and the end of the place is a twentieth of the interval.
#[expect(unsafe_code, reason = "the C library musl has no function for this")]
fn run_first() {
    // SAFETY: the struct has numbers only (musl's has more of them); the kernel reads it while it lives.
    unsafe {
        let mut priority: libc::sched_param = std::mem::zeroed();
        priority.sched_priority = 1;
        libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const priority);
    }
}

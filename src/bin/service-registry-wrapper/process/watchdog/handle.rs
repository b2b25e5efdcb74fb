//! The wrapper's side of the watchdog: starts it, tells it the time, and ends it.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::libc::{self, pid_t};
use nix::sched::{CloneFlags, clone};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use tracing::warn;

use super::pidfd::pidfd_open;
use super::process::{Settings, WatchdogProcess};
use crate::boot_time::BootTime;
use crate::options::ChildConfig;
use crate::process::descendants::children;

/// In bytes. Pages that are not touched take no memory.
const STACK: usize = 256 * 1024;

/// The watchdog, as the wrapper sees it.
pub(crate) struct Watchdog {
    process: pid_t,
    socket: OwnedFd,
    armed: Option<BootTime>,
    is_lost: bool,
}

impl Watchdog {
    /// Starts it, if the options ask for it. Must be called before there is a second thread: a fork has only the one
    /// that calls it, and locks that others hold stay locked.
    pub(crate) fn of(config: &ChildConfig) -> Option<Self> {
        let settings = Settings {
            leaves_orphans: config.leave_orphans,
            kill_after: match config.parent_death_signal {
                0 => None,
                libc::SIGKILL => Some(Duration::ZERO),
                _ => config.stop_timeout,
            },
        };
        let started = config.watchdog.then(|| Self::start(settings))?;
        started.inspect_err(|error| warn!("the watchdog cannot be started: {error:#}; {WITHOUT}")).ok()
    }

    #[expect(unsafe_code, reason = "a fork whose end sends no SIGCHLD")]
    fn start(settings: Settings) -> Result<Self> {
        let wrapper = std::process::id().cast_signed();
        pidfd_open(wrapper).context("the kernel has no pidfd_open (Linux 5.3), or a filter forbids it")?;
        ensure!(!next_child_begins_namespace(), "the next child would be process 1 of a pid namespace");
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let (socket, its_socket) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
        let its_socket = its_socket.as_raw_fd();
        let inherited_children = children(); // now: when the new process runs, the child may be there already
        let mut stack = vec![0; STACK];
        let run = Box::new(|| {
            WatchdogProcess::run(its_socket, wrapper, &inherited_children, settings);
            0
        });
        // SAFETY: the new process has a copy of the memory, the stack included, in which no lock is held. Without a
        // signal for its end it is no child that `waitpid(-1)` reports: whoever reaps orphans need not know it.
        let process = unsafe { clone(run, &mut stack, CloneFlags::empty(), None) };
        let process = process.context("cannot start a process; see ulimit -u")?.as_raw();
        Ok(Self { process, socket, armed: None, is_lost: false })
    }

    /// The descriptor on which the child makes itself known, see `introduce`.
    pub(crate) fn socket(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Sets when the child is to be killed, if it still runs then.
    pub(crate) fn arm(&mut self, deadline: Option<BootTime>) {
        let milliseconds = |at: BootTime| at.as_nanoseconds() / 1_000_000; // less is no change: the conversion varies
        if self.armed.map(milliseconds) == deadline.map(milliseconds) {
            return;
        }
        self.armed = deadline;
        let message = deadline.map_or(0, BootTime::as_nanoseconds).to_ne_bytes();
        let sent = send(self.socket.as_raw_fd(), &message, MsgFlags::MSG_NOSIGNAL);
        if let Err(error) = sent
            && !std::mem::replace(&mut self.is_lost, true)
            && !self.has_fired()
        {
            warn!("the watchdog does not answer: {}; {WITHOUT}", error.desc());
        }
    }

    /// Returns whether it has killed the child.
    pub(crate) fn has_fired(&self) -> bool {
        recv(self.socket.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK).is_ok_and(|read| read > 0)
    }

    /// Ends and reaps it, once nothing of the child is left that it should kill.
    #[expect(unsafe_code, reason = "nix cannot wait for a child whose end sends no signal without another feature")]
    pub(crate) fn dismiss(self) {
        // SAFETY: both take numbers; the process is the wrapper's child and not reaped, so the number is its own. A
        // process that is stopped ends as well.
        unsafe {
            libc::kill(self.process, libc::SIGKILL);
            libc::waitpid(self.process, ptr::null_mut(), libc::__WALL);
        }
    }
}

/// What a wrapper without a watchdog says.
const WITHOUT: &str =
    "if the wrapper itself is stopped or killed, nothing stops the command and its descendants in time";

/// Returns whether the next process that this one starts would be process 1 of another pid namespace: that must be the
/// child, and the watchdog's end would end it.
fn next_child_begins_namespace() -> bool {
    let namespace = |name| fs::metadata(format!("/proc/self/ns/{name}")).map(|found| found.ino()).ok();
    namespace("pid") != namespace("pid_for_children")
}

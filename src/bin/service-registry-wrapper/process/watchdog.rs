//! The wrapper's side of the watchdog, a second process that kills the child and its descendants when the wrapper is
//! killed, or when their place is about to be given away while the wrapper is stopped, starved or killed.
//!
//! The watchdog is a fork of the wrapper from before there is a second thread. *Not* an exec of the program: that takes
//! the loader's time, needs /proc, and a hidden command line. *Not* a process that shares the wrapper's memory: the
//! kernel's out-of-memory killer ends it with the wrapper.

use std::fs;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::ptr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc::{self, c_int, pid_t};
use nix::sched::{CloneFlags, clone};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recv, recvmsg, send, socketpair,
};
use tracing::warn;

use super::watchdog_process::WatchdogProcess;
use crate::boot_time::BootTime;
use crate::options::ChildConfig;

/// In bytes. Pages that are not touched take no memory.
const STACK: usize = 256 * 1024;

/// The watchdog, as the wrapper sees it.
pub(crate) struct Watchdog {
    process: pid_t,
    socket: OwnedFd,
    armed: Option<BootTime>,
    is_lost: bool,
}

/// What the watchdog must know of the options.
#[derive(Clone, Copy)]
pub(super) struct Settings {
    /// Descendants of the child are to survive it.
    pub leaves_orphans: bool,
    /// How long after the wrapper's end the child is killed, which the kernel has sent the parent-death signal; none if
    /// it may run on until its place is lost.
    pub kill_after: Option<Duration>,
}

/// A message to the watchdog.
pub(super) enum Message {
    /// When the child is to be killed.
    Deadline(Option<BootTime>),
    /// The child is about to run.
    Child(ChildProcess),
    /// The wrapper has ended.
    End,
}

/// The child, as the watchdog knows it.
pub(super) struct ChildProcess {
    pub pid: pid_t,
    pub pidfd: OwnedFd,
    pub leads_group: bool,
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
        let mut stack = vec![0; STACK];
        let run = Box::new(|| {
            WatchdogProcess::run(its_socket, wrapper, settings);
            0
        });
        // SAFETY: the new process has a copy of the memory, the stack included, in which no lock is held. Without a
        // signal for its end it is no child that `waitpid(-1)` reports: whoever reaps orphans need not know it.
        let process = unsafe { clone(run, &mut stack, CloneFlags::empty(), None) };
        let process = process.context("cannot start a process; see ulimit -u")?.as_raw();
        Ok(Self { process, socket, armed: None, is_lost: false })
    }

    /// The descriptor on which the child makes itself known, see [`introduce`].
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

/// Makes a child known to the watchdog, before it runs. Called in the child, which may not allocate.
///
/// The child opens its own pidfd: its number cannot mean another process, and at no moment does it run without the
/// watchdog knowing it, wherever the wrapper may be stopped.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
pub(super) fn introduce(socket: RawFd, own: pid_t, leads_group: bool) -> Result<(), Errno> {
    const SIZE: libc::c_uint = size_of::<c_int>() as libc::c_uint;
    let [a, b, c, d] = own.to_ne_bytes();
    let mut text = [a, b, c, d, u8::from(leads_group)];
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    let mut control = [0_u64; 8]; // aligned as the kernel wants it
    // SAFETY: the message points to arrays that live until sendmsg returns; the control message has room in its own,
    // which is 64 bytes long.
    unsafe {
        let pidfd = Errno::result(libc::syscall(libc::SYS_pidfd_open, own, 0))? as c_int;
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(SIZE) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(SIZE) as _;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(pidfd);
        Errno::result(libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL)).map(drop)
    }
}

/// Reads a message; none if there is none now.
#[expect(unsafe_code, reason = "the kernel passes descriptors as numbers")]
pub(super) fn receive(socket: RawFd) -> Option<Message> {
    let mut text = [0; 8];
    let mut space = nix::cmsg_space!(RawFd);
    let mut parts = [IoSliceMut::new(&mut text)];
    let received = match recvmsg::<()>(socket, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
        Ok(received) => received,
        Err(Errno::EAGAIN | Errno::EINTR) => return None,
        Err(_) => return Some(Message::End),
    };
    let length = received.bytes;
    let pidfd = received.cmsgs().ok().and_then(|mut messages| match messages.next()? {
        ControlMessageOwned::ScmRights(descriptors) => descriptors.first().copied(),
        _ => None,
    });
    // SAFETY: the kernel has just opened this descriptor for this process.
    let pidfd = pidfd.map(|number| unsafe { OwnedFd::from_raw_fd(number) });
    match (length, pidfd) {
        (0, _) => Some(Message::End),
        (5, Some(pidfd)) => {
            let [a, b, c, d, leads_group, ..] = text;
            Some(Message::Child(ChildProcess {
                pid: pid_t::from_ne_bytes([a, b, c, d]),
                pidfd,
                leads_group: leads_group != 0,
            }))
        }
        (8, _) => {
            let deadline = u64::from_ne_bytes(text);
            Some(Message::Deadline((deadline > 0).then(|| BootTime::from_nanoseconds(deadline))))
        }
        _ => None, // a pidfd that could not be received: too many files are open
    }
}

/// Opens a pidfd.
#[expect(unsafe_code, reason = "the C library of Debian 12 is the first with this function")]
pub(super) fn pidfd_open(process: pid_t) -> Result<OwnedFd, Errno> {
    // SAFETY: takes numbers, and returns a new descriptor.
    unsafe {
        let pidfd = Errno::result(libc::syscall(libc::SYS_pidfd_open, process, 0))?;
        Ok(OwnedFd::from_raw_fd(pidfd as RawFd))
    }
}

//! The messages to the watchdog, from the wrapper and from the child before it runs.

use std::io::IoSliceMut;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc::{self, c_int, pid_t};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use crate::boot_time::BootTime;

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

/// Makes a child known to the watchdog, before it runs. Called in the child, which may not allocate.
///
/// The child opens its own pidfd: its number cannot mean another process, and at no moment does it run without the
/// watchdog knowing it, wherever the wrapper may be stopped.
#[expect(unsafe_code, reason = "system calls between fork and exec")]
pub(in crate::process) fn introduce(socket: RawFd, own: pid_t, leads_group: bool) -> Result<(), Errno> {
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

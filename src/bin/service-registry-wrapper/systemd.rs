//! systemd's notifications. systemd listens to the process it started, which is the wrapper; so the child is given a socket
//! of the wrapper's, and what it says there is passed on.
//!
//! The protocol is that of sd_notify(3): datagrams of NAME=VALUE lines, descriptors beside them.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::IoSlice;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, UnixCredentials, sendmsg, setsockopt, sockopt};
use nix::unistd::geteuid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::process::descendants;

/// More than systemd itself takes.
const LARGEST: usize = 8192;
/// As many descriptors as the kernel lets into one message (SCM_MAX_FD).
const MOST_DESCRIPTORS: usize = 253;
/// More datagrams than may wait in a socket (net.unix.max_dgram_qlen).
const LONGEST_QUEUE: usize = 1024;
/// After the first failed attempt to send; doubled after each further one.
const PAUSE: Duration = Duration::from_millis(1);
/// After a failed attempt to read, and the longest after one to send.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// Attempts to send, which add up to a second.
const ATTEMPTS: u32 = 55;

/// Between the child and systemd.
pub(super) struct NotifyProxy {
    socket: AsyncFd<UnixDatagram>,
    systemd: UnixAddr,
    /// For the child's NOTIFY_SOCKET.
    pub address: OsString,
    /// What was read and is not passed on yet.
    unsent: RefCell<Option<Rc<Message>>>,
}

impl NotifyProxy {
    /// Nothing if there is no systemd to notify. To be called inside the event loop.
    pub(super) fn open() -> Result<Option<Self>> {
        let Some(target) = std::env::var_os("NOTIFY_SOCKET").filter(|target| !target.is_empty()) else {
            return Ok(None);
        };
        let systemd = match target.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name),
            path @ [b'/', ..] => UnixAddr::new(path),
            _ => return Ok(None), // a socket of a virtual machine's host, which does not ask who speaks
        };
        let systemd = systemd.with_context(|| format!("NOTIFY_SOCKET {}", target.display()))?;
        // In the abstract namespace, so that a child that changes its user or its root directory finds it.
        let name = format!("service-registry-wrapper/{}/{:x}", std::process::id(), fastrand::u64(..));
        let socket = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixDatagram::bind_addr(&address))
            .context("cannot listen for the command's notifications")?;
        socket.set_nonblocking(true).context("notifications")?;
        setsockopt(&socket, sockopt::PassCred, &true).context("notifications")?;
        let address = format!("@{name}").into();
        Ok(Some(Self { socket: watched(socket)?, systemd, address, unsent: RefCell::default() }))
    }

    /// Passes on what the child says, for ever.
    pub(super) async fn run(&self) -> Result<std::convert::Infallible> {
        loop {
            let mut ready = self.socket.readable().await.context("cannot wait for notifications")?;
            match receive(self.socket.get_ref()) {
                Ok(message) => self.forward(message).await,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    warn!("a notification of the command cannot be read: {}", error.desc());
                    sleep(LONGEST_PAUSE).await;
                }
            }
        }
    }

    /// Passes on what the child said last, now that it is gone.
    pub(super) async fn finish(&self) {
        if let Some(message) = self.unsent.take() {
            message.pass_on_by(self).await;
        }
        for _ in 0..LONGEST_QUEUE {
            let Ok(message) = receive(self.socket.get_ref()) else { return };
            self.forward(message).await;
        }
    }

    /// Says something on the child's behalf.
    pub(super) async fn say(&self, text: &str) {
        self.send(text.as_bytes(), &[]).await;
    }

    async fn forward(&self, message: Message) {
        if !message.is_from_family() {
            debug!(pid = message.sender.map(|sender| sender.pid()), "a stranger's notification is not passed on");
            return;
        }
        let message = Rc::new(message);
        *self.unsent.borrow_mut() = Some(message.clone());
        message.pass_on_by(self).await;
        self.unsent.take();
    }

    /// systemd's queue may be full for a moment; the wrapper never blocks on it.
    async fn send(&self, text: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            let socket = self.socket.get_ref().as_raw_fd();
            match sendmsg(socket, &[IoSlice::new(text)], rights, flags, Some(&self.systemd)) {
                Ok(_) => return,
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => sleep(pause).await,
                Err(error) => return warn!("a notification did not reach systemd: {}", error.desc()),
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        warn!("a notification did not reach systemd: it does not read");
    }
}

#[expect(unsafe_code, reason = "tokio takes no descriptor on trust")]
fn watched(socket: UnixDatagram) -> Result<AsyncFd<UnixDatagram>> {
    // SAFETY: a UnixDatagram owns one descriptor from its creation to its end and never exchanges it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.context("cannot watch for notifications")
}

/// What a process of the family says.
struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    sender: Option<UnixCredentials>,
}

impl Message {
    /// From root, from the wrapper's user, or from a process that descends from the wrapper.
    fn is_from_family(&self) -> bool {
        self.sender.is_some_and(|sender| {
            sender.uid() == 0 || sender.uid() == geteuid().as_raw() || descendants::descends(sender.pid())
        })
    }

    async fn pass_on_by(&self, notify_proxy: &NotifyProxy) {
        let text = without_main_pid(&self.text);
        let descriptors: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        if !text.is_empty() || !descriptors.is_empty() {
            notify_proxy.send(&text, &descriptors).await;
        }
    }
}

/// Reads one. nix would not say which descriptors came when there was no room for all, and they would stay open.
#[expect(unsafe_code, reason = "descriptors arrive as numbers")]
fn receive(from: &UnixDatagram) -> Result<Message, Errno> {
    let mut text = vec![0; LARGEST];
    let mut space: Vec<u8> = cmsg_space!(UnixCredentials, [RawFd; MOST_DESCRIPTORS]);
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: zeros are an empty header.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
    (header.msg_control, header.msg_controllen) = (space.as_mut_ptr().cast(), space.capacity());
    // SAFETY: the header's pointers are to memory of the given lengths, which outlives the call.
    let length =
        unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) };
    text.truncate(usize::try_from(Errno::result(length)?).unwrap_or_default());
    let mut message = Message { text, descriptors: Vec::new(), sender: None };
    // SAFETY: the kernel has filled the header and the space for control messages, whose lengths it gives; descriptors it
    // has just opened, for us alone.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(next);
            let size = control.cmsg_len - data.offset_from_unsigned(next.cast());
            if control.cmsg_type == libc::SCM_CREDENTIALS {
                message.sender = Some(data.cast::<libc::ucred>().read_unaligned().into());
            } else if control.cmsg_type == libc::SCM_RIGHTS {
                let numbers = (0..size / size_of::<RawFd>()).map(|at| data.cast::<RawFd>().add(at).read_unaligned());
                message.descriptors.extend(numbers.map(|number| OwnedFd::from_raw_fd(number)));
            }
            next = libc::CMSG_NXTHDR(&raw const header, next);
        }
    }
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        warn!("a notification of the command has lost descriptors: the wrapper may not open so many (ulimit -n)");
    }
    Ok(message)
}

/// The main process is the wrapper: it is the one that systemd waits for.
fn without_main_pid(text: &[u8]) -> Vec<u8> {
    let kept: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"MAINPID")).collect();
    kept.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_the_main_process_is_not_the_childs_to_say() {
        assert_eq!(without_main_pid(b"READY=1\nMAINPID=7\nSTATUS=up"), b"READY=1\nSTATUS=up");
        assert_eq!(without_main_pid(b"MAINPIDFDID=9\nMAINPID=7"), b"");
        assert_eq!(without_main_pid(b"WATCHDOG=1"), b"WATCHDOG=1");
    }
}

//! Notifications to systemd. systemd accepts them from the process that it started, which is the wrapper. So the child
//! gets a socket of the wrapper's, and the wrapper forwards what arrives there.
//!
//! With `--register-when=ready` there is such a socket without systemd as well, and the wrapper reads READY=1 there.
//!
//! The protocol of sd_notify(3): datagrams of NAME=VALUE lines, with descriptors.

use std::cell::RefCell;
use std::convert::Infallible;
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
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::options::{NotifyWhen, WrapperConfig};
use crate::process::descendants;
use crate::registration::Registration;

/// In bytes; systemd itself reads fewer.
const LARGEST: usize = 8192;
/// The most descriptors in one message (the kernel's SCM_MAX_FD).
const MOST_DESCRIPTORS: usize = 253;
/// No socket holds more datagrams (net.unix.max_dgram_qlen).
const LONGEST_QUEUE: usize = 1024;
/// After the first failed attempt to send; doubled after each further one.
const FIRST_RETRY: Duration = Duration::from_millis(1);
/// After a failed attempt to read, and the longest pause after one to send.
const LONGEST_RETRY: Duration = Duration::from_millis(20);
/// Attempts to send; together they take a second.
const ATTEMPTS: u32 = 55;

/// The time after which the wrapper says that systemd may be waiting for the child.
const READY_HINT: Duration = Duration::from_secs(15);

/// Infinity, for systemd.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Receives notifications from the child, and forwards them to systemd.
pub(super) struct NotifyProxy {
    socket: AsyncFd<UnixDatagram>,
    /// None without systemd.
    systemd: Option<UnixAddr>,
    /// The child's NOTIFY_SOCKET.
    pub address: OsString,
    /// The child has reported that it is ready.
    has_sent_ready: watch::Sender<bool>,
    /// A message that was read and not forwarded yet.
    unsent: RefCell<Option<Rc<Message>>>,
}

impl NotifyProxy {
    /// Opens the socket for the child; none if there is no systemd to notify, unless the wrapper itself wants to know
    /// when the child is ready. Must be called inside the event loop.
    pub(super) fn open(wants_ready: bool) -> Option<Self> {
        Self::bind(wants_ready).unwrap_or_else(|error| {
            warn!("the command's notifications do not go through the wrapper, and systemd may refuse them: {error:#}");
            None
        })
    }

    fn bind(wants_ready: bool) -> Result<Option<Self>> {
        let target = std::env::var_os("NOTIFY_SOCKET").unwrap_or_default();
        let systemd = match target.as_bytes() {
            [] if wants_ready => None,
            [b'@', name @ ..] => Some(UnixAddr::new_abstract(name)),
            path @ [b'/', ..] => Some(UnixAddr::new(path)),
            // None, or a socket of a virtual machine's host, which accepts notifications from every process.
            _ => return Ok(None),
        };
        let systemd = systemd.transpose().with_context(|| format!("NOTIFY_SOCKET {}", target.display()))?;
        // In the abstract namespace: a child that changes its user or its root directory can still use it.
        let name = format!("service-registry-wrapper/{}/{:x}", std::process::id(), fastrand::u64(..));
        let socket = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixDatagram::bind_addr(&address))
            .context("cannot listen for the command's notifications")?;
        socket.set_nonblocking(true).context("notifications")?;
        setsockopt(&socket, sockopt::PassCred, &true).context("notifications")?;
        let address = format!("@{name}").into();
        Ok(Some(Self {
            socket: register(socket)?,
            systemd,
            address,
            has_sent_ready: watch::Sender::new(false),
            unsent: RefCell::default(),
        }))
    }

    /// Forwards messages. Returns an error only.
    async fn run(&self) -> Result<Infallible> {
        loop {
            let mut ready = self.socket.readable().await.context("cannot wait for notifications")?;
            match receive(self.socket.get_ref()) {
                Ok(message) => self.forward(message).await,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => {
                    warn!("a notification of the command cannot be read: {}", error.desc());
                    sleep(LONGEST_RETRY).await;
                }
            }
        }
    }

    /// Forwards the remaining messages, once the child has exited.
    pub(super) async fn finish(&self) {
        if let Some(message) = self.unsent.take() {
            message.send_by(self).await;
        }
        for _ in 0..LONGEST_QUEUE {
            let Ok(message) = receive(self.socket.get_ref()) else { return };
            self.forward(message).await;
        }
    }

    /// Waits until the child has reported that it is ready.
    pub(super) async fn ready(&self) {
        let _ = self.has_sent_ready.subscribe().wait_for(|has_sent| *has_sent).await; // this is the sender itself
    }

    /// Sends a message on the child's behalf.
    async fn say(&self, text: &str) {
        self.send(text.as_bytes(), &[]).await;
    }

    async fn forward(&self, message: Message) {
        if !message.is_from_tree() {
            debug!(pid = message.sender.map(|sender| sender.pid()), "ignored a notification of an unrelated process");
            return;
        }
        let message = Rc::new(message);
        *self.unsent.borrow_mut() = Some(message.clone());
        message.send_by(self).await;
        self.unsent.take();
    }

    /// Sends a message. systemd's queue may be full for a moment; the wrapper never blocks on it.
    async fn send(&self, text: &[u8], descriptors: &[RawFd]) {
        let Some(systemd) = &self.systemd else { return };
        let mut descriptors = descriptors;
        let mut pause = FIRST_RETRY;
        for _ in 0..ATTEMPTS {
            let rights = [ControlMessage::ScmRights(descriptors)];
            let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            let socket = self.socket.get_ref().as_raw_fd();
            match sendmsg(socket, &[IoSlice::new(text)], rights, flags, Some(systemd)) {
                Ok(_) => return,
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => sleep(pause).await,
                Err(Errno::ETOOMANYREFS) if !descriptors.is_empty() => {
                    descriptors = &[];
                    warn!(
                        "a notification of the command goes to systemd without its descriptors: this user may not \
                         have this many on their way (ulimit -n)"
                    );
                    continue;
                }
                Err(error) => return warn!("a notification did not reach systemd: {}", error.desc()),
            }
            pause = (pause * 2).min(LONGEST_RETRY);
        }
        warn!("a notification did not reach systemd: it does not read");
    }
}

/// Forwards the child's notifications, and sends those that `--notify-when` asks for. Never returns.
pub(super) async fn notify(
    config: &WrapperConfig,
    proxy: Option<&NotifyProxy>,
    registration: &mut Registration,
) -> Infallible {
    let Some(proxy) = proxy else { return std::future::pending().await };
    let on_behalf = async {
        if proxy.systemd.is_none() {
            return;
        }
        match config.child_config.notify_when {
            Some(NotifyWhen::Registered) => {
                if !registration.status.borrow().registered {
                    // A registry that is down is no reason for systemd to stop the command.
                    proxy.say(&format!("EXTEND_TIMEOUT_USEC={}", A_YEAR.as_micros())).await;
                }
                registration.registered().await;
            }
            Some(NotifyWhen::Spawned) => {}
            None => {
                sleep(READY_HINT).await;
                if !*proxy.has_sent_ready.borrow() {
                    info!(
                        "the command has not sent READY=1 to systemd; if the unit has Type=notify and the command \
                         sends no notifications, set --notify-when=spawned"
                    );
                }
                return;
            }
        }
        proxy.say("READY=1").await;
    };
    let (_, forwarded) = tokio::join!(on_behalf, proxy.run());
    match forwarded {
        Ok(never) => match never {},
        Err(error) => warn!("the command's notifications do not reach systemd any more: {error:#}"),
    }
    std::future::pending().await
}

#[expect(unsafe_code, reason = "tokio wants a promise about the descriptor")]
fn register(socket: UnixDatagram) -> Result<AsyncFd<UnixDatagram>> {
    // SAFETY: a UnixDatagram owns one descriptor from its creation to its end and never exchanges it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.context("cannot watch for notifications")
}

/// A message from a process.
struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    sender: Option<UnixCredentials>,
}

impl Message {
    /// Returns whether the sender is root, the wrapper's user, or a descendant of the wrapper.
    fn is_from_tree(&self) -> bool {
        self.sender.is_some_and(|sender| {
            sender.uid() == 0 || sender.uid() == geteuid().as_raw() || descendants::descends(sender.pid())
        })
    }

    async fn send_by(&self, notify_proxy: &NotifyProxy) {
        let text = without_main_pid(&self.text);
        if text.split(|&byte| byte == b'\n').any(|line| line == b"READY=1") {
            notify_proxy.has_sent_ready.send_replace(true);
        }
        let descriptors: Vec<RawFd> = self.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        if !text.is_empty() || !descriptors.is_empty() {
            notify_proxy.send(&text, &descriptors).await;
        }
    }
}

/// Reads a message. With nix, descriptors of a message for which there was no room would stay open.
#[expect(unsafe_code, reason = "descriptors arrive as numbers")]
fn receive(from: &UnixDatagram) -> Result<Message, Errno> {
    let mut text = vec![0; LARGEST];
    let mut space: Vec<u8> = cmsg_space!(UnixCredentials, [RawFd; MOST_DESCRIPTORS]);
    let mut part = libc::iovec { iov_base: text.as_mut_ptr().cast(), iov_len: text.len() };
    // SAFETY: an empty header is all zeros.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
    header.msg_control = space.as_mut_ptr().cast();
    header.msg_controllen = space.capacity() as _; // 32 bits with musl
    // SAFETY: the header's pointers are to memory of the given lengths, which outlives the call.
    let length =
        unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) };
    text.truncate(usize::try_from(Errno::result(length)?).unwrap_or_default());
    let mut message = Message { text, descriptors: Vec::new(), sender: None };
    // SAFETY: the kernel has filled the header and the control messages, and states their lengths; it has just opened
    // the descriptors, for this process alone.
    unsafe {
        let mut next = libc::CMSG_FIRSTHDR(&raw const header);
        while let Some(control) = next.as_ref() {
            let data = libc::CMSG_DATA(next);
            let length: usize = control.cmsg_len as _; // 32 bits with musl
            let size = length - data.offset_from_unsigned(next.cast());
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
        warn!("a notification of the command has lost descriptors: the wrapper may not open this many (ulimit -n)");
    }
    Ok(message)
}

/// Removes MAINPID: the main process is the wrapper, for whose exit systemd waits.
fn without_main_pid(text: &[u8]) -> Vec<u8> {
    let kept: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"MAINPID")).collect();
    kept.join(&b'\n')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn main_pid_of_the_child_is_removed() {
        assert_eq!(without_main_pid(b"READY=1\nMAINPID=7\nSTATUS=up"), b"READY=1\nSTATUS=up");
        assert_eq!(without_main_pid(b"MAINPIDFDID=9\nMAINPID=7"), b"");
        assert_eq!(without_main_pid(b"WATCHDOG=1"), b"WATCHDOG=1");
    }
}

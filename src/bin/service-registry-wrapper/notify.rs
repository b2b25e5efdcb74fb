//! systemd's notifications. systemd listens to the process it started, which is the wrapper; so the child is given a socket
//! of the wrapper's, and what it says there is passed on.
//!
//! The protocol is that of sd_notify(3): datagrams of NAME=VALUE lines, descriptors beside them.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, UnixCredentials, recvmsg, sendmsg, setsockopt, sockopt,
};
use nix::unistd::geteuid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::tree;

/// More than systemd itself takes.
const LARGEST: usize = 8192;

/// Between the child and systemd.
pub(crate) struct Relay {
    socket: AsyncFd<UnixDatagram>,
    systemd: UnixAddr,
    /// For the child's NOTIFY_SOCKET.
    pub address: OsString,
}

impl Relay {
    /// Nothing if there is no systemd to notify. To be called inside the event loop.
    pub(crate) fn open() -> Result<Option<Self>> {
        let Some(target) = std::env::var_os("NOTIFY_SOCKET").filter(|target| !target.is_empty()) else {
            return Ok(None);
        };
        let systemd = match target.as_bytes() {
            [b'@', name @ ..] => UnixAddr::new_abstract(name),
            path => UnixAddr::new(path),
        };
        let systemd = systemd.with_context(|| format!("NOTIFY_SOCKET {}", target.display()))?;
        // In the abstract namespace, so that a child that changes its user or its root directory finds it.
        let name = format!("service-registry-wrapper/{}/{:x}", std::process::id(), fastrand::u64(..));
        let socket = SocketAddr::from_abstract_name(&name)
            .and_then(|address| UnixDatagram::bind_addr(&address))
            .context("cannot listen for the command's notifications")?;
        socket.set_nonblocking(true).context("notifications")?;
        setsockopt(&socket, sockopt::PassCred, &true).context("notifications")?;
        Ok(Some(Self { socket: watched(socket)?, systemd, address: format!("@{name}").into() }))
    }

    /// Passes on what the child says, for ever.
    pub(crate) async fn run(&self) -> Result<std::convert::Infallible> {
        loop {
            let mut ready = self.socket.readable().await.context("cannot wait for notifications")?;
            match receive(self.socket.get_ref()) {
                Ok(message) => self.pass_on(message).await,
                Err(Errno::EAGAIN) => ready.clear_ready(),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error).context("cannot read notifications"),
            }
        }
    }

    /// Says something on the child's behalf.
    pub(crate) async fn say(&self, text: &str) {
        self.send(text.as_bytes(), &[]).await;
    }

    async fn pass_on(&self, message: Message) {
        if !message.is_from_family() {
            debug!(pid = message.sender.map(|sender| sender.pid()), "a stranger's notification is not passed on");
            return;
        }
        let text = without_main_pid(&message.text);
        let descriptors: Vec<RawFd> = message.descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        if !text.is_empty() || !descriptors.is_empty() {
            self.send(&text, &descriptors).await;
        }
    }

    /// systemd's queue may be full for a moment; the wrapper never blocks on it.
    async fn send(&self, text: &[u8], descriptors: &[RawFd]) {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let rights = if descriptors.is_empty() { &[][..] } else { &rights[..] };
        for _ in 0..50 {
            let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
            let socket = self.socket.get_ref().as_raw_fd();
            match sendmsg(socket, &[IoSlice::new(text)], rights, flags, Some(&self.systemd)) {
                Ok(_) => return,
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENOBUFS) => sleep(Duration::from_millis(20)).await,
                Err(error) => return warn!("a notification did not reach systemd: {}", error.desc()),
            }
        }
        warn!("a notification did not reach systemd: it does not read");
    }
}

#[expect(unsafe_code, reason = "tokio takes no descriptor on trust")]
fn watched(socket: UnixDatagram) -> Result<AsyncFd<UnixDatagram>> {
    // SAFETY: a UnixDatagram owns one descriptor from its creation to its end and never exchanges it.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.context("cannot watch for notifications")
}

struct Message {
    text: Vec<u8>,
    descriptors: Vec<OwnedFd>,
    sender: Option<UnixCredentials>,
}

impl Message {
    /// From root, from the wrapper's user, or from a process that descends from the wrapper.
    fn is_from_family(&self) -> bool {
        self.sender.is_some_and(|sender| {
            sender.uid() == 0 || sender.uid() == geteuid().as_raw() || tree::descends(sender.pid())
        })
    }
}

#[expect(unsafe_code, reason = "descriptors arrive as numbers")]
fn receive(from: &UnixDatagram) -> Result<Message, Errno> {
    let mut text = vec![0; LARGEST];
    let mut space = cmsg_space!(UnixCredentials, [RawFd; 64]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<UnixAddr>(from.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut message = Message { text: Vec::new(), descriptors: Vec::new(), sender: None };
    for control in received.cmsgs()? {
        match control {
            ControlMessageOwned::ScmCredentials(sender) => message.sender = Some(sender),
            ControlMessageOwned::ScmRights(numbers) => {
                // SAFETY: the kernel has just opened them for us.
                message.descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
            }
            _ => {}
        }
    }
    let length = received.bytes;
    text.truncate(length);
    message.text = text;
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

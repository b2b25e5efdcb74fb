//! Waits until the addresses of this machine change, as the kernel tells it (rtnetlink(7)).

use std::convert::Infallible;
use std::future::pending;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;
use tracing::warn;

/// A change comes as several messages; and a new IPv6 address cannot be used before it is known to be unique.
const SETTLED: Duration = Duration::from_secs(1);

/// Calls `changed` after each change of addresses or routes. Never returns.
pub async fn watch_addresses(changed: impl Fn()) -> Infallible {
    let socket = match subscribe() {
        Ok(socket) => socket,
        Err(error) => {
            warn!("changes of this machine's addresses cannot be followed: {}", error.desc());
            return pending().await;
        }
    };
    #[expect(unsafe_code, reason = "tokio wants a promise about the descriptor")]
    // SAFETY: an OwnedFd owns one descriptor from its creation to its end and never exchanges it.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    let Ok(socket) = registered else { return pending().await };
    loop {
        let Ok(mut ready) = socket.readable().await else { return pending().await };
        ready.clear_ready();
        sleep(SETTLED).await;
        drain(&socket);
        changed();
    }
}

fn subscribe() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
    let groups =
        libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR | libc::RTMGRP_IPV4_ROUTE | libc::RTMGRP_IPV6_ROUTE;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups.cast_unsigned()))?;
    Ok(socket)
}

/// Reads all messages. What they say is looked up again anyway, so lost ones (ENOBUFS) do no harm.
fn drain(socket: &AsyncFd<OwnedFd>) {
    let mut message = [0; 4096];
    while !matches!(recv(socket.as_raw_fd(), &mut message, MsgFlags::empty()), Err(Errno::EAGAIN)) {}
}

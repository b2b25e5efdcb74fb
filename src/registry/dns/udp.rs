//! Queries over UDP.
//!
//! One task receives. It answers at once what it can, which is nearly all; a query that must wait for the data becomes
//! a task, of which there is a bounded number. So a flood takes no memory beyond the socket's buffer, and a part of one
//! processor.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use nix::cmsg_space;
use nix::libc::{in_pktinfo, in6_pktinfo};
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockaddrLike, SockaddrStorage, recvmsg, sendmsg,
    setsockopt,
};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::message::Transport;
use super::resolver::Resolver;
use super::source_limit::{SourceLimit, Verdict};

/// The most queries that wait for data.
const MAX_WAITING: usize = 256;
/// The most queries that are answered before other tasks get their turn.
const TURN: usize = 64;
/// The longest query that is read: a name, and options. A longer one is malformed then.
const MAX_QUERY: usize = 1_232;
/// The pause after an error of the socket, which may last.
const RETRY: Duration = Duration::from_millis(10);

/// A query, and the way back: a socket that listens on all addresses must answer from the one that was asked.
struct Datagram {
    bytes: Vec<u8>,
    peer: SocketAddr,
    asked: Option<OwnAddress>,
}

#[derive(Clone, Copy)]
enum OwnAddress {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

/// Prepares a socket.
pub(super) fn prepare(socket: &std::net::UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    match socket.local_addr()? {
        SocketAddr::V4(_) => setsockopt(socket, Ipv4PacketInfo, &true)?,
        SocketAddr::V6(_) => setsockopt(socket, Ipv6RecvPacketInfo, &true)?,
    }
    Ok(())
}

/// Answers queries, until the future is dropped together with the runtime.
pub(super) async fn serve(socket: Arc<UdpSocket>, resolver: Arc<Resolver>) {
    let (waiting, mut sources) = (Arc::new(Semaphore::new(MAX_WAITING)), SourceLimit::new());
    loop {
        if socket.readable().await.is_err() {
            sleep(RETRY).await;
        }
        for _ in 0..TURN {
            match receive(&socket) {
                Ok(datagram) => {
                    let verdict = sources.count(datagram.peer.ip());
                    handle(&socket, &resolver, &waiting, datagram, verdict);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    sleep(RETRY).await;
                    break;
                }
            }
        }
        yield_now().await;
    }
}

fn handle(
    socket: &Arc<UdpSocket>,
    resolver: &Arc<Resolver>,
    waiting: &Arc<Semaphore>,
    Datagram { bytes, peer, asked }: Datagram,
    verdict: Verdict,
) {
    let answer = match verdict {
        Verdict::Ignore => {
            resolver.drop_query();
            None
        }
        Verdict::Cut => resolver.cut(&bytes),
        Verdict::Answer => {
            let asks = resolver.clone();
            let mut answer = Box::pin(async move { asks.answer(bytes, Transport::Udp).await });
            match (&mut answer).now_or_never() {
                Some(answer) => answer,
                None => {
                    // Without a place the query is lost, as in a full socket; the asker repeats it.
                    let (Ok(place), socket) = (waiting.clone().try_acquire_owned(), socket.clone()) else {
                        return resolver.drop_query();
                    };
                    tokio::spawn(async move {
                        if let Some(answer) = answer.await {
                            send(&socket, &answer, peer, asked);
                        }
                        drop(place);
                    });
                    None
                }
            }
        }
    };
    if let Some(answer) = answer {
        send(socket, &answer, peer, asked);
    }
}

fn receive(socket: &UdpSocket) -> io::Result<Datagram> {
    socket.try_io(Interest::READABLE, || {
        let mut bytes = vec![0; MAX_QUERY];
        let mut control = cmsg_space!(in6_pktinfo);
        let (length, peer, asked) = {
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let received =
                recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
            let asked = received.cmsgs()?.find_map(|message| match message {
                // Without the interface: the route back may be another one.
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    Some(OwnAddress::V4(in_pktinfo { ipi_ifindex: 0, ..info }))
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => Some(OwnAddress::V6(info)),
                _ => None,
            });
            (received.bytes, received.address.and_then(|address| std_address(&address)), asked)
        };
        bytes.truncate(length);
        let peer = peer.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Datagram { bytes, peer, asked })
    })
}

/// Sends an answer. One that cannot be sent now is lost, as any datagram may be.
fn send(socket: &UdpSocket, answer: &[u8], peer: SocketAddr, asked: Option<OwnAddress>) {
    let control = asked.as_ref().map(|asked| match asked {
        OwnAddress::V4(info) => ControlMessage::Ipv4PacketInfo(info),
        OwnAddress::V6(info) => ControlMessage::Ipv6PacketInfo(info),
    });
    let parts = [IoSlice::new(answer)];
    let _ = socket.try_io(Interest::WRITABLE, || {
        let to = SockaddrStorage::from(peer);
        Ok(sendmsg(socket.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), Some(&to))?)
    });
}

fn std_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    match address.family()? {
        AddressFamily::Inet => address.as_sockaddr_in().map(|address| SocketAddrV4::from(*address).into()),
        AddressFamily::Inet6 => address.as_sockaddr_in6().map(|address| SocketAddrV6::from(*address).into()),
        _ => None,
    }
}

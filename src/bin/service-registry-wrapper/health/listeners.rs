//! The TCP sockets that listen in the network of a process, and the sockets that a process has open.
//!
//! Those of the wrapper's own network come from the kernel's socket diagnostics (sock_diag(7)), which look at listening
//! sockets only. The tables in /proc/PID/net, which show other networks as well, list every connection, and reading
//! them takes 60 times as long; they are read for a child in another network, and where there are no diagnostics.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, pid_t};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// The state of a socket that listens, as the kernel numbers them.
const LISTEN: u8 = 10;
/// The message for a request by family and protocol, and the reply (SOCK_DIAG_BY_FAMILY).
const BY_FAMILY: u16 = 20;
/// In bytes.
const HEADER: usize = 16;
/// In bytes: more than one datagram of a reply.
const BUFFER: usize = 32 << 10;

/// A socket that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub address: SocketAddr,
    pub inode: u64,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.address.ip().to_canonical() {
            IpAddr::V4(ip) if ip.is_unspecified() => " (all IPv4 addresses)",
            IpAddr::V6(ip) if ip.is_unspecified() => " (all addresses)",
            ip if ip.is_loopback() => " (loopback)",
            _ => "",
        };
        write!(f, "{}{kind}", self.address)
    }
}

/// Returns the sockets that listen in the network of a process.
pub(super) fn of(process: pid_t) -> Vec<Listener> {
    if !shares_network(process, std::process::id().cast_signed()) {
        return from_tables(process);
    }
    diagnosed().unwrap_or_else(|_| from_tables(process))
}

/// Returns whether two processes have the same network; true if that cannot be seen.
pub(super) fn shares_network(one: pid_t, other: pid_t) -> bool {
    let network = |process| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    one == other || network(one).zip(network(other)).is_none_or(|(one, other)| one == other)
}

/// Returns the inodes of a process's sockets; nothing if they cannot be seen.
pub(super) fn inodes(process: pid_t) -> Option<HashSet<u64>> {
    let open = match fs::read_dir(format!("/proc/{process}/fd")) {
        Ok(open) => open,
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => return None,
        Err(_) => return Some(HashSet::new()), // it has exited
    };
    let targets = open.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Some(
        targets
            .filter_map(|target| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok())
            .collect(),
    )
}

fn diagnosed() -> Result<Vec<Listener>, Errno> {
    let kernel =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        ask(&kernel, family as u8, &mut found)?;
    }
    Ok(found)
}

/// Asks for the listening sockets of a family: a `nlmsghdr`, and an `inet_diag_req_v2` without an address.
fn ask(kernel: &OwnedFd, family: u8, found: &mut Vec<Listener>) -> Result<(), Errno> {
    const LENGTH: usize = HEADER + 56;
    let mut request = [0; LENGTH];
    request[..4].copy_from_slice(&(LENGTH as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&((libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16).to_ne_bytes());
    request[HEADER] = family;
    request[HEADER + 1] = libc::IPPROTO_TCP as u8;
    request[HEADER + 4..HEADER + 8].copy_from_slice(&(1_u32 << LISTEN).to_ne_bytes());
    send(kernel.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = vec![0; BUFFER];
    loop {
        // The kernel has written the reply before `send` returned, or writes it now.
        let length = recv(kernel.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        if !read_reply(&buffer[..length], found)? {
            return Ok(());
        }
    }
}

/// Reads the messages of a datagram. Returns whether more will follow.
fn read_reply(mut datagram: &[u8], found: &mut Vec<Listener>) -> Result<bool, Errno> {
    while let Some(header) = datagram.get(..HEADER) {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let message = datagram.get(HEADER..length).ok_or(Errno::EBADMSG)?;
        match u16::from_ne_bytes([header[4], header[5]]) {
            BY_FAMILY => found.extend(listener_of(message)),
            kind if i32::from(kind) == libc::NLMSG_DONE => return Ok(false),
            _ => return Err(Errno::EOPNOTSUPP), // NLMSG_ERROR: there are no diagnostics for this family
        }
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(true)
}

/// Reads an `inet_diag_msg`: family and state, then the port and the address, and the inode at its end.
fn listener_of(message: &[u8]) -> Option<Listener> {
    let port = u16::from_be_bytes(message.get(4..6)?.try_into().ok()?);
    let ip = match i32::from(*message.first()?) {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(message.get(8..12)?).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(message.get(8..24)?).ok()?),
    };
    let inode = u32::from_ne_bytes(message.get(68..72)?.try_into().ok()?);
    Some(Listener { address: SocketAddr::new(ip, port), inode: inode.into() })
}

/// Reads the tables of a process's network. Sockets that listen come first in each.
fn from_tables(process: pid_t) -> Vec<Listener> {
    let mut found = Vec::new();
    for table in ["tcp", "tcp6"] {
        let Ok(file) = fs::File::open(format!("/proc/{process}/net/{table}")) else { continue };
        let lines = BufReader::new(file).lines().skip(1).map_while(Result::ok);
        found.extend(lines.map_while(|line| entry(&line)));
    }
    found
}

/// Reads a line of a table; nothing if that socket does not listen.
fn entry(line: &str) -> Option<Listener> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    if u8::from_str_radix(fields.get(3)?, 16).ok()? != LISTEN {
        return None;
    }
    // Each word of the address is printed as the number that its four bytes are on this machine.
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip = if ip.len() == 8 {
        IpAddr::from(Ipv4Addr::from(word(0)?))
    } else {
        let words = [word(0)?, word(8)?, word(16)?, word(24)?];
        IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_flattened()).ok()?))
    };
    let address = SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?);
    Some(Listener { address, inode: fields.get(9)?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn both_sources_find_a_socket_of_each_kind() {
        for (address, described) in [
            ("127.0.0.1:0", " (loopback)"),
            ("0.0.0.0:0", " (all IPv4 addresses)"),
            ("[::1]:0", " (loopback)"),
            ("[::]:0", " (all addresses)"),
        ] {
            let listener = TcpListener::bind(address).unwrap();
            let address = listener.local_addr().unwrap();
            let own = std::process::id().cast_signed();
            for all in [diagnosed().unwrap(), from_tables(own)] {
                let found = all.iter().find(|found| found.address == address).expect("it listens");
                assert_eq!(found.to_string(), format!("{address}{described}"));
                assert!(inodes(own).unwrap().contains(&found.inode));
            }
        }
    }

    #[test]
    fn connection_is_no_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let address = connection.local_addr().unwrap();
        for all in [diagnosed().unwrap(), from_tables(std::process::id().cast_signed())] {
            assert!(all.iter().all(|found| found.address != address));
        }
    }
}

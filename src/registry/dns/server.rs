//! The sockets, the options, and the thread that answers.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hickory_proto::rr::Name;
use tokio::sync::oneshot;

use super::records::Zone;
use super::resolver::Resolver;
use super::snapshots::Snapshots;
use super::{tcp, udp};
use crate::registry::http::App;

/// How often a free port is looked for that both protocols have.
const ATTEMPTS: usize = 16;

/// The longest domain: the names of services are below it.
const MAX_DOMAIN: usize = 100;

/// The longest time that records may be kept, as RFC 2181 has it.
const MAX_TTL: u32 = i32::MAX.unsigned_abs();

/// DNS answers about the services of a registry, over UDP and TCP; for
/// [`Registry::with_dns`](crate::registry::Registry::with_dns). Whoever can ask is answered.
#[derive(Debug)]
pub struct Dns {
    udp: UdpSocket,
    tcp: TcpListener,
    address: SocketAddr,
    domain: String,
    pub(in crate::registry) account: Option<String>,
    ttl: u32,
}

impl Dns {
    /// Listens on an address; port 0 takes a free one. It answers for the domain `registry.`, and says that answers
    /// may not be kept.
    ///
    /// # Errors
    ///
    /// If it cannot listen.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let mut outcome = bind_both(address);
        for _ in 1..ATTEMPTS {
            // The free port of one protocol may be taken in the other.
            if address.port() != 0 || outcome.is_ok() {
                break;
            }
            outcome = bind_both(address);
        }
        let (udp, tcp) = outcome?;
        udp::prepare(&udp)?;
        tcp.set_nonblocking(true)?;
        let address = tcp.local_addr()?;
        Ok(Self { udp, tcp, address, domain: "registry.".to_owned(), account: None, ttl: 0 })
    }

    /// Answers for this domain.
    ///
    /// # Errors
    ///
    /// If it is no domain, or leaves no room for the names of services.
    pub fn domain(self, domain: &str) -> Result<Self, &'static str> {
        let name = parse(domain).ok_or("no domain: give a name with dots between its parts, as in registry.")?;
        if name.is_root() || name.len() > MAX_DOMAIN {
            return Err("give a domain of 1 to 100 bytes, as in registry.");
        }
        Ok(Self { domain: domain.to_owned(), ..self })
    }

    /// Answers for this account (its number, or the name of a user) if the name has none.
    #[must_use]
    pub fn account(self, account: String) -> Self {
        Self { account: Some(account), ..self }
    }

    /// How long answers may be kept, in whole seconds.
    #[must_use]
    pub fn ttl(self, ttl: Duration) -> Self {
        Self { ttl: u32::try_from(ttl.as_secs()).unwrap_or(MAX_TTL).min(MAX_TTL), ..self }
    }

    /// Returns where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    fn zone(&self) -> Option<Zone> {
        let domain = parse(&self.domain)?;
        let below = |label: &str| domain.prepend_label(label).ok();
        let (name_server, hostmaster) = (below("ns")?, below("hostmaster")?);
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let serial = u32::try_from(started & u64::from(u32::MAX)).unwrap_or_default();
        Some(Zone { domain, name_server, hostmaster, address: self.address, ttl: self.ttl, serial })
    }
}

fn bind_both(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind(address)?;
    Ok((UdpSocket::bind(tcp.local_addr()?)?, tcp))
}

/// Parses a domain, with or without the dot at its end.
fn parse(domain: &str) -> Option<Name> {
    let mut name = Name::from_ascii(domain).ok()?.to_lowercase();
    name.set_fqdn(true);
    Some(name)
}

/// The thread that answers, until this is dropped.
#[derive(Debug)]
pub(in crate::registry) struct DnsThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Starts to answer. Programs without DNS never name this function, and do not contain what it calls.
pub(in crate::registry) fn start(dns: Dns, app: Arc<App>) -> io::Result<DnsThread> {
    let zone = dns.zone().ok_or_else(|| io::Error::other("the domain of DNS is too long"))?;
    let Dns { udp, tcp, account, .. } = dns;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    let resolver = Arc::new(Resolver { app, zone, account, snapshots: Snapshots::default() });
    let serve = async move {
        let udp = Arc::new(tokio::net::UdpSocket::from_std(udp)?);
        tokio::spawn(tcp::serve(tokio::net::TcpListener::from_std(tcp)?, resolver.clone()));
        let answering = async move {
            // A panic is a defect, and of one query alone.
            while let Err(error) = tokio::spawn(udp::serve(udp.clone(), resolver.clone())).await {
                tracing::error!(%error, "a DNS query had no answer; this is a defect");
            }
        };
        tokio::select! {
            () = answering => {}
            _ = stopped => {}
        }
        io::Result::Ok(())
    };
    let run = move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "DNS cannot be answered");
        }
    };
    let thread = thread::Builder::new().name("dns".to_owned()).spawn(run)?;
    Ok(DnsThread { stop: Some(stop), thread: Some(thread) })
}

impl Drop for DnsThread {
    fn drop(&mut self) {
        drop(self.stop.take()); // which ends its wait
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

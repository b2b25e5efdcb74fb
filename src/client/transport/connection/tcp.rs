//! Opens the TCP connection to one of the addresses of a host.
//!
//! The addresses are tried as in RFC 8305: the next one if one has refused, or has been silent for a moment, while
//! those before it may still answer. *Not* hyper-util's way, which gives each address of a family an equal part of the
//! time limit: with four addresses, one silent one took longer than short intervals leave.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_util::rt::TokioIo;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service;

use super::bound::{Bound, Bounded};
use super::resolver::look_up;

/// How long an address may be silent before the next one is tried as well: the pause that RFC 8305 recommends, and its
/// lower bound.
const PAUSE: Duration = Duration::from_millis(250);
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How soon a dead connection is detected: probes of an idle one, and the time for sent data to be acknowledged.
const PROBES: (Duration, u32) = (Duration::from_secs(15), 3);
#[cfg(target_os = "linux")]
const ACKNOWLEDGED: Duration = Duration::from_secs(30);

/// Opens TCP connections.
#[derive(Clone)]
pub(super) struct Tcp {
    /// The time that a request has for all addresses together.
    pub(super) limit: Duration,
    pub(super) first: FirstAddress,
    pub(super) bound: Bound,
}

/// The address of a host that is tried first, by its place among all: the last one that took a connection. After a
/// request without an answer it is the next one: something else may take connections there.
#[derive(Clone, Default)]
pub(super) struct FirstAddress(Arc<AtomicUsize>);

impl FirstAddress {
    pub(super) fn rotate(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Tcp {
    async fn open(self, to: Uri) -> io::Result<TokioIo<Bounded>> {
        let host = to.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let default_port = if to.scheme_str() == Some("https") { 443 } else { 80 };
        let port = to.port_u16().unwrap_or(default_port);
        let addresses = match host.parse::<IpAddr>() {
            Ok(address) => vec![SocketAddr::new(address, port)],
            Err(_) => alternating(look_up(host.to_owned(), port).await?),
        };
        let stream = match &*addresses {
            [only] => connect(*only).await?,
            _ => self.connect_to_one(&addresses).await?,
        };
        Ok(TokioIo::new(Bounded::new(stream, self.bound)))
    }

    async fn connect_to_one(&self, addresses: &[SocketAddr]) -> io::Result<TcpStream> {
        let count = addresses.len();
        let first = self.first.0.load(Ordering::Relaxed);
        let mut order = (0..count).map(|step| first.wrapping_add(step) % count);
        let pause = pause(self.limit, count);
        let mut attempts = JoinSet::new();
        let mut failure = None;
        loop {
            let next = order.next();
            if let Some(place) = next {
                let address = addresses[place];
                attempts.spawn(async move { connect(address).await.map(|stream| (place, stream)) });
            }
            let attempt = match next {
                Some(_) => timeout(pause, attempts.join_next()).await.unwrap_or(None),
                None => attempts.join_next().await,
            };
            match attempt {
                Some(Ok(Ok((place, stream)))) => {
                    self.first.0.store(place, Ordering::Relaxed);
                    return Ok(stream);
                }
                Some(Ok(Err(error))) => failure = failure.or(Some(error)),
                Some(Err(ended)) => failure = failure.or(Some(io::Error::other(ended))),
                None if next.is_some() => {} // silent so far
                None => break,
            }
        }
        Err(failure.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address")))
    }
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<Bounded>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        Box::pin(self.clone().open(to))
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    let options = SockRef::from(&socket);
    let probes = TcpKeepalive::new().with_time(PROBES.0).with_interval(PROBES.0).with_retries(PROBES.1);
    // Without these a connection works as well; only its end may be noticed late.
    let _ = options.set_tcp_keepalive(&probes);
    let _ = options.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = options.set_tcp_user_timeout(Some(ACKNOWLEDGED));
    socket.connect(address).await
}

/// Puts an address of the other family behind each one, so that a family without a route costs one pause.
fn alternating(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_first_family = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let (first, other): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == is_first_family);
    let mut other = other.into_iter();
    let mut mixed: Vec<_> = first.into_iter().flat_map(|address| [Some(address), other.next()]).flatten().collect();
    mixed.extend(other);
    mixed
}

/// Divides the time limit so that the last address has as much of it as the pause before it.
fn pause(limit: Duration, addresses: usize) -> Duration {
    let part = limit / u32::try_from(addresses).unwrap_or(u32::MAX).saturating_add(1);
    part.clamp(SHORTEST_PAUSE, PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_tried_within_the_limit() {
        for interval in (3..=120).map(Duration::from_secs) {
            for count in 1..=64 {
                let limit = interval / 4;
                let pauses = pause(limit, count) * u32::try_from(count - 1).unwrap();
                assert!(pauses < limit, "{interval:?} {count}");
            }
        }
        assert_eq!(pause(Duration::from_secs(10), 4), PAUSE);
    }

    #[test]
    fn families_alternate_in_the_given_order() {
        let addresses = |list: &[&str]| list.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let given = addresses(&["[::1]:1", "[::2]:1", "[::3]:1", "127.0.0.1:1"]);
        assert_eq!(alternating(given), addresses(&["[::1]:1", "127.0.0.1:1", "[::2]:1", "[::3]:1"]));
        let given = addresses(&["127.0.0.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]);
        assert_eq!(alternating(given), addresses(&["127.0.0.1:1", "[::1]:1", "[::2]:1", "[::3]:1"]));
        assert!(alternating(Vec::new()).is_empty());
    }
}

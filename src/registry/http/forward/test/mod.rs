//! Two registries in one process, one of which forwards to the other; owners that misbehave; and a client that sees
//! every byte.

mod answers;
mod broken;
mod follow;
mod handover;
#[cfg(feature = "dns")]
mod lookup;
mod moves;
mod seal;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use url::Url;

use super::address::Location;
use super::peers::{Peers, PeersConfig};
use crate::registry::access::Authenticator;
use crate::registry::config::Compatibility;
use crate::registry::engine::Engine;
use crate::registry::http::app::{App, Home};
use crate::registry::http::connection::{self, Timeouts, Tls};
use crate::registry::model::{Clock, Keys};
use crate::registry::state::State;

/// How long a test waits before it gives up.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const SECRET: [u8; 32] = [7; 32];
pub(super) const OWNER: &str = "00000000000000aa";
pub(super) const FRONT: &str = "00000000000000bb";

/// A shard and its bytes.
type Handover = (u16, Vec<u8>);

/// Where all shards are.
#[derive(Clone, Debug)]
pub(in crate::registry::http) struct Table {
    location: Arc<Mutex<Location<()>>>,
    changed: Arc<Notify>,
    /// The last handover.
    taken: Arc<Mutex<Option<Handover>>>,
}

impl Table {
    pub(super) fn new(location: Location<()>) -> Self {
        Self { location: Arc::new(Mutex::new(location)), changed: Arc::default(), taken: Arc::default() }
    }

    pub(super) fn set(&self, location: Location<()>) {
        *self.location.lock().unwrap() = location;
        self.changed.notify_waiters();
    }

    pub(in crate::registry::http) fn take(&self, shard: u16, bytes: Vec<u8>) {
        *self.taken.lock().unwrap() = Some((shard, bytes));
    }

    pub(super) fn taken(&self) -> Option<Handover> {
        self.taken.lock().unwrap().take()
    }

    pub(in crate::registry::http) fn place(&self) -> impl Fn() -> Location<()> + Clone + Send + use<> {
        let location = self.location.clone();
        move || location.lock().unwrap().clone()
    }

    pub(in crate::registry::http) fn changed(
        &self,
    ) -> impl Fn() -> tokio::sync::futures::OwnedNotified + Clone + Send + use<> {
        let changed = self.changed.clone();
        move || changed.clone().notified_owned()
    }
}

/// The place of a node with the id of the owner.
pub(super) fn at(address: SocketAddr) -> Location<()> {
    Location::At { node: OWNER.to_owned(), url: format!("http://{address}").parse().unwrap() }
}

pub(super) fn peers(node: &str) -> Peers {
    Peers::new(PeersConfig { node: node.to_owned(), key: SECRET, ca: None, identity: None }).unwrap()
}

/// A registry that serves.
pub(super) struct Node {
    pub(super) address: SocketAddr,
    pub(super) table: Table,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

impl Node {
    /// One that answers everything itself.
    pub(super) async fn owner(clock: &Clock) -> Self {
        Self::start(clock, Location::Here(()), None, peers(OWNER)).await
    }

    /// One that answers nothing itself.
    pub(super) async fn front(clock: &Clock, location: Location<()>) -> Self {
        Self::start(clock, location, None, peers(FRONT)).await
    }

    pub(super) async fn start(clock: &Clock, location: Location<()>, tls: Option<Tls>, peers: Peers) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let keys = Arc::new(Keys::of_bytes(&[9; 32]).unwrap());
        let engine = Engine::new(clock.clone(), State::new(keys.clone()), None, Arc::default()).unwrap();
        let authenticator = Authenticator::new(keys, None);
        let (names, compatibility) = (vec!["registry.test".to_owned()], Compatibility::default());
        let mut app = App::new(
            Home::Alone(Arc::new(engine)),
            authenticator,
            tls,
            address,
            names,
            compatibility,
            Timeouts::default(),
        )
        .for_connections(1000, Vec::new());
        let table = Table::new(location);
        (app.peers, app.table) = (Some(Arc::new(peers)), Some(table.clone()));
        let (stop, stopped) = oneshot::channel::<()>();
        let served = connection::serve(Arc::new(app), listener, 1000, None, async move { drop(stopped.await) });
        Self { address, table, stop: Some(stop), served: tokio::spawn(served) }
    }

    /// Stops it, and waits for its end.
    pub(super) async fn stop(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, &mut self.served).await.unwrap().unwrap();
    }
}

/// A connection of a client.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        Self::connect_from("127.0.0.1", address).await
    }

    pub(super) async fn connect_from(own: &str, address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{own}:0").parse().unwrap()).unwrap();
        Self { stream: socket.connect(address).await.unwrap(), unread: Vec::new() }
    }

    pub(super) async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.unwrap();
    }

    /// Sends a request and returns the whole answer.
    pub(super) async fn ask(&mut self, method: &str, target: &str, headers: &str, body: &str) -> String {
        self.send(&request(method, target, headers, body)).await;
        self.answer(method == "HEAD").await
    }

    /// Returns the next answer with its body.
    pub(super) async fn answer(&mut self, has_no_body: bool) -> String {
        let mut text = self.until("\r\n\r\n").await;
        if !has_no_body && let Some(length) = header(&text, "content-length") {
            let length = length.parse().unwrap();
            while self.unread.len() < length {
                assert!(self.more().await > 0, "the body breaks off: {text}");
            }
            let body: Vec<u8> = self.unread.drain(..length).collect();
            text.push_str(&String::from_utf8(body).unwrap());
        }
        text
    }

    /// Returns everything up to this text.
    pub(super) async fn until(&mut self, end: &str) -> String {
        let start = std::time::Instant::now();
        loop {
            assert!(start.elapsed() < PATIENCE, "no {end:?}: {}", String::from_utf8_lossy(&self.unread));
            let found = self.unread.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                let text = self.unread.drain(..at + end.len()).collect();
                return String::from_utf8(text).unwrap();
            }
            assert!(self.more().await > 0, "it ends before {end:?}: {}", String::from_utf8_lossy(&self.unread));
        }
    }

    /// Returns everything up to the end of the connection.
    pub(super) async fn rest(&mut self) -> String {
        while self.more().await > 0 {}
        String::from_utf8(std::mem::take(&mut self.unread)).unwrap()
    }

    /// Reads once; nothing is left to read after the end, however that came.
    pub(super) async fn more(&mut self) -> usize {
        let read = self.stream.read_buf(&mut self.unread);
        timeout(PATIENCE, read).await.expect("in time").unwrap_or(0)
    }
}

pub(super) fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: registry.test\r\n{headers}{length}\r\n{body}")
}

/// Returns the value of a header.
pub(super) fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
}

pub(super) fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// An owner of a test's own: each connection is given to `serve`, with the head and body of its first request.
pub(super) async fn fake_owner<F>(serve: impl Fn(Client, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(Client { stream, unread: Vec::new() }, number));
        }
    });
    address
}

/// An address at which nobody listens.
pub(super) async fn deserted() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

pub(super) fn url(address: SocketAddr) -> Url {
    format!("http://{address}").parse().unwrap()
}

//! Queries over TCP: for answers that do not fit into a datagram.
//!
//! The connections are few, and closed when nothing is asked on them. If there is one more, the one that has been
//! quiet longest makes room. Queries of a connection are answered one after the other, so that each connection has one
//! answer in memory.

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::message::Transport;
use super::resolver::Resolver;

const MAX_CONNECTIONS: usize = 256;
/// The most of one address, except loopback, where a resolver asks for many.
const MAX_OF_ADDRESS: usize = 32;
/// How long nothing may be asked.
const IDLE: Duration = Duration::from_secs(10);
/// How long a query may take to arrive, and an answer to leave.
const TRANSFER: Duration = Duration::from_secs(5);
/// The longest query: a name, and options.
const MAX_QUERY: usize = 4_096;
/// The pause after a connection could not be accepted: the process has no descriptor left, and may have one soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts connections, until the future is dropped together with the runtime.
pub(super) async fn serve(listener: TcpListener, resolver: Arc<Resolver>) {
    let connections = Arc::new(Connections { started: Instant::now(), open: Mutex::default() });
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => connections.add(stream, peer.ip(), &resolver),
            Err(_) => sleep(ACCEPT_RETRY).await,
        }
    }
}

#[derive(Debug)]
struct Connections {
    started: Instant,
    open: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    address: IpAddr,
    /// When the last query came, in milliseconds since the start.
    last: Arc<AtomicU64>,
    task: AbortHandle,
}

impl Connections {
    fn add(self: &Arc<Self>, stream: TcpStream, address: IpAddr, resolver: &Arc<Resolver>) {
        let mut open = self.lock();
        open.retain(|connection| !connection.task.is_finished());
        let of_address = open.iter().filter(|connection| connection.address == address).count();
        if of_address >= MAX_OF_ADDRESS && !address.to_canonical().is_loopback() {
            return;
        }
        if open.len() >= MAX_CONNECTIONS {
            let quiet = open.iter().enumerate().min_by_key(|(_, connection)| connection.last.load(Ordering::Relaxed));
            if let Some(index) = quiet.map(|(index, _)| index) {
                open.swap_remove(index).task.abort();
            }
        }
        let last = Arc::new(AtomicU64::new(self.now()));
        let (connections, resolver, touched) = (self.clone(), resolver.clone(), last.clone());
        let touch = move || touched.store(connections.now(), Ordering::Relaxed);
        let task = tokio::spawn(async move { drop(answer_all(stream, &resolver, touch).await) }).abort_handle();
        open.push(Open { address, last, task });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the queries of a connection until it is closed, or too quiet or too slow.
async fn answer_all(mut stream: TcpStream, resolver: &Resolver, touch: impl Fn()) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let length = usize::from(timeout(IDLE, stream.read_u16()).await??);
        if length > MAX_QUERY {
            return Ok(());
        }
        touch();
        let mut query = vec![0; length];
        timeout(TRANSFER, stream.read_exact(&mut query)).await??;
        let Some(answer) = resolver.answer(query, Transport::Tcp).await else { return Ok(()) };
        let Ok(length) = u16::try_from(answer.len()) else { return Ok(()) };
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        timeout(TRANSFER, stream.write_all(&framed)).await??;
    }
}

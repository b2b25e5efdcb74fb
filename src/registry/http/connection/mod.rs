//! Accepts connections, and serves HTTP/1.1 on each until it is told to stop.

mod limit;
mod response_body;
mod stream;
mod timeouts;
mod tls;

pub(super) use response_body::{ByteStream, ResponseBody};
pub use timeouts::Timeouts;
pub use tls::{Tls, TlsFiles};

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::app::{App, Home};
use super::context::{Caller, Door};
use super::dispatch;
use limit::{ConnectionTable, Permit};
use stream::{TimedStream, Wire};

/// The most headers; clients of the API send at most a dozen.
const MAX_HEADERS: usize = 64;
/// The largest head, and so the largest buffer of an idle connection, in bytes.
const MAX_BUFFER: usize = 16 * 1024;
/// The most connections to the listener of the metrics.
const MOST_SCRAPES: usize = 64;
/// How long requests under way may take after the stop.
const LAST_CALL: Duration = Duration::from_secs(5);
/// How long a request that has arrived may take until it is seen to be under way.
const MOMENT: Duration = Duration::from_millis(100);
/// How long connections are accepted at most after the stop.
const LAST_ACCEPTS: Duration = Duration::from_millis(500);
/// The pause after a connection could not be accepted: the process has no descriptor left, and may have one soon.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// How many bytes of an unread response the system buffers; Linux doubles it. Without a limit it buffers megabytes for
/// each connection, and spends the time to fill them.
#[cfg(unix)]
const SEND_BUFFER: usize = 128 * 1024;

/// Sets the size of the send buffers of all connections that this listener will accept.
pub(crate) fn bound_send_buffers(listener: &std::net::TcpListener) -> std::io::Result<()> {
    #[cfg(unix)]
    nix::sys::socket::setsockopt(listener, nix::sys::socket::sockopt::SndBuf, &SEND_BUFFER)?;
    #[cfg(not(unix))]
    let _ = listener;
    Ok(())
}

/// Serves until `shutdown` is ready. Dropping the future ends everything that it started.
pub(crate) async fn serve(
    app: Arc<App>,
    listener: TcpListener,
    max_connections: usize,
    metrics: Option<TcpListener>,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut background = JoinSet::new();
    match &app.home {
        Home::Alone(engine) => {
            let engine = engine.clone();
            background.spawn(async move { engine.keep_swept().await });
        }
        #[cfg(feature = "etcd")]
        Home::Cluster(cluster) => {
            let node = cluster.node.clone();
            background.spawn(async move { match node.live().await {} });
            let node = cluster.node.clone();
            background.spawn(async move { match node.look_after_etcd().await {} });
        }
    }
    let connections = ConnectionTable::new(max_connections, app.timeouts, app.metrics.counters.clone());
    let _end = AbortAll(connections.clone());
    let graceful = GracefulShutdown::new();
    let begin = |stream, place: Permit| {
        let connection = place.connection.clone();
        let served = tokio::spawn(converse(app.clone(), stream, place, Door::Main, graceful.watcher()));
        connection.served_by(served.abort_handle());
    };
    if let Some(metrics) = metrics {
        background.spawn(serve_metrics(app.clone(), metrics));
    }
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, from) = accept(&listener) => {
                let place = tokio::select! {
                    biased; // otherwise a connection that can be served might be dropped
                    place = connections.acquire(from) => place,
                    () = &mut shutdown => break,
                };
                begin(stream, place);
            }
        }
    }
    // The system would reset those that it has accepted already. It may take a moment until the runtime knows of them.
    let end = Instant::now() + LAST_ACCEPTS;
    while let Ok((stream, from)) = timeout(MOMENT, accept(&listener)).await {
        let Some(place) = connections.acquire(from).now_or_never() else { break };
        begin(stream, place);
        if Instant::now() >= end {
            break; // they do not end
        }
    }
    drop(listener);
    app.interrupts.stop();
    sleep(MOMENT).await; // hyper would close connections whose first request is still on its way
    let closing = async {
        loop {
            sleep(MOMENT).await;
            connections.close_without_request();
        }
    };
    tokio::select! {
        () = graceful.shutdown() => {}
        () = closing => {}
        () = sleep(LAST_CALL) => tracing::warn!("some connections were still busy, and are cut"),
    }
}

/// Serves the metrics on their own listener, without TLS and users. It has connections of its own, so that a flood on
/// the other one hides nothing; they end with the future.
async fn serve_metrics(app: Arc<App>, listener: TcpListener) {
    let connections = ConnectionTable::new(MOST_SCRAPES, app.timeouts, Arc::default());
    let _end = AbortAll(connections.clone());
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, from) = accept(&listener).await;
        let place = connections.acquire(from).await;
        let connection = place.connection.clone();
        let served = tokio::spawn(converse(app.clone(), stream, place, Door::Metrics, graceful.watcher()));
        connection.served_by(served.abort_handle());
    }
}

/// Ends all connections when it is dropped. Finished tasks are not collected one by one, which would cost a wake-up
/// each.
struct AbortAll(Arc<ConnectionTable>);

impl Drop for AbortAll {
    fn drop(&mut self) {
        self.0.abort_all();
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => return (stream, from.ip().to_canonical()),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

/// Serves one connection, from its first byte to its end.
async fn converse(app: Arc<App>, stream: TcpStream, place: Permit, door: Door, watcher: Watcher) {
    if let Err(error) = serve_requests(app, stream, &place, door, watcher).await {
        tracing::debug!(error, "a connection ended early");
    }
}

async fn serve_requests(
    app: Arc<App>,
    stream: TcpStream,
    place: &Permit,
    door: Door,
    watcher: Watcher,
) -> Result<(), String> {
    let _ = stream.set_nodelay(true); // a response is one packet, which would otherwise wait for an acknowledgement
    let local = stream.local_addr().map_err(|error| error.to_string())?.ip().to_canonical();
    let tls = app.tls().filter(|_| door == Door::Main);
    let caller = Caller { address: place.connection.address, local, is_secure: tls.is_some(), door };
    let wire = match tls {
        None => Wire::Plain(stream),
        Some(config) => {
            let shaken = timeout(app.timeouts.handshake, TlsAcceptor::from(config).accept(stream)).await;
            let stream = shaken.map_err(|_| "the TLS handshake took too long")?;
            Wire::Tls(Box::new(stream.map_err(|error| format!("TLS: {error}"))?))
        }
    };
    let (app, connection) = (&app, &place.connection);
    let service = service_fn(async |request| {
        connection.begin();
        let mut answer = dispatch::handle(app, request, caller, &|| place.prove()).await;
        answer.body_mut().end_request(connection);
        Ok::<_, Infallible>(answer)
    });
    let connection = http1::Builder::new()
        .header_read_timeout(None) // `TimedStream` has limits of its own
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .half_close(true) // a client that sends no more may still wait; checking would cost a buffer each time
        .writev(true) // otherwise hyper would copy as many responses as are requested, read or not
        .serve_connection(TokioIo::new(TimedStream::new(wire, place.connection.clone())), service);
    watcher.watch(connection).await.map_err(|error| error.to_string())
}

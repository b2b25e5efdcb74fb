//! Accepting connections, and serving HTTP/1.1 on each until told to stop.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Front;

/// How long a connection may stay without a whole request head. Holders beat on one connection at intervals of up to
/// the longest timeout, 120 s, and must find it open.
const IDLE: Duration = Duration::from_secs(150);
/// No client of the API sends more than a dozen.
const MAX_HEADERS: usize = 64;
/// What a request head may take, and so what a silent connection can cost.
const MAX_BUFFER: usize = 16 * 1024;
/// How long requests under way may take once the end has been called.
const LAST_CALL: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted: the process has no descriptor left, and may have one soon.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `shutdown` is ready. Dropping the future ends everything it started.
pub(crate) async fn serve(
    front: Arc<Front>,
    listener: TcpListener,
    max_connections: usize,
    shutdown: impl Future<Output = ()>,
) {
    let mut shutdown = pin!(shutdown);
    let mut background = JoinSet::new();
    let keeper = front.clone();
    background.spawn(async move { keeper.engine.keep_swept().await });
    let slots = Arc::new(Semaphore::new(max_connections));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            (stream, slot) = accept(&listener, &slots) => {
                connections.spawn(converse(front.clone(), stream, slot, &graceful));
            }
            Some(_) = connections.join_next() => {} // only to forget it
        }
    }
    drop(listener);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = sleep(LAST_CALL) => tracing::warn!("some connections were still busy, and are cut"),
    }
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let slot = slots.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
}

/// One connection, from its first request to its end.
fn converse(
    front: Arc<Front>,
    stream: TcpStream,
    slot: Option<OwnedSemaphorePermit>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let _ = stream.set_nodelay(true); // an answer is one packet; without this it may wait for an acknowledgement
    let service = service_fn(move |request| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.handle(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .pipeline_flush(true)
        .serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection ended early");
        }
        drop(slot);
    }
}

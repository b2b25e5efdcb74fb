//! Opens connections: directly to the registry or through a proxy, with TLS for https.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::time::timeout;
use tower_service::Service;

use super::bound::{Bound, Bounded};
use super::resolver::Resolver;

/// More than a lost packet costs, less than the limit of most heartbeats.
const CONNECTING: Duration = Duration::from_secs(3);
/// How soon a dead connection is detected: probes of an idle one, and the time for sent data to be acknowledged.
const PROBES: (Duration, u32) = (Duration::from_secs(15), 3);
const ACKNOWLEDGED: Duration = Duration::from_secs(30);

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Opening<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    tls: Arc<ClientConfig>,
    proxies: Option<Arc<Matcher>>,
}

impl Connector {
    /// The proxies, for the addresses that they are for.
    pub(super) fn new(tls: ClientConfig, proxies: Option<Arc<Matcher>>) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(Resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Divided among the addresses of a name, so that a silent one leaves time for the others.
        tcp.set_connect_timeout(Some(CONNECTING));
        tcp.set_keepalive(Some(PROBES.0));
        tcp.set_keepalive_interval(Some(PROBES.0));
        tcp.set_keepalive_retries(Some(PROBES.1));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(ACKNOWLEDGED));
        Self { tcp, tls: Arc::new(tls), proxies }
    }

    async fn open(self, to: Uri) -> Result<Link, BoxError> {
        let bound = Bound::new();
        let first = HttpsConnector::from((Tcp { tcp: self.tcp, bound: bound.clone() }, self.tls.clone()));
        let proxy = self.proxies.and_then(|proxies| proxies.intercept(&to));
        let is_proxied = proxy.is_some() && to.scheme() != Some(&Scheme::HTTPS);
        let stream: Box<dyn Stream> = match proxy {
            None => Box::new({ first }.call(to).await?),
            Some(proxy) if is_proxied => Box::new({ first }.call(proxy.uri().clone()).await?),
            Some(proxy) => Box::new(HttpsConnector::from((tunnel(&proxy, first), self.tls)).call(to).await?),
        };
        Ok(Link { stream, bound, is_proxied })
    }
}

fn tunnel<C>(proxy: &Intercept, first: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), first);
    match proxy.basic_auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = BoxError;
    type Future = Opening<Link>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let opening = self.clone().open(to);
        Box::pin(async { timeout(CONNECTING, opening).await.map_err(io::Error::from)? })
    }
}

/// Opens the TCP connection.
#[derive(Clone)]
struct Tcp {
    tcp: HttpConnector<Resolver>,
    bound: Bound,
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<Bounded>;
    type Error = BoxError;
    type Future = Opening<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (opening, bound) = (self.tcp.call(to), self.bound.clone());
        Box::pin(async { Ok(TokioIo::new(Bounded::new(opening.await?.into_inner(), bound))) })
    }
}

trait Stream: Read + Write + Connection + Send + Unpin {}
impl<T: Read + Write + Connection + Send + Unpin> Stream for T {}

/// A connection for HTTP. Each write is a request.
pub(super) struct Link {
    stream: Box<dyn Stream>,
    bound: Bound,
    is_proxied: bool,
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        // Responses carry the bound as well, so that it can be set for their bodies.
        self.stream.connected().proxy(self.is_proxied).extra(self.bound.clone())
    }
}

impl Read for Link {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl Write for Link {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.bound.expect_head();
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.bound.expect_head();
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

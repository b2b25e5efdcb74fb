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
use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::time::timeout;
use tower_service::Service;

use super::bound::Bound;
use super::proxy::{Proxies, Proxy};
use super::tcp::{FirstAddress, Tcp};
use super::tls::Tls;

/// More than a lost packet costs, less than the limit of most heartbeats.
const CONNECTING: Duration = Duration::from_secs(3);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections.
#[derive(Clone)]
pub(super) struct Connector {
    /// The time limit of a request.
    pub(super) limit: Duration,
    pub(super) proxies: Option<Arc<Proxies>>,
    /// None if neither the URLs nor their proxies need it.
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) first_address: FirstAddress,
}

impl Connector {
    async fn open(self, to: Uri) -> Result<Link, BoxError> {
        let bound = Bound::new();
        let proxy = self.proxies.as_ref().and_then(|proxies| proxies.find(to.scheme_str(), to.host()));
        let first = proxy.map_or(&to, Proxy::uri).clone();
        check_scheme(&first, proxy)?;
        let limit = self.limit.min(CONNECTING);
        let mut tcp = Tcp { limit, first: self.first_address, bound: bound.clone() };
        let is_secure = to.scheme() == Some(&Scheme::HTTPS);
        let stream: Box<dyn Stream> = if is_secure || first.scheme() == Some(&Scheme::HTTPS) {
            let tls = self.tls.ok_or_else(|| io::Error::other("TLS is not set up"))?;
            let tls = tls.current(limit / 2).await; // the other half is for connecting
            let mut connector = HttpsConnector::from((tcp, tls.clone()));
            match proxy {
                Some(proxy) if is_secure => {
                    Box::new(HttpsConnector::from((tunnel(proxy, connector), tls)).call(to.clone()).await?)
                }
                _ => Box::new(connector.call(first).await?),
            }
        } else {
            Box::new(tcp.call(first).await?)
        };
        Ok(Link { stream, bound, is_proxied: proxy.is_some() && !is_secure })
    }
}

/// Refuses a proxy that does not speak HTTP.
fn check_scheme(first: &Uri, proxy: Option<&Proxy>) -> io::Result<()> {
    match (first.scheme_str(), proxy) {
        (Some("http" | "https"), _) | (_, None) => Ok(()),
        (scheme, Some(proxy)) => {
            let (scheme, variable) = (scheme.unwrap_or_default(), proxy.variable);
            Err(io::Error::other(format!("{variable} names a {scheme} proxy, which is not supported")))
        }
    }
}

fn tunnel<C>(proxy: &Proxy, first: C) -> Tunnel<C> {
    let tunnel = Tunnel::new(proxy.uri().clone(), first);
    match proxy.auth() {
        Some(auth) => tunnel.with_auth(auth.clone()),
        None => tunnel,
    }
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Link, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let opening = self.clone().open(to);
        Box::pin(async { timeout(CONNECTING, opening).await.map_err(io::Error::from)? })
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

//! Bounds how many bytes of a registry are read before a response begins. Otherwise one that sends interim responses
//! without end would be read as fast as it can send.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// In bytes, before the first request: for TLS and a proxy.
const OPENING: usize = 256 << 10;
/// In bytes, from a request to the end of its response's head, with all interim responses.
const HEAD: usize = 64 << 10;

/// How many more bytes may be read of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Arc<AtomicUsize>);

impl Bound {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicUsize::new(OPENING)))
    }

    /// Sets the bound for the head of a response.
    pub(super) fn expect_head(&self) {
        self.expect_body(HEAD);
    }

    /// Sets the bound for a body.
    pub(crate) fn expect_body(&self, bytes: usize) {
        self.0.store(bytes, Ordering::Relaxed);
    }
}

/// The bound is reached.
#[derive(Debug)]
pub(crate) struct TooMuch;

impl std::error::Error for TooMuch {}

impl fmt::Display for TooMuch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more was sent than is accepted")
    }
}

/// A connection that is read up to its bound only.
pub(super) struct Bounded {
    stream: TcpStream,
    bound: Bound,
}

impl Bounded {
    pub(super) fn new(stream: TcpStream, bound: Bound) -> Self {
        Self { stream, bound }
    }
}

impl AsyncRead for Bounded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, bound } = self.get_mut();
        let left = bound.0.load(Ordering::Relaxed);
        if left == 0 {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let before = buf.filled().len();
        let read = if buf.remaining() <= left {
            Pin::new(stream).poll_read(cx, buf)
        } else {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(left));
            let read = Pin::new(stream).poll_read(cx, &mut part);
            let count = part.filled().len();
            buf.advance(count);
            read
        };
        let count = buf.filled().len() - before;
        let _ = bound.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(count)));
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

impl Connection for Bounded {
    fn connected(&self) -> Connected {
        self.stream.connected()
    }
}

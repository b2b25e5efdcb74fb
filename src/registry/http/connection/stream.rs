//! The byte stream of a connection, with time limits: it ends after too long a silence, when a head arrives too slowly,
//! and when a response is not read.
//!
//! hyper's own time limit for heads also counts the silence before them, and leases may be silent for minutes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;

use super::limit::Connection;

/// How often a connection without a deadline is checked, while it is busy.
const BUSY_CHECK: Duration = Duration::from_secs(10);

/// In bytes a second: a client that reads a response more slowly is disconnected.
const SLOWEST: u64 = 8 << 10;

/// In bytes: most responses are smaller, head and body together.
const SMALL: usize = 512;

/// The underlying stream.
#[derive(Debug)]
pub(super) enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream with time limits.
#[derive(Debug)]
pub(super) struct TimedStream {
    wire: Wire,
    connection: Arc<Connection>,
    /// The phase of the connection when it last had to wait.
    seen: u64,
    alarm: Pin<Box<Sleep>>,
    /// The task that the timer wakes.
    woken: Option<Waker>,
    /// The other side will send no more.
    is_over: bool,
    /// The response that the other side has not read at once.
    unread: Option<Unread>,
}

/// An unread response: since when it waits, and how many of its bytes were read since then.
#[derive(Clone, Copy, Debug)]
struct Unread {
    since: Instant,
    taken: u64,
}

impl Unread {
    /// Returns how long it may wait. A client that reads gets more time, up to a limit.
    fn deadline(self, timeouts: Duration) -> Instant {
        self.since + timeouts + Duration::from_secs(self.taken / SLOWEST)
    }
}

impl TimedStream {
    pub(super) fn new(wire: Wire, connection: Arc<Connection>) -> Self {
        let seen = connection.doing();
        Self { wire, connection, seen, alarm: Box::pin(sleep(BUSY_CHECK)), woken: None, is_over: false, unread: None }
    }

    /// Continues to wait, unless the limit is reached. The clock is read once for each phase that lasts, and the timer
    /// is only touched when it fires or must fire earlier: a request in one piece, as nearly all are, should not pay
    /// for slow ones.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let doing = self.connection.doing();
        if doing != self.seen {
            self.seen = doing;
            self.connection.lasts();
        }
        loop {
            let unread = self.unread.map(|unread| unread.deadline(self.connection.timeouts.unread));
            let deadline = [self.connection.deadline(), unread].into_iter().flatten().min();
            if deadline.is_some_and(|deadline| self.alarm.deadline() > deadline.into()) {
                self.set_alarm(deadline.unwrap_or_else(Instant::now));
            }
            if !self.alarm.is_elapsed() && self.woken.as_ref().is_some_and(|woken| woken.will_wake(cx.waker())) {
                return Poll::Pending;
            }
            self.woken = Some(cx.waker().clone());
            ready!(self.alarm.as_mut().poll(cx));
            let now = Instant::now();
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            self.set_alarm(deadline.unwrap_or(now + BUSY_CHECK));
        }
    }

    fn set_alarm(&mut self, time: Instant) {
        self.alarm.as_mut().reset(time.into());
        self.woken = None; // a timer must be polled once to fire
    }

    /// The same for a write, which waits for the other side.
    fn watch_write(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&outcome, &mut self.unread) {
            (Poll::Ready(Ok(written)), Some(unread)) => unread.taken += *written as u64,
            (Poll::Ready(_), _) => {}
            (Poll::Pending, _) => return self.watch(cx).map(Err),
        }
        outcome
    }

    /// And for a flush: then the whole response is out.
    fn watch_end(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<()>>) -> Poll<io::Result<()>> {
        if outcome.is_pending() {
            return self.watch(cx).map(Err);
        }
        self.unread = None;
        outcome
    }

    fn watch(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.unread.get_or_insert_with(|| Unread { since: Instant::now(), taken: 0 });
        self.wait(cx)
    }
}

/// Joins small parts: sending one packet saves more than the copy costs.
fn joined<'a>(pieces: &[io::IoSlice<'_>], room: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut length = 0;
    for piece in pieces {
        room.get_mut(length..length + piece.len())?.copy_from_slice(piece);
        length += piece.len();
    }
    Some(&room[..length])
}

impl AsyncRead for TimedStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        };
        if outcome.is_pending() {
            self.connection.awaits();
            return self.wait(cx).map(Err);
        }
        if buffer.filled().len() > before {
            self.connection.heard();
        } else {
            self.is_over = true;
        }
        outcome
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.watch_write(cx, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        self.watch_end(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let is_over = self.is_over;
        let outcome = match &mut self.wire {
            Wire::Plain(_) if is_over => Poll::Ready(Ok(())), // it is closed next, which has the same meaning
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        };
        self.watch_end(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(whole) = joined(pieces, &mut [0; SMALL]) {
            return self.poll_write(cx, whole);
        }
        let outcome = match &mut self.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Wire::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        };
        self.watch_write(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.wire {
            Wire::Plain(stream) => stream.is_write_vectored(),
            Wire::Tls(stream) => stream.is_write_vectored(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_reader_gets_time_for_bytes_it_has_read() {
        let since = Instant::now();
        let left = |taken| Unread { since, taken }.deadline(Duration::from_secs(30)) - since;
        assert_eq!([0, 8 << 10, 1 << 20].map(|taken| left(taken).as_secs()), [30, 31, 158]);
    }
}

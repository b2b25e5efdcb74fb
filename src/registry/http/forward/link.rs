//! A connection to another node, and one exchange on it.
//!
//! Whoever waits for the answer drives the connection, so a request costs no task and wakes none. *Not* hyper-util's
//! client: it gives each connection a task of its own, through which every request and every answer pass. *Not* one
//! connection for many requests: an answer that waits for a commit would hold up the heartbeats behind it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::{Host, Url};

use super::pool::Pool;

/// How soon the end of a node's machine is noticed: probes of an idle connection, as many lost ones, and the time for
/// sent data to be acknowledged.
const PROBES: (Duration, u32) = (Duration::from_secs(5), 3);
#[cfg(target_os = "linux")]
const ACKNOWLEDGED: Duration = Duration::from_secs(10);
/// The largest buffer of a connection, in bytes: a client that reads slowly costs this much, and what the system holds.
const BUFFER: usize = 64 << 10;

/// A plain or encrypted connection.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Driver = Connection<TokioIo<Box<dyn Wire>>, Full<Bytes>>;

/// A connection that is free, or under way with one request.
pub(super) struct Link {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended.
    driver: Option<Pin<Box<Driver>>>,
}

/// A request that got no answer.
pub(super) enum Lost {
    /// The connection had ended before: here is the request again.
    NotSent(Box<Request<Full<Bytes>>>),
    /// It may have arrived.
    Unclear(String),
}

impl Link {
    /// Opens a connection.
    pub(super) async fn open(url: &Url, tls: Option<TlsConnector>) -> Result<Self, String> {
        let stream = connect(url).await.map_err(|error| error.to_string())?;
        let options = SockRef::from(&stream);
        // Without these a connection works as well; only its end may be noticed late.
        let probes = TcpKeepalive::new().with_time(PROBES.0).with_interval(PROBES.0).with_retries(PROBES.1);
        let _ = options.set_tcp_keepalive(&probes);
        #[cfg(target_os = "linux")]
        let _ = options.set_tcp_user_timeout(Some(ACKNOWLEDGED));
        // A connection that is given up is reset: otherwise the system goes on to send a request that was answered with 503.
        let _ = options.set_linger(Some(Duration::ZERO));
        let _ = stream.set_nodelay(true); // a request is one packet, which would otherwise wait for an acknowledgement
        let wire: Box<dyn Wire> = match tls {
            None => Box::new(stream),
            Some(tls) => Box::new(tls.connect(name(url)?, stream).await.map_err(|error| format!("TLS: {error}"))?),
        };
        let mut builder = Builder::new();
        builder.max_buf_size(BUFFER);
        let (sender, driver) = builder.handshake(TokioIo::new(wire)).await.map_err(|error| error.to_string())?;
        Ok(Self { sender, driver: Some(Box::pin(driver)) })
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn exchange(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Lost> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let driver = &mut self.driver;
        let answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => {
                drive(driver, cx);
                answer.as_mut().poll(cx)
            }
        });
        answer.await.map_err(|mut error| match error.take_message() {
            Some(request) => Lost::NotSent(Box::new(request)),
            None => Lost::Unclear(describe(error.error())),
        })
    }
}

/// Lets a connection do what it can.
fn drive(driver: &mut Option<Pin<Box<Driver>>>, cx: &mut Context<'_>) {
    if driver.as_mut().is_some_and(|driver| driver.as_mut().poll(cx).is_ready()) {
        *driver = None;
    }
}

/// The body of an answer. When it has ended, the connection is free for the next request.
pub(super) struct AnswerBody {
    body: Incoming,
    link: Option<Link>,
    pool: Arc<Pool>,
    url: Url,
}

impl AnswerBody {
    pub(super) fn new(body: Incoming, link: Link, pool: Arc<Pool>, url: Url) -> Self {
        Self { body, link: Some(link), pool, url }
    }

    /// The exact length, if it is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Reads all of it.
    pub(super) async fn whole(mut self) -> io::Result<Bytes> {
        let mut whole = Bytes::new();
        while let Some(piece) = poll_fn(|cx| Pin::new(&mut self).poll_next(cx)).await {
            whole = if whole.is_empty() { piece? } else { [whole, piece?].concat().into() };
        }
        Ok(whole)
    }

    /// Gives the connection back, if it can be used again.
    fn release(&mut self, cx: &mut Context<'_>) {
        let Some(mut link) = self.link.take() else { return };
        drive(&mut link.driver, cx);
        if link.driver.is_some() && link.sender.is_ready() {
            self.pool.put(self.url.as_str(), link);
        }
    }
}

impl Stream for AnswerBody {
    type Item = io::Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let this = self.get_mut();
        loop {
            let mut frame = Pin::new(&mut this.body).poll_frame(cx);
            if let (Poll::Pending, Some(link)) = (&frame, &mut this.link) {
                drive(&mut link.driver, cx);
                frame = Pin::new(&mut this.body).poll_frame(cx);
            }
            match frame {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => {
                    this.release(cx);
                    return Poll::Ready(None);
                }
                Poll::Ready(Some(Err(error))) => {
                    this.link = None;
                    return Poll::Ready(Some(Err(io::Error::other(error))));
                }
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

async fn connect(url: &Url) -> io::Result<TcpStream> {
    let port = url.port_or_known_default().unwrap_or(80);
    match url.host() {
        Some(Host::Ipv4(address)) => TcpStream::connect((address, port)).await,
        Some(Host::Ipv6(address)) => TcpStream::connect((address, port)).await,
        Some(Host::Domain(name)) => TcpStream::connect((name, port)).await,
        None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the URL has no host")),
    }
}

/// Returns the name that the node's certificate must have.
fn name(url: &Url) -> Result<ServerName<'static>, String> {
    match url.host() {
        Some(Host::Ipv4(address)) => Ok(ServerName::from(std::net::IpAddr::from(address))),
        Some(Host::Ipv6(address)) => Ok(ServerName::from(std::net::IpAddr::from(address))),
        Some(Host::Domain(name)) => ServerName::try_from(name.to_owned()).map_err(|error| error.to_string()),
        None => Err("the URL has no host".to_owned()),
    }
}

/// Returns an error with its causes.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

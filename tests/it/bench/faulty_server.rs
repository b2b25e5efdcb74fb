//! A server that answers as a test tells it to, byte by byte if necessary, and records the requests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service_registry::client::{Client, ClientBuilder};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::DEADLINE;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// Method and target: `GET /v1.0/services`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What is said in return.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: u16,
        headers: Vec<(&'static str, String)>,
        body: String,
    },
    /// Exactly these bytes, and the connection goes on.
    Exactly(Vec<u8>),
    /// Exactly these bytes, then the end of the connection.
    Bytes(Vec<u8>),
    /// The same, but the connection stays open and silent.
    BytesThenSilence(Vec<u8>),
    /// An answer, and the connection is closed without having said so.
    AnswerThenClose(Box<Self>),
    /// An answer, one byte at a time with so much time between two.
    Dripped(Box<Self>, Duration),
    /// These bytes, then these again and again until the connection ends.
    Endless(Vec<u8>, Vec<u8>),
    /// An answer, after so much time.
    Late(Box<Self>, Duration),
    /// The end of the connection.
    Close,
    /// Nothing, for ever.
    Silence,
}

impl Reply {
    pub fn json(status: u16, body: &Value) -> Self {
        Self::Answer { status, headers: vec![("Content-Type", "application/json".to_owned())], body: body.to_string() }
    }

    pub fn ok(body: &Value) -> Self {
        Self::json(200, body)
    }

    pub fn created(location: &str, body: &str) -> Self {
        Self::Answer { status: 201, headers: vec![("Location", location.to_owned())], body: body.to_owned() }
    }

    pub fn no_content() -> Self {
        Self::Answer { status: 204, headers: Vec::new(), body: String::new() }
    }

    pub fn fault(status: u16, kind: &str, message: &str) -> Self {
        let body = json!({"type": kind, "code": status, "message": message, "details": message, "txnId": ".rh-x"});
        Self::json(status, &body)
    }

    /// An account without limits.
    pub fn limits() -> Self {
        Self::ok(&json!({"resource": {}, "rate": {}}))
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Self::Answer { headers, .. } = &mut self {
            headers.push((name, value.to_owned()));
        }
        self
    }

    /// A login that gives this token for tenant 7777.
    pub fn login(token: &str) -> Self {
        Self::ok(&json!({"access": {
            "token": {"id": token, "expires": "2100-01-01T00:00:00.000-00:00", "tenant": {"id": "7777", "name": "7777"}},
            "serviceCatalog": [],
        }}))
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Answer { status, headers, body } => {
                let mut text = format!("HTTP/1.1 {status} Told\r\n");
                for (name, value) in headers {
                    text += &format!("{name}: {value}\r\n");
                }
                if *status != 204 {
                    text += &format!("Content-Length: {}\r\n", body.len());
                }
                (text + "\r\n" + body).into_bytes()
            }
            Self::Exactly(bytes) | Self::Bytes(bytes) | Self::BytesThenSilence(bytes) | Self::Endless(bytes, _) => {
                bytes.clone()
            }
            Self::AnswerThenClose(reply) | Self::Dripped(reply, _) | Self::Late(reply, _) => reply.bytes(),
            Self::Close | Self::Silence => Vec::new(),
        }
    }
}

/// One page of a list.
pub fn page(values: &Value, next_marker: Option<&str>) -> Reply {
    let count = values.as_array().map_or(0, Vec::len);
    let metadata = json!({"count": count, "limit": 100, "marker": null, "next_marker": next_marker, "next_href": null});
    Reply::ok(&json!({"values": values, "metadata": metadata}))
}

type Script = Arc<Mutex<dyn FnMut(&Seen) -> Reply + Send>>;

/// The server. It ends with the test's runtime.
pub struct Misbehaving {
    /// `http://127.0.0.1:<port>`
    pub url: String,
    seen: watch::Receiver<Vec<Seen>>,
    connections: Arc<AtomicUsize>,
    closed: watch::Receiver<usize>,
}

impl Misbehaving {
    pub async fn start(script: impl FnMut(&Seen) -> Reply + Send + 'static) -> Self {
        Self::start_with(script, None).await
    }

    pub async fn start_with(
        script: impl FnMut(&Seen) -> Reply + Send + 'static,
        tls: Option<tokio_rustls::TlsAcceptor>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let url = if tls.is_some() { url } else { url.replace("localhost", "127.0.0.1") };
        let (see, seen) = watch::channel(Vec::new());
        let (close, closed) = watch::channel(0);
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, script, see, close) =
            (connections.clone(), Arc::new(Mutex::new(script)) as Script, Arc::new(see), Arc::new(close));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap(); // a byte that drips is a packet
                count.fetch_add(1, Ordering::SeqCst);
                let (script, see, close, tls) = (script.clone(), see.clone(), close.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(stream, &script, &see).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(stream, &script, &see).await;
                            }
                        }
                    }
                    close.send_modify(|closed| *closed += 1);
                });
            }
        });
        Self { url, seen, connections, closed }
    }

    /// Settings of a client for this server.
    pub fn builder(&self) -> ClientBuilder {
        Client::builder().registry_url(&self.url)
    }

    pub fn client(&self) -> Client {
        self.builder().build().unwrap()
    }

    /// A client that logs in here.
    pub fn client_with_credentials(&self) -> Client {
        self.builder().credentials("joe", "secret-key").build().unwrap()
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    /// The requests so far in short: `GET /v1.0/services`.
    pub fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// Waits until this many requests have arrived.
    pub async fn requests(&self, count: usize) -> Vec<Seen> {
        let mut seen = self.seen.clone();
        within("requests", seen.wait_for(|seen| seen.len() >= count)).await.unwrap().clone()
    }

    /// Waits until this many connections have ended.
    pub async fn closed(&self, count: usize) {
        let mut closed = self.closed.clone();
        within("the end of a connection", closed.wait_for(|closed| *closed >= count)).await.unwrap();
    }

    /// TCP connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Waits for what must happen, but not for ever.
pub async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, happens).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} in vain for {what}"))
}

async fn converse(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    script: &Script,
    see: &watch::Sender<Vec<Seen>>,
) {
    let mut stream = BufStream::new(stream);
    while let Some(seen) = read_request(&mut stream).await {
        let reply = (script.lock().unwrap())(&seen);
        see.send_modify(|all| all.push(seen));
        if say(&mut stream, &reply).await.is_err() {
            return;
        }
        match reply {
            Reply::Answer { .. } | Reply::Exactly(_) | Reply::Dripped(..) | Reply::Late(..) => {}
            Reply::Endless(_, again) => {
                while stream.write_all(&again).await.is_ok() {}
                return;
            }
            Reply::Bytes(_) | Reply::AnswerThenClose(_) | Reply::Close => {
                stream.shutdown().await.ok();
                return;
            }
            // Until the other side gives up.
            Reply::Silence | Reply::BytesThenSilence(_) => {
                stream.read_u8().await.ok();
                return;
            }
        }
    }
}

async fn say(stream: &mut (impl tokio::io::AsyncWrite + Unpin), reply: &Reply) -> std::io::Result<()> {
    if let Reply::Dripped(reply, pause) = reply {
        for byte in reply.bytes() {
            stream.write_u8(byte).await?;
            stream.flush().await?;
            tokio::time::sleep(*pause).await; // the server is slow
        }
        return Ok(());
    }
    if let Reply::Late(_, time) = reply {
        tokio::time::sleep(*time).await; // the server is slow
    }
    stream.write_all(&reply.bytes()).await?;
    stream.flush().await
}

async fn read_request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let mut first = lines.first()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: Vec<_> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned())))
        .collect();
    let mut seen = Seen { method, target, headers, body: String::new(), at: Instant::now() };
    let mut body = vec![0; seen.header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8(body).unwrap();
    Some(seen)
}

/// Moves the clock of the test's runtime forward, between requests.
pub async fn skip(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

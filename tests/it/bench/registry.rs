//! A registry in this process, with a clock that the test moves, and a client that checks every response.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use service_registry::registry::{Clock, Config, ManualClock, Registry};
use tokio::sync::oneshot;

use super::DEADLINE;

/// Two tenants, the first with the limits that the hosted service once had.
pub const USERS: &str = r#"
[[user]]
name = "joe"
tenant = 7777
api_key = "joes-key"
password = "joes-password"
limits = { session = 100, service = 200, configuration_value = 1000 }
rate = [{ path = "/.*", limit = 500000, period_seconds = 86400 }]

[[user]]
name = "ann"
tenant = 8888
api_key = "anns-key"
"#;

/// A registry on a thread of its own, on a runtime of one thread, as an embedding program has it.
pub struct Server {
    pub address: SocketAddr,
    pub clock: ManualClock,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn open() -> Self {
        Self::start(Config::anonymous())
    }

    pub fn start(config: Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let clock = ManualClock::new(1_700_000_000_000);
        let registry = Registry::bind(config.clock(Clock::manual(&clock)), listener).unwrap();
        let address = registry.local_addr();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(registry.serve(async { stopped.await.unwrap_or_default() })).unwrap();
        });
        Self { address, clock, stop: Some(stop), thread: Some(thread) }
    }

    /// A client without a token, or with one if the registry wants it.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client that has logged in as the first of the users.
    pub fn joe(&self) -> Client {
        self.client().logged_in("joe", "joes-key")
    }

    pub fn advance(&self, ms: u64) {
        self.clock.advance(Duration::from_millis(ms));
    }

    /// Ends it, and waits until it has ended.
    pub fn stop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The keys of the outermost object, in their order: each is on a line of its own, indented by 4 blanks.
    pub fn keys(&self) -> Vec<&str> {
        let lines = self.body.lines().filter_map(|line| line.strip_prefix("    \""));
        lines.map(|line| line.split('"').next().unwrap()).collect()
    }

    /// Type and details of a fault.
    pub fn fault(&self) -> (u16, String, String) {
        let fault = self.json();
        let text = |key: &str| fault[key].as_str().unwrap_or_else(|| panic!("{key}: {self:?}")).to_owned();
        (self.status, text("type"), text("details"))
    }
}

/// Sends requests over one connection, which it opens again if it was closed.
pub struct Client {
    address: SocketAddr,
    /// Which of this machine's addresses it comes from.
    from: IpAddr,
    connection: Option<BufReader<TcpStream>>,
    /// Sent with every request.
    pub headers: Vec<(String, String)>,
    /// What paths that start with a single slash are below.
    pub root: String,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let headers = vec![("Host".to_owned(), address.to_string())];
        let from = [127, 0, 0, 1].into();
        Self { address, from, connection: None, headers, root: "/v1.0/1".to_owned() }
    }

    pub fn from(address: SocketAddr, from: &str) -> Self {
        Self { from: from.parse().unwrap(), ..Self::new(address) }
    }

    pub fn logged_in(mut self, name: &str, key: &str) -> Self {
        let credentials = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": name, "apiKey": key}}});
        let answer = self.send("POST", "@/v2.0/tokens", &[], credentials.to_string());
        let token = &answer.json()["access"]["token"];
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        self.root = format!("/v1.0/{}", text(&token["tenant"]["id"]));
        self.headers.push(("X-Auth-Token".to_owned(), text(&token["id"])));
        self
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn delete(&mut self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "")
    }

    pub fn post(&mut self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body.to_string())
    }

    pub fn put(&mut self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, &[("Content-Type", "application/json")], body.to_string())
    }

    /// The token that creating something was answered with.
    pub fn create(&mut self, path: &str, body: Value) -> (String, String) {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 201, "{answer:?}");
        let id = answer.header("location").unwrap().rsplit('/').next().unwrap().to_owned();
        let token = if answer.body.is_empty() { None } else { answer.json()["token"].as_str().map(str::to_owned) };
        (id, token.unwrap_or_default())
    }

    /// A path that starts with `@` is sent as it is, any other below the tenant's root.
    pub fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let request = self.request(method, path, headers, body.as_ref());
        self.exchange(&request, method == "HEAD")
    }

    /// Sends a GET on a connection of its own, from which the answer can be read later.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)]) -> BufReader<TcpStream> {
        let mut connection = connect_from(self.from, self.address);
        connection.get_mut().write_all(&self.request("GET", path, headers, b"")).unwrap();
        connection
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let path = path.strip_prefix('@').map_or_else(|| format!("{}{path}", self.root), str::to_owned);
        let mut request = format!("{method} {path} HTTP/1.1\r\n");
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let is_replaced = |name: &str| headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        for (name, value) in own.filter(|(name, _)| !is_replaced(name)).chain(headers.iter().copied()) {
            request += &format!("{name}: {value}\r\n");
        }
        let is_chunked = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Transfer-Encoding"));
        if !is_chunked && (!body.is_empty() || method == "POST" || method == "PUT") {
            request += &format!("Content-Length: {}\r\n", body.len());
        }
        [request.as_bytes(), b"\r\n", body].concat()
    }

    /// Sends what is given and reads one answer, which must keep the rules that hold for all.
    pub fn exchange(&mut self, request: &[u8], is_head: bool) -> Answer {
        let connection = self.connection.take().filter(is_open);
        let mut connection = connection.unwrap_or_else(|| connect_from(self.from, self.address));
        connection.get_mut().write_all(request).unwrap();
        let answer = read_answer(&mut connection, is_head);
        if answer.header("connection") != Some("close") {
            self.connection = Some(connection);
        }
        check(&answer, is_head);
        answer
    }
}

/// A connection that the other side has closed has an end to read; an open one has nothing yet.
pub fn is_open(connection: &BufReader<TcpStream>) -> bool {
    let stream = connection.get_ref();
    stream.set_nonblocking(true).unwrap();
    let is_open = stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    is_open
}

pub fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    BufReader::new(stream)
}

/// From another of this machine's addresses: all of 127.0.0.0/8 are.
pub fn connect_from(from: IpAddr, address: SocketAddr) -> BufReader<TcpStream> {
    if from == IpAddr::from([127, 0, 0, 1]) {
        return connect(address);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    BufReader::new(stream)
}

pub fn read_answer(from: &mut BufReader<TcpStream>, is_head: bool) -> Answer {
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status line: {first:?}"));
    let mut headers = Vec::new();
    while let Some((name, value)) = line().split_once(": ") {
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut answer = Answer { status, headers, body: String::new() };
    let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
    if !is_head {
        let mut body = vec![0; length];
        from.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
    }
    answer
}

/// What every answer must have, whatever it says.
pub fn check(answer: &Answer, is_head: bool) {
    let id = answer.header("x-response-id").unwrap_or_else(|| panic!("no id: {answer:?}"));
    let parts: Vec<&str> = id.split('.').collect();
    let starts = ["", "rh-", "h-", "r-", "c-", "ts-", "v-"];
    assert!(starts.iter().zip(&parts).all(|(start, part)| part.starts_with(start)), "{id}");
    let length = answer.header("content-length");
    assert_eq!(length.is_some(), ![204, 304].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("transfer-encoding"), None, "{answer:?}");
    assert!(!answer.headers.iter().any(|(name, _)| name.starts_with("x-rp-")), "{answer:?}");
    if answer.body.is_empty() {
        assert!(is_head || [201, 204, 304, 408, 413].contains(&answer.status), "{answer:?}");
        return;
    }
    if answer.header("content-type") == Some("text/html; charset=UTF-8") {
        return assert!(answer.body.starts_with("<!DOCTYPE html>") && answer.status == 200, "{answer:?}");
    }
    if answer.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")) {
        return assert!(answer.body.starts_with("# HELP "), "{answer:?}");
    }
    assert_eq!(answer.header("content-type"), Some("application/json; charset=UTF-8"));
    if answer.body.starts_with('[') {
        return; // in the form of Prometheus
    }
    assert!(answer.body.starts_with("{\n    \""), "not indented by 4 blanks: {answer:?}");
    if answer.status >= 400 {
        let keys = ["type", "code", "message", "details", "txnId", "marker"];
        assert_eq!(answer.keys(), keys[..if answer.status == 410 { 6 } else { 5 }]);
        let fault = answer.json();
        assert_eq!((fault["code"].as_u64(), fault["txnId"].as_str()), (Some(u64::from(answer.status)), Some(id)));
        assert!(fault["details"].is_string() || answer.status == 404, "{answer:?}");
    }
}

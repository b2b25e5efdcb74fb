//! A connection to one node: requests with a time limit, and what is known if there is no answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub enum Reply {
    Answer(Answer),
    NotSent,
    Unclear,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
    pub body: Value,
}

/// One connection, kept and opened again as needed.
pub struct Line {
    address: SocketAddr,
    connection: Option<BufReader<TcpStream>>,
}

impl Line {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, connection: None }
    }

    /// Sends a request; the whole answer must be there within the limit.
    pub fn ask(&mut self, method: &str, path: &str, token: &str, body: &Value, limit: Duration) -> Reply {
        let end = Instant::now() + limit;
        let Some(mut connection) = self.connect(limit) else { return Reply::NotSent };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nX-Auth-Token: {token}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        if connection.get_mut().write_all(request.as_bytes()).is_err() {
            return Reply::Unclear; // a part of it may have arrived, and it may be all
        }
        let Some((answer, is_last)) = read(&mut connection, end) else { return Reply::Unclear };
        if !is_last {
            self.connection = Some(connection);
        }
        Reply::Answer(answer)
    }

    /// Opens a stream of events on a connection of its own, whose reads end after this long.
    pub fn stream(&mut self, path: &str, token: &str, limit: Duration) -> Option<BufReader<TcpStream>> {
        let end = Instant::now() + limit;
        self.connection = None;
        let mut connection = self.connect(limit)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nX-Auth-Token: {token}\r\nAccept: text/event-stream\r\n\r\n",
            self.address
        );
        connection.get_mut().write_all(request.as_bytes()).ok()?;
        let (status, _) = head(&mut connection, end)?;
        connection.get_ref().set_read_timeout(Some(limit)).ok()?;
        (status == 200).then_some(connection)
    }

    fn connect(&mut self, limit: Duration) -> Option<BufReader<TcpStream>> {
        if let Some(kept) = self.connection.take().filter(is_open) {
            return Some(kept);
        }
        let stream = TcpStream::connect_timeout(&self.address, limit.min(CONNECT)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_write_timeout(Some(limit)).ok()?;
        Some(BufReader::new(stream))
    }
}

/// Whether the other side has neither closed it nor sent what nobody asked for.
fn is_open(connection: &BufReader<TcpStream>) -> bool {
    let stream = connection.get_ref();
    let is_silent = stream.set_nonblocking(true).is_ok()
        && stream.peek(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
    is_silent && stream.set_nonblocking(false).is_ok()
}

/// The answer, and whether the connection ends with it.
fn read(connection: &mut BufReader<TcpStream>, end: Instant) -> Option<(Answer, bool)> {
    let (status, headers) = head(connection, end)?;
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    let length = header("content-length").map_or(Some(0), |length| length.parse().ok())?;
    let mut body = vec![0; length];
    connection.read_exact(&mut body).ok()?;
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).ok()? };
    let is_last = header("connection") == Some("close");
    Some((Answer { status, location: header("location").map(str::to_owned), body }, is_last))
}

fn head(connection: &mut BufReader<TcpStream>, end: Instant) -> Option<(u16, Vec<(String, String)>)> {
    let mut line = || {
        let left = end.saturating_duration_since(Instant::now());
        connection.get_ref().set_read_timeout(Some(Some(left).filter(|left| !left.is_zero())?)).ok()?;
        let mut line = String::new();
        connection.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let status = line()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = Vec::new();
    loop {
        let line = line()?;
        match line.split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None if line.is_empty() => return Some((status, headers)),
            None => return None,
        }
    }
}

//! Clients that wait for an answer, or read one that goes on.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

use super::registry::{check, is_open, read_answer};
use super::{Answer, Client};

/// Much less than the longest wait: an answer that comes at the end of the wait comes too late.
const SOON: Duration = Duration::from_secs(30);

/// A request that was sent, and whose answer is awaited.
pub struct Asked(BufReader<TcpStream>);

impl Asked {
    /// Sends a GET, and another request whose answer shows that the first one has arrived as well.
    pub fn get(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let connection = client.ask(path, headers);
        connection.get_ref().set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(client.get("/limits").status, 200);
        Self(connection)
    }

    /// Whether there is no answer yet, although the registry has answered another request in the meantime.
    pub fn waits(&self, client: &mut Client) -> bool {
        assert_eq!(client.get("/limits").status, 200);
        is_open(&self.0)
    }

    pub fn answer(mut self) -> Answer {
        let answer = read_answer(&mut self.0, false);
        check(&answer, false);
        answer
    }
}

/// An event of a stream.
#[derive(Debug, PartialEq)]
pub struct Sent {
    pub id: String,
    pub kind: String,
    pub event: Value,
}

/// A stream of events.
pub struct EventStream {
    connection: BufReader<TcpStream>,
    pub headers: Vec<(String, String)>,
    /// The lines of a chunk that was read.
    lines: std::vec::IntoIter<String>,
}

impl EventStream {
    pub fn open(client: &mut Client, path: &str, headers: &[(&str, &str)]) -> Self {
        let headers = [&[("Accept", "text/event-stream")], headers].concat();
        let Asked(mut connection) = Asked::get(client, path, &headers);
        let Answer { status, headers, .. } = read_answer(&mut connection, true);
        assert_eq!(status, 200, "{headers:?}");
        Self { connection, headers, lines: Vec::new().into_iter() }
    }

    /// The next block: the lines up to an empty one. None at the end of the stream.
    pub fn block(&mut self) -> Option<Vec<String>> {
        let mut block = Vec::new();
        loop {
            match self.lines.next() {
                Some(line) if line.is_empty() => return Some(block),
                Some(line) => block.push(line),
                None => {
                    let chunk = self.chunk()?;
                    self.lines = chunk.lines().map(str::to_owned).collect::<Vec<_>>().into_iter();
                }
            }
        }
    }

    /// The next event; comments are passed over.
    pub fn event(&mut self) -> Option<Sent> {
        loop {
            let block = self.block()?;
            let field = |name: &str| block.iter().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let Some(data) = field("data: ") {
                let event: Value = serde_json::from_str(&data).unwrap();
                return Some(Sent { id: field("id: ").unwrap(), kind: field("event: ").unwrap(), event });
            }
        }
    }

    /// Whether the registry has sent nothing more.
    pub fn is_silent(&self) -> bool {
        self.lines.len() == 0 && self.connection.buffer().is_empty() && is_open(&self.connection)
    }

    /// A chunk is a number of whole lines. None at the end, in good order or not.
    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.connection.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
        let mut chunk = vec![0; size + 2];
        self.connection.read_exact(&mut chunk).ok()?;
        chunk.truncate(size);
        Some(String::from_utf8(chunk).unwrap())
    }
}

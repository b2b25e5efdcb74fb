//! What the measurements of a registry share: programs that are started and killed, clients with one connection each,
//! and the work that the clients do.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed measurement must not print figures")]
#![allow(dead_code, clippy::allow_attributes, reason = "each measurement uses a part of it")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Registers a session and a service with it for each of so many. With a timeout of 120 s: these sessions get no
/// heartbeats.
pub fn fill(addresses: &[&str], count: u64) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for client in 0..64 {
            let next = &next;
            scope.spawn(move || {
                let mut client = Client::new(addresses[client % addresses.len()]);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        break;
                    }
                    register_for(&mut client, 1, number, 120);
                }
            });
        }
    });
}

/// How often a second the clients get their work done. They are spread over the addresses.
pub fn measure(addresses: &[&str], clients: u64, time: Duration, work: fn(&mut Client, u64)) -> f64 {
    let (done, stop, ready) = (AtomicU64::new(0), AtomicBool::new(false), Barrier::new(clients as usize + 1));
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (done, stop, ready) = (&done, &stop, &ready);
            scope.spawn(move || {
                let address = addresses[client as usize % addresses.len()];
                let mut connection = Client::new(address);
                ready.wait();
                for number in 1.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    work(&mut connection, client << 32 | number);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        ready.wait();
        let begun = Instant::now();
        std::thread::sleep(time);
        let count = done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64();
        stop.store(true, Ordering::Relaxed);
        count
    })
}

/// Registers a session and a service in it.
pub fn register(client: &mut Client, number: u64) {
    register_for(client, 1, number, 30);
}

/// The same, for clients of 16 accounts.
pub fn register_in_many(client: &mut Client, number: u64) {
    register_for(client, 1 + (number >> 32) % 16, number, 30);
}

pub fn register_for(client: &mut Client, account: u64, number: u64, timeout: u8) {
    let session =
        client.call("POST", &format!("/v1.0/{account}/sessions"), &format!("{{\"heartbeat_timeout\": {timeout}}}"));
    let session = session.split("/sessions/").nth(1).unwrap_or_else(|| panic!("{session}"));
    let session = session.split('\r').next().unwrap();
    let body = format!(
        "{{\"id\": \"node-{number:x}\", \"session_id\": \"{session}\", \"tags\": [\"api\", \"www\"], \
         \"metadata\": {{\"port\": \"8000\", \"host\": \"10.1.2.3\"}}}}"
    );
    let answer = client.call("POST", &format!("/v1.0/{account}/services"), &body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

pub fn grant_and_put(client: &mut Client, number: u64) {
    let lease = client.call("POST", "/v3/lease/grant", "{\"TTL\": 30}");
    let lease =
        lease.split("\"ID\":\"").nth(1).unwrap_or_else(|| panic!("{lease}")).split('"').next().unwrap().to_owned();
    let key = base64(format!("/services/node-{number:x}").as_bytes());
    let value = base64(b"{\"tags\": [\"api\", \"www\"], \"metadata\": {\"port\": \"8000\", \"host\": \"10.1.2.3\"}}");
    let answer = client.call(
        "POST",
        "/v3/kv/put",
        &format!("{{\"key\": \"{key}\", \"value\": \"{value}\", \"lease\": \"{lease}\"}}"),
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for part in bytes.chunks(3) {
        let bits = part.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - part.len()));
        let letters = (0..4).map(|at| char::from(LETTERS[bits >> (18 - 6 * at) & 63]));
        text.extend(letters.take(part.len() + 1));
        text.extend(std::iter::repeat_n('=', 3 - part.len()));
    }
    text
}

/// A program under measurement, killed in the end.
pub struct Server {
    pub process: Child,
    pub address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        #[expect(clippy::disallowed_methods, reason = "a measurement is the parent here, and has no supervisor")]
        let _ = self.process.wait();
    }
}

/// A registry. Its address is in the line that it prints.
pub fn registry(options: &[&str]) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["-q", "serve", "--listen", "127.0.0.1:0"]).args(options);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server { process, address: line.trim().rsplit('/').next().unwrap().to_owned() }
}

/// Members of one etcd.
pub fn etcd(folder: &Path, members: usize) -> Vec<Server> {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let places: Vec<(String, String)> = (0..members).map(|_| (free(), free())).collect();
    let all = places.iter().enumerate().map(|(at, (_, peers))| format!("m{at}=http://{peers}"));
    let all = all.collect::<Vec<_>>().join(",");
    let start = |(at, (address, peers)): (usize, &(String, String))| {
        let mut command = Command::new("etcd");
        command.args(["--log-level", "error", "--name", &format!("m{at}"), "--data-dir"]);
        command.arg(folder.join(at.to_string())).args(["--initial-cluster", &all]);
        for option in ["--listen-client-urls", "--advertise-client-urls"] {
            command.args([option, &format!("http://{address}")]);
        }
        for option in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
            command.args([option, &format!("http://{peers}")]);
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.unwrap_or_else(|error| panic!("etcd (Debian: etcd-server): {error}"));
        Server { process, address: address.clone() }
    };
    let servers: Vec<Server> = places.iter().enumerate().map(start).collect();
    servers.iter().for_each(until_up);
    servers
}

fn until_up(server: &Server) {
    let begun = Instant::now();
    loop {
        let is_up = TcpStream::connect(&server.address).is_ok_and(|stream| {
            Client::of(stream, &server.address)
                .try_call("POST", "/v3/lease/grant", "{\"TTL\": 30}")
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        if is_up {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "etcd does not come up");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The resident memory, in kilobytes.
pub fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One connection, one request at a time.
pub struct Client {
    stream: BufReader<TcpStream>,
    host: String,
    /// Of a session that the client keeps: the path of its heartbeats, and the last token.
    pub path: String,
    pub token: String,
}

impl Client {
    pub fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::of(stream, address)
    }

    fn of(stream: TcpStream, address: &str) -> Self {
        let (path, token) = (String::new(), String::new());
        Self { stream: BufReader::new(stream), host: address.to_owned(), path, token }
    }

    /// The whole answer, head and body.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> String {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_call(&mut self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let (host, length) = (&self.host, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut answer = String::new();
        let mut length = 0;
        loop {
            let start = answer.len();
            if self.stream.read_line(&mut answer)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = answer[start..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        answer.push_str(std::str::from_utf8(&body).unwrap());
        Ok(answer)
    }
}

//! What durability costs, side by side with etcd on the same machine and disk, in one run.
//!
//! `cargo bench --bench durable` registers with 1, 16 and 128 clients: a session and a service in it, and the event
//! that comes with it, all acknowledged only when on disk; at etcd (3.4 or later, in PATH) a lease and a key with it.
//! Each client has one connection and waits for every answer. Then it fills a registry with 100,000 sessions with a
//! service each, says what that takes in memory and on disk, and how long a start with it takes to the first answer.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed measurement must not print figures")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const SECONDS: Duration = Duration::from_secs(5);
const MANY: u64 = 100_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    println!("registrations per second, each on disk before it is acknowledged; {SECONDS:?} each, two rounds");
    for clients in [1, 16, 128] {
        for round in 0..2 {
            let ours = {
                let server = ours(&folder.path().join(format!("ours-{clients}-{round}")));
                measure(&server.address, clients, SECONDS, register)
            };
            let other = {
                let server = etcd(&folder.path().join(format!("etcd-{clients}-{round}")));
                measure(&server.address, clients, SECONDS, grant_and_put)
            };
            let ratio = ours / other;
            println!("{clients:>4} clients: service-registry {ours:>8.0}   etcd {other:>8.0}   ratio {ratio:.1}");
        }
    }
    start_and_size(&folder.path().join("many"));
    churn(&folder.path().join("churn"));
}

/// Far more events than are kept: the disk must not fill up.
fn churn(folder: &Path) {
    let server = ours_with(folder, &["--events-retention", "5s"]);
    println!("changes without end, events kept for 5 s:");
    for round in 1..=3 {
        let a_second = measure(&server.address, 16, Duration::from_secs(10), set_value);
        println!("after {:>2} s: {a_second:.0} events/s, {} MB on disk", round * 10, disk_mb(folder));
    }
}

fn set_value(client: &mut Client, number: u64) {
    let value = format!("{{\"value\": \"{number:0>200}\"}}");
    let answer = client.call("PUT", &format!("/v1.0/1/configuration/key-{}", number >> 32), &value);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

fn disk_mb(folder: &Path) -> String {
    let disk = Command::new("du").args(["-sm", folder.to_str().unwrap()]).output().unwrap();
    String::from_utf8_lossy(&disk.stdout).split('\t').next().unwrap().to_owned()
}

fn start_and_size(folder: &Path) {
    let server = ours(folder);
    let fresh = resident(&server);
    let begun = Instant::now();
    fill(&server.address);
    println!("{MANY} sessions with a service each: registered in {:.1?} by 16 clients", begun.elapsed());
    let mb = |kb: u64| kb as f64 / 1024.0;
    println!("resident: {:.1} MB more than the {:.1} MB of an empty one", mb(resident(&server) - fresh), mb(fresh));
    drop(server); // by SIGKILL
    println!("on disk: {} MB", disk_mb(folder));
    for _ in 0..3 {
        let begun = Instant::now();
        let server = ours(folder);
        let mut client = Client::new(&server.address);
        let answer = client.call("GET", "/v1.0/1/services?limit=1", "");
        assert!(answer.contains("\"count\": 1"), "{answer}");
        let took = begun.elapsed();
        println!("start after SIGKILL to the first answer: {took:.2?}; resident: {:.1} MB", mb(resident(&server)));
    }
}

/// With a timeout of 120 s: these sessions get no heartbeats.
fn fill(address: &str) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut client = Client::new(address);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= MANY {
                        break;
                    }
                    register_for(&mut client, number, 120);
                }
            });
        }
    });
}

/// How often a second the clients get their work done.
fn measure(address: &str, clients: u64, time: Duration, work: fn(&mut Client, u64)) -> f64 {
    let (done, stop, ready) = (AtomicU64::new(0), AtomicBool::new(false), Barrier::new(clients as usize + 1));
    std::thread::scope(|scope| {
        for client in 0..clients {
            let (done, stop, ready) = (&done, &stop, &ready);
            scope.spawn(move || {
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

fn register(client: &mut Client, number: u64) {
    register_for(client, number, 30);
}

fn register_for(client: &mut Client, number: u64, timeout: u8) {
    let session = client.call("POST", "/v1.0/1/sessions", &format!("{{\"heartbeat_timeout\": {timeout}}}"));
    let session = session.split("/sessions/").nth(1).unwrap_or_else(|| panic!("{session}"));
    let session = session.split('\r').next().unwrap();
    let body = format!(
        "{{\"id\": \"node-{number:x}\", \"session_id\": \"{session}\", \"tags\": [\"api\", \"www\"], \
         \"metadata\": {{\"port\": \"8000\", \"host\": \"10.1.2.3\"}}}}"
    );
    let answer = client.call("POST", "/v1.0/1/services", &body);
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
}

fn grant_and_put(client: &mut Client, number: u64) {
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
struct Server {
    process: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        #[expect(clippy::disallowed_methods, reason = "a measurement is the parent here, and has no supervisor")]
        let _ = self.process.wait();
    }
}

fn ours(folder: &Path) -> Server {
    ours_with(folder, &[])
}

fn ours_with(folder: &Path, options: &[&str]) -> Server {
    let mut command = Command::new(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["-q", "serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder).args(options);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
    Server { process, address: line.trim().rsplit('/').next().unwrap().to_owned() }
}

fn etcd(folder: &Path) -> Server {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (address, peers) = (free(), free());
    let mut command = Command::new("etcd");
    command.args(["--log-level", "error", "--data-dir"]).arg(folder);
    for option in ["--listen-client-urls", "--advertise-client-urls"] {
        command.args([option, &format!("http://{address}")]);
    }
    for option in ["--listen-peer-urls", "--initial-advertise-peer-urls"] {
        command.args([option, &format!("http://{peers}")]);
    }
    command.args(["--initial-cluster", &format!("default=http://{peers}")]);
    let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let process = process.unwrap_or_else(|error| panic!("etcd (Debian: etcd-server): {error}"));
    let server = Server { process, address };
    let begun = Instant::now();
    loop {
        let is_up = TcpStream::connect(&server.address).is_ok_and(|stream| {
            Client { stream: BufReader::new(stream), host: server.address.clone() }
                .try_call("POST", "/v3/lease/grant", "{\"TTL\": 30}")
                .is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        if is_up {
            return server;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "etcd does not come up");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Kilobytes.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// One connection, one request at a time.
struct Client {
    stream: BufReader<TcpStream>,
    host: String,
}

impl Client {
    fn new(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::new(stream), host: address.to_owned() }
    }

    /// The whole answer, head and body.
    fn call(&mut self, method: &str, path: &str, body: &str) -> String {
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

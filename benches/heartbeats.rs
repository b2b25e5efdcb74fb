//! Heartbeats per second, side by side with the least that could answer them: an axum handler that echoes the same
//! JSON. And what it takes to list a page by tag.
//!
//! ```sh
//! cargo bench --bench heartbeats            # with 1,000 and with 1,000,000 sessions
//! cargo bench --bench heartbeats -- 1000    # with this many sessions
//! ```
//!
//! Registry, echo and generator are three processes on loopback. Both servers get the same requests from the same
//! generator in turns of a second; what counts is the ratio within one run. Where the machine has other work, the ratio
//! by time is noise, and the one by the processor time that each request took is not. Heartbeats rotate tokens, so the
//! generator sends what it was answered. Sessions live for 120 s, and a run with a million of them takes less.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a measurement that fails has no result")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 5;
const CONNECTIONS: [usize; 3] = [1, 16, 128];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|argument| argument == "echo") {
        return serve_echo();
    }
    let sizes: Vec<usize> = arguments.iter().map(|argument| argument.parse().unwrap()).collect();
    let generator = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let echo = Server::start(Command::new(std::env::current_exe().unwrap()).arg("echo"));
    for sessions in if sizes.is_empty() { vec![1_000, 1_000_000] } else { sizes } {
        generator.block_on(compare(&echo, sessions));
    }
    generator.block_on(list());
}

#[derive(Deserialize, Serialize)]
struct HeartbeatEvent {
    token: String,
}

fn serve_echo() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let echo = post(|Json(beat): Json<HeartbeatEvent>| async { Json(beat) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        axum::serve(listener, Router::new().route("/v1.0/1/sessions/{id}/heartbeat", echo)).await.unwrap();
    });
}

/// A server in a process of its own, until it is dropped.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(command: &mut Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let told = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listening on http://")?.parse().ok());
        Self { process, address: told.unwrap() }
    }

    fn registry() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_service-registry"));
        Self::start(command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0"]))
    }

    /// Seconds of processor time that it has taken so far.
    fn processor(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap_or_default();
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        f64::from(ticks) / 100.0 // of which Linux has 100 a second, whatever else it counts in
    }

    /// Megabytes of memory that it has touched.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        kilobytes.unwrap_or_default() / 1024.0
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        #[expect(clippy::disallowed_methods, reason = "this process has no other children")]
        self.process.wait().ok();
    }
}

/// A connection, and the sessions that beat on it in turn: id and token of each.
struct Holder {
    stream: TcpStream,
    sessions: Vec<(String, String)>,
    next: usize,
    answer: Vec<u8>,
}

impl Holder {
    async fn connect(address: SocketAddr, sessions: Vec<(String, String)>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, sessions, next: 0, answer: Vec::new() }
    }

    /// One request and its answer: head and body.
    async fn ask(&mut self, request: &str) -> (&str, &str) {
        self.stream.write_all(request.as_bytes()).await.unwrap();
        self.answer.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.answer).await.unwrap() > 0, "it hung up");
            let text = std::str::from_utf8(&self.answer).unwrap();
            let Some(end) = text.find("\r\n\r\n") else { continue };
            let length = value_after(&text[..end + 2], "content-length: ").parse::<usize>().unwrap();
            if text.len() == end + 4 + length {
                break;
            }
        }
        std::str::from_utf8(&self.answer).unwrap().split_once("\r\n\r\n").unwrap()
    }

    async fn open(&mut self) {
        let (head, body) = self.ask(&post_request("/v1.0/1/sessions", "{\"heartbeat_timeout\": 120}")).await;
        let id = value_after(head, "/v1.0/1/sessions/").to_owned();
        let token = token_in(body).to_owned();
        self.sessions.push((id, token));
    }

    async fn beat(&mut self) {
        let at = self.next;
        self.next = (at + 1) % self.sessions.len();
        let (id, token) = &self.sessions[at];
        let request = post_request(&format!("/v1.0/1/sessions/{id}/heartbeat"), &format!("{{\"token\": \"{token}\"}}"));
        let (head, body) = self.ask(&request).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}{body}");
        let token = token_in(body).to_owned();
        self.sessions[at].1 = token;
    }
}

fn post_request(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// What follows a name in a head, to the end of the line; names of headers come in small letters.
fn value_after<'a>(head: &'a str, name: &str) -> &'a str {
    let Some((_, rest)) = head.split_once(name) else { panic!("no {name} in {head}") };
    rest.lines().next().unwrap()
}

fn token_in(body: &str) -> &str {
    let Some((_, rest)) = body.split_once("\"token\"") else { panic!("no token in {body}") };
    rest.split('"').nth(1).unwrap()
}

/// Lets every holder beat for a turn. Returns the beats per second, and the holders.
async fn turn(holders: Vec<Holder>) -> (f64, Vec<Holder>) {
    let start = Instant::now();
    let mut running = JoinSet::new();
    for mut holder in holders {
        running.spawn(async move {
            let mut beats = 0_u32;
            while start.elapsed() < TURN {
                holder.beat().await;
                beats += 1;
            }
            (beats, holder)
        });
    }
    let (beats, holders): (Vec<u32>, Vec<Holder>) = running.join_all().await.into_iter().unzip();
    (f64::from(beats.iter().sum::<u32>()) / start.elapsed().as_secs_f64(), holders)
}

/// Opens sessions, over 16 connections at once.
async fn open(address: SocketAddr, count: usize) -> Vec<(String, String)> {
    let mut running = JoinSet::new();
    for part in 0..16 {
        running.spawn(async move {
            let mut holder = Holder::connect(address, Vec::new()).await;
            for _ in 0..count / 16 + usize::from(part < count % 16) {
                holder.open().await;
            }
            holder.sessions
        });
    }
    running.join_all().await.concat()
}

async fn connect(address: SocketAddr, connections: usize, sessions: &[(String, String)]) -> Vec<Holder> {
    let mut holders = Vec::new();
    for part in 0..connections {
        let own = sessions.iter().skip(part).step_by(connections).cloned().collect();
        holders.push(Holder::connect(address, own).await);
    }
    holders
}

async fn compare(echo: &Server, count: usize) {
    let registry = Server::registry();
    let start = Instant::now();
    let mut sessions = open(registry.address, count).await;
    println!("\n{count} sessions, opened in {:.1} s, {:.0} MB", start.elapsed().as_secs_f64(), registry.resident());
    println!("{:>45}{:>33}", "by time", "by processor, µs for each");
    println!(
        "{:>12}{:>12}{:>13}{:>8}{:>12}{:>13}{:>8}",
        "connections", "echo /s", "registry /s", "ratio", "echo", "registry", "ratio"
    );
    for connections in CONNECTIONS {
        let mut one = connect(echo.address, connections, &sessions).await;
        let mut other = connect(registry.address, connections, &sessions).await;
        let mut rounds = Vec::new();
        let before = [echo.processor(), registry.processor()];
        for _ in 0..TURNS {
            let (by_echo, by_registry);
            (by_echo, one) = turn(one).await;
            (by_registry, other) = turn(other).await;
            rounds.push((by_registry / by_echo, by_echo, by_registry));
        }
        let cost = |server: &Server, before: f64, each: fn(&(f64, f64, f64)) -> f64| {
            (server.processor() - before) * 1e6 / (rounds.iter().map(each).sum::<f64>() * TURN.as_secs_f64())
        };
        let of_echo = cost(echo, before[0], |round| round.1);
        let of_registry = cost(&registry, before[1], |round| round.2);
        let by_cost = of_echo / of_registry;
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ratio, by_echo, by_registry) = rounds[TURNS / 2];
        print!("{connections:>12}{by_echo:>12.0}{by_registry:>13.0}{ratio:>8.2}");
        println!("{of_echo:>12.2}{of_registry:>13.2}{by_cost:>8.2}");
        sessions = other.into_iter().flat_map(|holder| holder.sessions).collect();
    }
}

/// A page of 100 by a tag that one in ten of 100,000 services has: the first page, and one from the middle.
async fn list() {
    const SERVICES: usize = 100_000;
    let registry = Server::registry();
    let (id, _) = open(registry.address, 1).await.swap_remove(0);
    let mut holder = Holder::connect(registry.address, Vec::new()).await;
    for number in 0..SERVICES {
        let tag = if number % 10 == 0 { "wanted" } else { "other" };
        let body = format!(r#"{{"id": "service-{number:06}", "session_id": "{id}", "tags": ["api", "{tag}"]}}"#);
        holder.ask(&post_request("/v1.0/1/services", &body)).await;
    }
    println!("\na page of 100 by tag out of {SERVICES} services, of which 1 in 10 has it");
    for (name, path) in [
        ("first page", "/v1.0/1/services?tag=wanted&limit=100"),
        ("from the middle", "/v1.0/1/services?tag=wanted&limit=100&marker=service-050000"),
        ("a tag that no service has", "/v1.0/1/services?tag=nobody&limit=100"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut times = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            holder.ask(&request).await;
            times.push(start.elapsed().as_secs_f64() * 1000.0);
        }
        times.sort_by(f64::total_cmp);
        println!("{name:>20}{:>10.2} ms (median){:>10.2} ms (99 of 100)", times[50], times[98]);
    }
}

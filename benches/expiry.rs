//! Whether nobody who beats is expired, and how late the dead are found, with 100,000 sessions of 10 s.
//!
//! `cargo bench --bench expiry`: a registry in this process; 32 threads beat for all sessions, every 6 s for each. Then
//! half of them fall silent at once; and then 10,000 more that were opened within a second and never beat. When a dead
//! session is gone is asked with heartbeats that cannot succeed (with an invalid token): these do not make the registry
//! look for the dead, so what is measured is what it does by itself. The lateness includes the pause between two
//! questions about the same session. Fails if a session with heartbeats expired.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed measurement must not print figures")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use service_registry::registry::{Config, Registry};

const SESSIONS: usize = 100_000;
const BURST: usize = 10_000;
const THREADS: usize = 32;
const EVERY: Duration = Duration::from_secs(6);
/// How many of the dead are asked about.
const SAMPLE: usize = 500;
/// Milliseconds between the calendar that UUIDs count from, and 1970.
const GREGORIAN_MS: u64 = 12_219_292_800_000;

struct Session {
    id: String,
    token: String,
}

fn main() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = Registry::bind(Config::anonymous(), listener).unwrap();
    let address = registry.local_addr();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(registry.serve(std::future::pending())).unwrap();
    });
    let (half, stop, beats) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (deliver, dead) = channel();
        for _ in 0..THREADS {
            let (half, stop, beats, deliver) = (&half, &stop, &beats, deliver.clone());
            scope.spawn(move || beat_until(address, half, stop, beats, &deliver));
        }
        std::thread::sleep(Duration::from_secs(30));
        let before = beats.load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_secs(5));
        println!("{SESSIONS} sessions, {} heartbeats/s", (beats.load(Ordering::Relaxed) - before) / 5);
        half.store(true, Ordering::Relaxed);
        let dead: Vec<Session> = (0..THREADS).flat_map(|_| dead.recv().unwrap()).collect();
        let sample: Vec<Session> = dead.into_iter().step_by(SESSIONS / 2 / SAMPLE).collect();
        println!("half of them silent at once: worst lateness {} ms", worst_lateness(address, &sample));
        std::thread::sleep(Duration::from_secs(12)); // one more timeout for the sessions that are alive
        stop.store(true, Ordering::Relaxed);
    });
    println!("no session with heartbeats expired; {} heartbeats in all", beats.load(Ordering::Relaxed));
    let begun = Instant::now();
    let burst: Vec<Session> = std::thread::scope(|scope| {
        let openers: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(address);
                    (0..BURST / THREADS).map(|_| client.open()).collect::<Vec<_>>()
                })
            })
            .collect();
        openers.into_iter().flat_map(|opener| opener.join().unwrap()).collect()
    });
    println!("{} more opened within {:.1?}", burst.len(), begun.elapsed());
    let sample: Vec<Session> = burst.into_iter().step_by(BURST / SAMPLE).collect();
    println!("all of them expiring: worst lateness {} ms", worst_lateness(address, &sample));
}

/// Beats for its sessions, then for half of them; delivers the ones it has left behind.
fn beat_until(
    address: SocketAddr,
    half: &AtomicBool,
    stop: &AtomicBool,
    beats: &AtomicU64,
    deliver: &Sender<Vec<Session>>,
) {
    let mut client = Client::new(address);
    let mut sessions: Vec<Session> = Vec::new();
    let mut is_half = false;
    let count = SESSIONS / THREADS;
    let begun = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        if half.load(Ordering::Relaxed) && !is_half {
            is_half = true;
            deliver.send(sessions.split_off(count / 2)).unwrap();
        }
        let pause = (EVERY / u32::try_from(count).unwrap() * number).saturating_sub(begun.elapsed());
        std::thread::sleep(pause);
        let at = usize::try_from(number).unwrap() % count;
        if number < u32::try_from(count).unwrap() {
            sessions.push(client.open());
        } else if let Some(session) = sessions.get_mut(at) {
            let (status, body) = client.beat(&session.id, &session.token);
            assert_eq!(status, 200, "{} kept beating, and is gone", session.id);
            session.token = token_of(&body);
            beats.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Asks about each until it is gone; the most that it took after the deadline, in milliseconds.
fn worst_lateness(address: SocketAddr, dead: &[Session]) -> u64 {
    let mut client = Client::new(address);
    let mut left: Vec<(&Session, u64)> = dead.iter().map(|session| (session, deadline(&session.token))).collect();
    let mut worst = 0;
    while !left.is_empty() {
        left.retain(|(session, deadline)| {
            let (status, body) = client.beat(&session.id, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
            assert_eq!(status, 404);
            let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
            let is_gone = body.contains("Session");
            if is_gone {
                assert!(now + 100 >= *deadline, "{} is gone too early", session.id);
                worst = worst.max(now.saturating_sub(*deadline));
            }
            !is_gone
        });
    }
    worst
}

/// The time in a token: the deadline.
fn deadline(token: &str) -> u64 {
    let part = |range| u64::from_str_radix(&token[range], 16).unwrap();
    (part(15..18) << 48 | part(9..13) << 32 | part(0..8)) / 10_000 - GREGORIAN_MS
}

fn token_of(body: &str) -> String {
    body.split("\"token\": \"").nth(1).unwrap_or_else(|| panic!("{body}")).split('"').next().unwrap().to_owned()
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn open(&mut self) -> Session {
        let (status, head, body) = self.post("/v1.0/1/sessions", "{\"heartbeat_timeout\": 10}");
        assert_eq!(status, 201, "{body}");
        let id = head.split("/sessions/").nth(1).unwrap().split('\r').next().unwrap().to_owned();
        Session { id, token: token_of(&body) }
    }

    fn beat(&mut self, id: &str, token: &str) -> (u16, String) {
        let path = format!("/v1.0/1/sessions/{id}/heartbeat");
        let (status, _, body) = self.post(&path, &format!("{{\"token\": \"{token}\"}}"));
        (status, body)
    }

    fn post(&mut self, path: &str, body: &str) -> (u16, String, String) {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            assert!(self.0.read_line(&mut head).unwrap() > 0, "the connection was closed");
            if let Some(value) = head[start..].to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if &head[start..] == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head[9..12].parse().unwrap(), head, String::from_utf8(body).unwrap())
    }
}

//! Many followers, slow ones, and ones that read nothing.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use service_registry::registry::{Config, Timeouts};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::bench::followers::{Asked, EventStream};
use crate::bench::registry::Server;
use crate::bench::users::address;
use crate::bench::{Client, DEADLINE, Registry};

/// As many streams, and as many that poll.
const FOLLOWERS: usize = 500;
const EVENTS: usize = 20;

async fn ask(address: SocketAddr, connection: &mut BufReader<TcpStream>, path: &str, accept: &str) {
    let request = format!("GET /v1.0/1{path} HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
}

/// The ids of the events of a stream.
async fn stream(address: SocketAddr, marker: String) -> Vec<String> {
    let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    ask(address, &mut connection, &format!("/events?marker={marker}"), "text/event-stream").await;
    let (mut ids, mut last, mut line) = (Vec::new(), String::new(), String::new());
    while ids.len() < EVENTS {
        line.clear();
        connection.read_line(&mut line).await.unwrap();
        if let Some(id) = line.strip_prefix("id: ") {
            last = id.trim().to_owned();
        } else if line.starts_with("data: ") {
            ids.push(last.clone());
        }
    }
    ids
}

/// Less than the wait: an event must end it.
const SOON: Duration = Duration::from_secs(45);

/// The ids of the events that one long poll after the other returns.
async fn poll(address: SocketAddr, mut marker: String) -> Vec<String> {
    let mut connection = BufReader::new(TcpStream::connect(address).await.unwrap());
    let mut ids = Vec::new();
    while ids.len() < EVENTS {
        ask(address, &mut connection, &format!("/events?wait=60&marker={marker}"), "*/*").await;
        let (mut length, mut line) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            let read = timeout(SOON, connection.read_line(&mut line)).await;
            assert!(read.is_ok_and(|read| read.is_ok()), "it was not woken");
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = text.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await.unwrap();
        let page: Value = serde_json::from_slice(&body).unwrap();
        ids.extend(page["values"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
        page["metadata"]["next_marker"].as_str().unwrap().clone_into(&mut marker);
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn thousand_followers_get_everything_in_order() {
    let registry = Registry::start_with(&["-q"]);
    let at = address(&registry);
    let marker = {
        let start = Client::new(at).get("/events?wait=0").json();
        start["metadata"]["next_marker"].as_str().unwrap().to_owned()
    };
    let streams: Vec<_> = (0..FOLLOWERS).map(|_| tokio::spawn(stream(at, marker.clone()))).collect();
    let polls: Vec<_> = (0..FOLLOWERS).map(|_| tokio::spawn(poll(at, marker.clone()))).collect();
    let made = tokio::task::spawn_blocking(move || {
        let mut client = Client::new(at);
        for number in 0..EVENTS {
            assert_eq!(client.put("/configuration/key", json!({"value": number.to_string()})).status, 204);
        }
        let all = client.get("/events?limit=1000").json();
        let all = all["values"].as_array().unwrap().iter();
        all.map(|event| event["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let made = made.await.unwrap();
    assert_eq!(made.len(), EVENTS);
    for follower in streams.into_iter().chain(polls) {
        assert_eq!(timeout(DEADLINE, follower).await.unwrap().unwrap(), made);
    }
}

/// Its events stay in the feed, where all others read them, and not in a queue of its own.
#[test]
fn follower_that_reads_nothing_costs_little_and_disturbs_nobody() {
    const STUCK: usize = 100;
    let registry = Registry::start_with(&["-q"]);
    let mut client = Client::new(address(&registry));
    let stuck: Vec<_> = (0..STUCK).map(|_| client.ask("/events", &[("Accept", "text/event-stream")])).collect();
    let mut reader = EventStream::open(&mut client, "/events", &[]);
    let value = "x".repeat(1000);
    // Fills what the system buffers for them.
    for number in 0..1000 {
        client.put("/configuration/key", json!({"value": format!("{number}{value}")}));
    }
    let before = memory(registry.process.pid.as_raw());
    for number in 1000..3000 {
        client.put("/configuration/key", json!({"value": format!("{number}{value}")}));
        if number % 100 == 0 {
            client.get("/services");
        }
    }
    for number in 0..3000 {
        let event = reader.event().unwrap();
        assert_eq!(event.event["payload"]["new_value"], format!("{number}{value}"));
    }
    // The 2000 events themselves, which are in memory, take 4 MB; for each of those that are stuck it would be 400.
    let grown = memory(registry.process.pid.as_raw()) - before;
    assert!(grown < 20_000, "{grown} kB");
    drop(stuck);
}

/// The resident memory of a process, in kB.
fn memory(pid: i32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn follower_that_reads_nothing_is_disconnected() {
    let timeouts = Timeouts { unread: Duration::from_millis(200), ..Timeouts::default() };
    let server = Server::start(Config::anonymous().timeouts(timeouts));
    let mut client = server.client();
    let mut stuck = EventStream::open(&mut client, "/events", &[]);
    let mut reader = EventStream::open(&mut client, "/events", &[]);
    let value = "x".repeat(1000);
    let mut number = 0;
    let mut make = |count: usize| {
        for _ in 0..count {
            client.put("/configuration/key", json!({"value": format!("{number}{value}")}));
            assert_eq!(reader.event().unwrap().event["payload"]["new_value"], format!("{number}{value}"));
            number += 1;
        }
    };
    // More than the system buffers at both ends.
    make(6000);
    let mut seen = 0;
    while stuck.event().is_some() {
        seen += 1;
    }
    assert!(seen < 6000, "it has received all {seen}");
}

/// A client may keep a quarter of the connections for requests that are answered at once.
#[test]
fn followers_leave_connections_to_others() {
    let server = Server::start(Config::anonymous().max_connections(40));
    let mut client = server.client();
    let position = client.get("/events?wait=0").json()["metadata"]["next_marker"].as_str().unwrap().to_owned();
    let path = format!("/events?wait=60&marker={position}");
    let mut stream = EventStream::open(&mut client, "/events", &[]);
    stream.block().unwrap();
    let mut waiting = Vec::new();
    let refused = loop {
        let asked = Asked::get(&mut client, &path, &[]);
        if !asked.waits(&mut client) {
            break asked.answer();
        }
        waiting.push(asked);
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert!((5..30).contains(&waiting.len()), "{}", waiting.len());
    assert_eq!(client.send("GET", "/events", &[("Accept", "text/event-stream")], "").status, 503);
    let mut others: Vec<Client> = (0..60).map(|_| server.client()).collect();
    assert!(others.iter_mut().all(|other| other.get("/limits").status == 200), "idle ones make room");
    client.put("/configuration/key", json!({"value": "1"}));
    for asked in waiting {
        assert_eq!(asked.answer().json()["metadata"]["count"], 1);
    }
    assert!(stream.event().is_some(), "it is not idle");
    assert_eq!(client.get(&path).status, 200, "there is room again");
}

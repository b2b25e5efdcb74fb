//! Long polls and event streams through another node, and bodies that are read slowly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::{Client, Node, PATIENCE, at, fake_owner, header, request, status};
use crate::registry::http::forward::address::Location;
use crate::registry::model::Clock;

const STREAM: &str = "Accept: text/event-stream\r\n";
const SESSION: &str = r#"{"heartbeat_timeout": 30}"#;

async fn pair() -> (Node, Node) {
    let clock = Clock::system();
    let owner = Node::owner(&clock).await;
    let front = Node::front(&clock, at(owner.address)).await;
    (owner, front)
}

/// Sets a value, which makes an event.
async fn change(node: &Node) {
    let body = format!(r#"{{"value": "{}"}}"#, fastrand::u64(..));
    let answer = Client::connect(node.address).await.ask("PUT", "/v1.0/7/configuration/abc", "", &body).await;
    assert_eq!(status(&answer), 204, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn event_stream_passes_each_event_on() {
    let (owner, front) = pair().await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("GET", "/v1.0/7/events", STREAM, "")).await;
    let head = client.until("\r\n\r\n").await;
    assert_eq!(header(&head, "content-type"), Some("text/event-stream"), "{head}");
    client.until("retry: ").await;
    for _ in 0..3 {
        change(&owner).await;
        let text = client.until("event: configuration_value.update").await;
        assert!(!text.contains("\r\n0\r\n"), "{text}");
    }
    change(&front).await;
    client.until("event: configuration_value.update").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_poll_waits_at_the_owner() {
    let (owner, front) = pair().await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("GET", "/v1.0/7/events?wait=20", "", "")).await;
    let mut first = Client::connect(front.address).await;
    let listed = first.ask("GET", "/v1.0/7/events?wait=1", "", "").await; // longer than the other one took to arrive
    assert!(listed.contains("\"values\": []"), "{listed}");
    change(&owner).await;
    let answer = client.answer(false).await;
    assert!(answer.contains("configuration_value.update"), "{answer}");
}

/// It is asked again, for what there is, and the connection is closed with the answer.
#[tokio::test(flavor = "multi_thread")]
async fn long_poll_is_answered_when_the_front_stops() {
    let (owner, front) = pair().await;
    let mut client = Client::connect(front.address).await;
    client.ask("POST", "/v1.0/7/sessions", "", SESSION).await;
    client.send(&request("GET", "/v1.0/7/services?wait=60", "If-None-Match: *\r\n", "")).await;
    // A second one on another connection shows that requests before it have arrived.
    Client::connect(front.address).await.ask("GET", "/v1.0/7/events?wait=1", "", "").await;
    let start = Instant::now();
    front.stop().await;
    let answer = client.answer(false).await;
    assert!(start.elapsed() < Duration::from_secs(4), "it was cut, or waited");
    assert_eq!((status(&answer), header(&answer, "connection")), (304, Some("close")), "{answer}");
    assert_eq!(client.rest().await, "");
    owner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_stream_ends_whole_when_a_node_stops_or_the_shard_moves() {
    for case in 0..3 {
        let (owner, front) = pair().await;
        let mut client = Client::connect(front.address).await;
        client.send(&request("GET", "/v1.0/7/events", STREAM, "")).await;
        client.until("retry: ").await;
        let _kept = match case {
            0 => (front.stop().await, Some(owner), None),
            1 => (owner.stop().await, None, Some(front)),
            _ => (front.table.set(Location::Unsettled), Some(owner), Some(front)),
        };
        client.until("\r\n0\r\n\r\n").await;
    }
}

/// The wait of the request counts from its arrival at the front: the owner that is asked second gets what is left.
#[tokio::test(flavor = "multi_thread")]
async fn long_poll_goes_on_at_the_next_owner() {
    let clock = Clock::system();
    let owners = [Node::owner(&clock).await, Node::owner(&clock).await];
    let front = Node::front(&clock, at(owners[0].address)).await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("GET", "/v1.0/7/events?wait=3", "", "")).await;
    let start = Instant::now();
    Client::connect(front.address).await.ask("GET", "/v1.0/7/events?wait=1", "", "").await;
    let Location::At { url, .. } = at(owners[1].address) else { unreachable!() };
    front.table.set(Location::At { node: "00000000000000cc".to_owned(), url });
    let answer = client.answer(false).await;
    assert!(answer.contains("\"values\": []"), "{answer}");
    let took = start.elapsed();
    assert!(took > Duration::from_millis(2900) && took < Duration::from_millis(4500), "{took:?}");
}

/// The owner sends without end; what is between it and a client that does not read is bounded.
#[tokio::test(flavor = "multi_thread")]
async fn slow_reader_costs_bounded_memory_and_gets_everything() {
    const ALL: u64 = 64 << 20;
    let written = Arc::new(AtomicU64::new(0));
    let count = written.clone();
    let owner = fake_owner(move |mut owner, _| {
        let count = count.clone();
        async move {
            owner.until("\r\n\r\n").await;
            owner.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {ALL}\r\n\r\n")).await;
            for _ in 0..ALL >> 16 {
                owner.stream.write_all(&[b'x'; 1 << 16]).await.unwrap();
                count.fetch_add(1 << 16, Ordering::Relaxed);
            }
            owner.rest().await;
        }
    })
    .await;
    let front = Node::front(&Clock::system(), at(owner)).await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("GET", "/v1.0/7/services", "", "")).await;
    client.until("\r\n\r\n").await;
    let stalled = async {
        let mut before = u64::MAX;
        while before != written.load(Ordering::Relaxed) {
            before = written.load(Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        before
    };
    let stalled = timeout(PATIENCE, stalled).await.unwrap();
    assert!(stalled < 20 << 20, "{stalled} bytes were taken from the owner"); // most of it in the system's buffers
    let mut read = client.unread.len() as u64;
    while read < ALL {
        client.unread.clear();
        let count = client.more().await as u64;
        assert!(count > 0, "it broke off after {read} bytes");
        read += count;
    }
    assert_eq!(read, ALL);
}

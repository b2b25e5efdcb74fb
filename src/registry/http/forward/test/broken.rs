//! Owners that end in the middle of something.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{Client, Node, at, deserted, fake_owner, header, request, status};
use crate::registry::model::Clock;

const SMALL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// An owner that reads a request and sends this, counts, and ends.
async fn brief_owner(answer: Vec<u8>, requests: &Arc<AtomicUsize>) -> std::net::SocketAddr {
    let requests = requests.clone();
    fake_owner(move |mut owner, _| {
        let (answer, requests) = (answer.clone(), requests.clone());
        async move {
            owner.until("\r\n\r\n").await;
            requests.fetch_add(1, Ordering::Relaxed);
            owner.stream.write_all(&answer).await.unwrap();
        }
    })
    .await
}

/// A client must be able to tell that the end is missing.
#[tokio::test(flavor = "multi_thread")]
async fn body_that_breaks_off_breaks_off_at_the_client() {
    for head in ["Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let mut answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n1f400\r\n").into_bytes();
        answer.resize(answer.len() + 0x1f400, b'x');
        answer.extend_from_slice(b"\r\n5\r\nab");
        let requests = Arc::default();
        let owner = brief_owner(answer, &requests).await;
        let front = Node::front(&Clock::system(), at(owner)).await;
        let mut client = Client::connect(front.address).await;
        client.send(&request("GET", "/v1.0/7/services", "", "")).await;
        let answer = client.rest().await;
        assert_eq!(status(&answer), 200);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains("xxxx") && body.len() < 1_000_000 && !body.ends_with("0\r\n\r\n"), "{head}");
        assert_eq!(header(head, "content-length").is_some(), head.contains("1000000"), "{head}");
        assert_eq!(requests.load(Ordering::Relaxed), 1);
    }
}

/// Its answer never came, so nobody knows whether it was executed.
#[tokio::test(flavor = "multi_thread")]
async fn request_that_may_have_been_executed_is_not_repeated() {
    for broken in
        ["", "HTTP/1.1 200 OK\r\nConte", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhal", "nonsense\r\n\r\n"]
    {
        for (method, path) in [
            ("POST", "/v1.0/7/sessions"),
            ("PUT", "/v1.0/7/services/a"),
            ("DELETE", "/v1.0/7/services/a"),
            ("POST", "/v1.0/7/services"),
        ] {
            let requests = Arc::default();
            let owner = brief_owner(broken.into(), &requests).await;
            let front = Node::front(&Clock::system(), at(owner)).await;
            let answer = Client::connect(front.address).await.ask(method, path, "", "").await;
            let outcome = (status(&answer), header(&answer, "retry-after"), requests.load(Ordering::Relaxed));
            assert_eq!(outcome, (503, Some("1"), 1), "{method} {path} {broken:?} {answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_may_be_repeated_is_repeated() {
    for (method, path) in [
        ("GET", "/v1.0/7/services"),
        ("HEAD", "/v1.0/7/services"),
        ("POST", "/v1.0/7/sessions/a/heartbeat"),
        ("POST", "/v1.0/7/services/a/Heartbeat/"),
    ] {
        let owner = fake_owner(|mut owner, number| async move {
            owner.until("\r\n\r\n").await;
            owner.send(if number < 2 { "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" } else { SMALL }).await;
        })
        .await;
        let front = Node::front(&Clock::system(), at(owner)).await;
        let answer = Client::connect(front.address).await.ask(method, path, "", "").await;
        assert_eq!(status(&answer), 200, "{method} {path}: {answer}");
        assert_eq!(header(&answer, "content-length"), Some("2"));
    }
}

/// No request is lost when the owner has closed a connection that was kept.
#[tokio::test(flavor = "multi_thread")]
async fn closed_connection_costs_no_request() {
    let [requests, closed] = [(); 2].map(|()| Arc::<AtomicUsize>::default());
    let counts = (requests.clone(), closed.clone());
    let owner = fake_owner(move |mut owner, _| {
        let (requests, closed) = counts.clone();
        async move {
            owner.until("\r\n\r\n").await;
            requests.fetch_add(1, Ordering::Relaxed);
            owner.send(SMALL).await; // which does not say that the connection closes
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop(owner);
            closed.fetch_add(1, Ordering::Relaxed);
        }
    })
    .await;
    let front = Node::front(&Clock::system(), at(owner)).await;
    let mut client = Client::connect(front.address).await;
    for number in 1..=10 {
        let answer = client.ask("POST", "/v1.0/7/sessions", "", "{}").await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        assert_eq!(requests.load(Ordering::Relaxed), number);
        while closed.load(Ordering::Relaxed) < number {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // until the front's system has told
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_kept() {
    let connections = Arc::<AtomicUsize>::default();
    let count = connections.clone();
    let owner = fake_owner(move |mut owner, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async move {
            loop {
                owner.until("\r\n\r\n{}").await;
                owner.send(SMALL).await;
            }
        }
    })
    .await;
    let front = Node::front(&Clock::system(), at(owner)).await;
    for _ in 0..5 {
        let mut client = Client::connect(front.address).await;
        for _ in 0..5 {
            assert_eq!(status(&client.ask("POST", "/v1.0/7/sessions", "", "{}").await), 200);
        }
    }
    assert_eq!(connections.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_that_refuses_is_waited_for() {
    let clock = Clock::system();
    let front = Node::front(&clock, at(deserted().await)).await;
    let owner = Node::owner(&clock).await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("POST", "/v1.0/7/sessions", "", "{\"heartbeat_timeout\": 30}")).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // some attempts
    front.table.set(at(owner.address));
    assert_eq!(status(&client.answer(false).await), 201);
}

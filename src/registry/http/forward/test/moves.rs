//! Shards that move, and nodes that believe different things about them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::{Client, FRONT, Node, OWNER, at, deserted, fake_owner, header, peers, request, status, url};
use crate::registry::http::context::{Caller, Door};
use crate::registry::http::forward::address::Location;
use crate::registry::http::forward::outgoing::Outgoing;
use crate::registry::http::forward::peers::Forwarded;
use crate::registry::model::Clock;

const SESSION: &str = r#"{"heartbeat_timeout": 30}"#;

/// Forwards a request as another node does.
async fn forward(to: std::net::SocketAddr, method: &str) -> Forwarded {
    let request = hyper::Request::builder().method(method).uri("/v1.0/7/sessions").header("host", "registry.test");
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let address = [127, 0, 0, 1].into();
    let caller = Caller { address, local: address, is_secure: false, door: Door::Main };
    let body = if method == "POST" { SESSION.into() } else { hyper::body::Bytes::new() };
    let outgoing = Outgoing { parts: &parts, body: &body, caller, id: "an-id", listening: to };
    peers(FRONT).forward(&url(to), &outgoing, Duration::from_secs(5), Duration::ZERO).await
}

#[tokio::test(flavor = "multi_thread")]
async fn node_that_is_not_the_owner_says_so_and_does_not_forward() {
    let clock = Clock::system();
    let requests = Arc::<AtomicUsize>::default();
    let count = requests.clone();
    let other = fake_owner(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        async {}
    })
    .await;
    let node = Node::front(&clock, at(other)).await;
    for method in ["POST", "GET", "HEAD"] {
        let outcome = forward(node.address, method).await;
        assert!(matches!(&outcome, Forwarded::NotOwner(Some(owner)) if owner == OWNER));
        node.table.set(Location::Unsettled);
        assert!(matches!(forward(node.address, method).await, Forwarded::NotOwner(None)));
        node.table.set(at(other));
    }
    assert_eq!(requests.load(Ordering::Relaxed), 0);
    node.table.set(Location::Here(()));
    assert!(matches!(forward(node.address, "POST").await, Forwarded::Answer(answer) if answer.status() == 201));
}

#[tokio::test(flavor = "multi_thread")]
async fn node_without_a_listener_got_nothing() {
    assert!(matches!(forward(deserted().await, "POST").await, Forwarded::NotSent(_)));
}

/// Each takes the other one for the owner: the client gets an answer after five seconds.
#[tokio::test(flavor = "multi_thread")]
async fn request_without_an_owner_gets_503_after_five_seconds() {
    let clock = Clock::system();
    let unsettled = Node::front(&clock, Location::Unsettled).await;
    let one = Node::front(&clock, Location::Unsettled).await;
    let other = Node::front(&clock, at(one.address)).await;
    one.table.set(at(other.address));
    let start = Instant::now();
    let answers = [&one, &unsettled]
        .map(|node| async { Client::connect(node.address).await.ask("POST", "/v1.0/7/sessions", "", SESSION).await });
    for answer in futures_util::future::join_all(answers).await {
        assert_eq!((status(&answer), header(&answer, "retry-after")), (503, Some("1")), "{answer}");
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(4900) && took < Duration::from_secs(9), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn request_follows_the_shard() {
    let clock = Clock::system();
    let owner = Node::owner(&clock).await;
    // The first owner does not know yet that it has lost the shard, and then does.
    let former = Node::front(&clock, Location::Unsettled).await;
    let front = Node::front(&clock, at(former.address)).await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("POST", "/v1.0/7/sessions", "", SESSION)).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // some attempts
    front.table.set(Location::At { node: "00000000000000cc".to_owned(), url: url(owner.address) });
    assert_eq!(status(&client.answer(false).await), 201);
    front.table.set(Location::Here(()));
    let answer = client.ask("GET", "/v1.0/7/sessions", "", "").await;
    assert!(answer.contains("\"values\": []"), "the front has a state of its own: {answer}");
}

/// An owner that is stopped holds its connections open. What may be repeated goes to the next one.
#[tokio::test(flavor = "multi_thread")]
async fn heartbeat_leaves_an_owner_that_hangs() {
    let clock = Clock::system();
    let owner = Node::owner(&clock).await;
    let hanging = fake_owner(|mut owner, _| async move { drop(owner.rest().await) }).await;
    let front = Node::front(&clock, at(hanging)).await;
    let mut client = Client::connect(front.address).await;
    client.send(&request("POST", "/v1.0/7/sessions/a/heartbeat", "", r#"{"token": "x"}"#)).await;
    tokio::time::sleep(Duration::from_millis(200)).await; // it has arrived
    let start = Instant::now();
    front.table.set(Location::At { node: "00000000000000cc".to_owned(), url: url(owner.address) });
    assert_eq!(status(&client.answer(false).await), 400, "the owner says that this is no token");
    assert!(start.elapsed() < Duration::from_secs(3));
}

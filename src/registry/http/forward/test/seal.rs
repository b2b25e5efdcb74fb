//! What a node accepts as forwarded.

use std::time::Duration;

use hyper::http::request::Parts;

use super::{Client, FRONT, Node, SECRET, header, status};
use crate::registry::http::forward::address::Location;
use crate::registry::http::forward::outgoing::remove_hop_by_hop;
use crate::registry::http::forward::seal::{FORWARDED, Forged, ForwardedCaller, Key, Stamp};
use crate::registry::model::Clock;

const BODY: &[u8] = br#"{"heartbeat_timeout": 30}"#;

fn stamp() -> Stamp<'static> {
    let address = "2001:db8::7".parse().unwrap();
    Stamp { node: FRONT, address, is_secure: true, id: ".rh-a.h-b", wait: Duration::from_millis(4321) }
}

fn parts(method: &str, target: &str, seal: &str) -> Parts {
    hyper::Request::builder().method(method).uri(target).header(FORWARDED, seal).body(()).unwrap().into_parts().0
}

fn seal(key: &Key) -> String {
    key.seal("POST", "/v1.0/7/sessions?a=b", &stamp(), BODY).to_str().unwrap().to_owned()
}

#[test]
fn seal_tells_who_asks() {
    let key = Key::of(&SECRET);
    let caller =
        ForwardedCaller::of(&parts("POST", "http://x/v1.0/7/sessions?a=b", &seal(&key)), &key).unwrap().unwrap();
    assert!(caller.covers(BODY) && !caller.covers(b"{}") && !caller.covers(b""));
    let ForwardedCaller { node, address, is_secure, id, wait, .. } = caller;
    let stamp = stamp();
    assert_eq!((&*node, address, is_secure), (stamp.node, stamp.address, stamp.is_secure));
    assert_eq!((&*id, wait), (stamp.id, stamp.wait));
}

#[test]
fn seal_of_another_request_is_refused() {
    let key = Key::of(&SECRET);
    let seal = seal(&key);
    let read = |method, target, seal: &str, key: &Key| ForwardedCaller::of(&parts(method, target, seal), key).map(drop);
    let path = "/v1.0/7/sessions?a=b";
    assert_eq!(read("POST", path, &seal, &key), Ok(()));
    assert_eq!(read("PUT", path, &seal, &key), Err(Forged));
    assert_eq!(read("POST", "/v1.0/7/sessions", &seal, &key), Err(Forged));
    assert_eq!(read("POST", "/v1.0/8/sessions?a=b", &seal, &key), Err(Forged));
    assert_eq!(read("POST", path, &seal, &Key::of(&[8; 32])), Err(Forged));
    for wrong in ["", "v1", ";mac=", "v1;mac=00"] {
        assert_eq!(read("POST", path, wrong, &key), Err(Forged), "{wrong}");
    }
    // Every changed letter, missing end and addition.
    for at in 0..seal.len() {
        let mut changed = seal.clone().into_bytes();
        changed[at] = if changed[at] == b'0' { b'1' } else { b'0' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(read("POST", path, &changed, &key), Err(Forged), "{changed}");
        assert_eq!(read("POST", path, &seal[..at], &key), Err(Forged), "{at}");
    }
    assert_eq!(read("POST", path, &format!("{seal}0"), &key), Err(Forged));
    let mut twice = parts("POST", path, &seal);
    twice.headers.append(FORWARDED, seal.parse().unwrap());
    assert_eq!(ForwardedCaller::of(&twice, &key).map(drop), Err(Forged));
}

#[tokio::test(flavor = "multi_thread")]
async fn request_with_a_wrong_seal_gets_403() {
    let clock = Clock::system();
    let node = Node::owner(&clock).await;
    let body = std::str::from_utf8(BODY).unwrap();
    let seal = |key: &[u8; 32]| format!("{FORWARDED}: {}\r\n", seal(&Key::of(key)));
    let ask = async |path: &str, seal: String, body: &str| {
        status(&Client::connect(node.address).await.ask("POST", path, &seal, body).await)
    };
    let path = "/v1.0/7/sessions?a=b";
    assert_eq!(ask(path, seal(&SECRET), body).await, 201);
    assert_eq!(ask(path, seal(&[1; 32]), body).await, 403, "another cluster's key");
    assert_eq!(ask(path, seal(&SECRET), "{}").await, 403, "another body");
    assert_eq!(ask(path, seal(&SECRET), "").await, 403, "no body");
    assert_eq!(ask("/v1.0/7/services", seal(&SECRET), body).await, 403, "another path");
    assert_eq!(ask(path, format!("{FORWARDED}: x\r\n"), body).await, 403);
    node.table.set(Location::Unsettled);
    assert_eq!(ask(path, format!("{FORWARDED}: x\r\n"), body).await, 403, "from a client of a node that forwards");
}

/// The node that forwards has checked it, with its own names.
#[tokio::test(flavor = "multi_thread")]
async fn forwarded_request_passes_the_origin_check() {
    let node = Node::owner(&Clock::system()).await;
    let body = std::str::from_utf8(BODY).unwrap();
    let mut client = Client::connect(node.address).await;
    let length = body.len();
    let head = format!("POST /v1.0/7/sessions?a=b HTTP/1.1\r\nHost: other.test\r\nContent-Length: {length}\r\n");
    client.send(&format!("{head}\r\n{body}")).await;
    assert_eq!(status(&client.answer(false).await), 403);
    client.send(&format!("{head}{FORWARDED}: {}\r\n\r\n{body}", seal(&Key::of(&SECRET)))).await;
    let answer = client.answer(false).await;
    assert_eq!(status(&answer), 201, "{answer}");
    let location = header(&answer, "location").unwrap();
    assert!(location.starts_with("https://other.test/"), "the client's connection is encrypted: {location}");
    assert_eq!(header(&answer, "x-response-id"), Some(".rh-a.h-b"));
}

#[test]
fn headers_of_the_connection_are_not_passed_on() {
    let names = [
        ("connection", "close, X-Own , upgrade"),
        ("x-own", "1"),
        ("keep-alive", "1"),
        ("te", "trailers"),
        ("expect", "100-continue"),
        ("upgrade", "h2c"),
        ("trailer", "x"),
        ("proxy-authorization", "x"),
        ("x-auth-token", "t"),
        ("x-forwarded-for", "192.0.2.1"),
        ("user-agent", "a"),
    ];
    let pairs = names.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
    let mut headers: hyper::HeaderMap = pairs.into_iter().collect();
    remove_hop_by_hop(&mut headers);
    let mut left: Vec<&str> = headers.keys().map(hyper::header::HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["user-agent", "x-auth-token", "x-forwarded-for"]);
}

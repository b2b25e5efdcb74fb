//! Long lists: the limits of one response and of all together, and the order in which requests wait.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use serde_json::{Value, json};
use service_registry::registry::{Config, Users};

use crate::bench::registry::connect;
use crate::bench::{Answer, Client, Server, USERS};

/// What is documented as the longest page, and what may come on top of it: the metadata.
const LONGEST: usize = (1 << 20) + 4_096;

/// As much metadata as fits into a request.
fn metadata() -> Value {
    (0..18).map(|number| (format!("key-{number:02}"), json!("x".repeat(230)))).collect::<serde_json::Map<_, _>>().into()
}

/// A session with many services: its id, its token and the ids of those.
fn session(client: &mut Client, services: usize) -> (String, String, Vec<String>) {
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    let ids: Vec<String> = (0..services).map(|number| format!("{session}-{number:04}")).collect();
    for id in &ids {
        client.create("/services", json!({"id": id, "session_id": session, "tags": ["api"], "metadata": metadata()}));
    }
    (session, token, ids)
}

/// All entries of a list, of which no page is too long.
fn read_all(client: &mut Client, path: &str) -> (Vec<Value>, usize) {
    let (mut all, mut pages, mut next) = (Vec::new(), 0, path.to_owned());
    loop {
        let answer = client.get(&next);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.len() <= LONGEST, "{} bytes", answer.body.len());
        let mut page = answer.json();
        let values = std::mem::take(page["values"].as_array_mut().unwrap());
        assert_eq!(page["metadata"]["count"], values.len());
        all.extend(values);
        pages += 1;
        let Some(marker) = page["metadata"]["next_marker"].as_str() else { return (all, pages) };
        let href = page["metadata"]["next_href"].as_str().unwrap();
        assert!(href.ends_with(&format!("marker={}", marker.replace(':', "%3A"))), "{href}");
        next = format!("{path}&marker={marker}");
    }
}

fn ids(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[test]
fn pages_are_bounded_and_complete() {
    let server = Server::open();
    let mut client = server.client();
    let (first, _, mut expected) = session(&mut client, 400);
    let (second, _, more) = session(&mut client, 5);
    expected.extend(more);
    expected.sort();

    let (services, pages) = read_all(&mut client, "/services?limit=1000");
    assert!(ids(&services) == expected && pages > 1, "{pages} pages");
    let (events, pages) = read_all(&mut client, "/events?limit=1000");
    assert!(events.len() == 405 && pages > 1, "{} events on {pages} pages", events.len());

    // The session that is too long for a page comes in parts, one to a page.
    let (entries, _) = read_all(&mut client, "/views/overview?limit=1000");
    let mut sessions: Vec<&str> = entries.iter().map(|entry| entry["session"]["id"].as_str().unwrap()).collect();
    assert!(sessions.is_sorted() && sessions.iter().filter(|id| **id == first).count() > 1, "{sessions:?}");
    sessions.dedup();
    assert!(sessions.len() == 2 && sessions.contains(&second.as_str()), "{sessions:?}");
    let services: Vec<Value> = entries.iter().flat_map(|entry| entry["services"].as_array().unwrap().clone()).collect();
    assert!(ids(&services) == expected);

    // The marker of a part leads on when its session is gone.
    assert_eq!(client.delete(&format!("/sessions/{first}")).status, 204);
    let (entries, _) = read_all(&mut client, &format!("/views/overview?marker={first}:{first}-0200"));
    assert!(entries.iter().all(|entry| entry["session"]["id"] == second));
}

#[test]
fn timeout_of_many_services_is_several_events() {
    let server = Server::open();
    let mut client = server.client();
    let (_, token, expected) = session(&mut client, 400);
    server.advance(30_000);
    let (events, pages) = read_all(&mut client, "/events?type=services.timeout&limit=1000");
    assert!(events.len() > 2 && pages > 1, "{} events on {pages} pages", events.len());
    assert_eq!(events[0]["id"], token, "the first one stands at the deadline");
    let services: Vec<Value> = events.iter().flat_map(|event| event["payload"].as_array().unwrap().clone()).collect();
    assert!(ids(&services) == expected);
}

/// Asks for a page, and reads nothing of it.
fn ask_unread(client: &Client, server: &Server, path: &str) -> BufReader<TcpStream> {
    let mut stream = connect(server.address);
    setsockopt(stream.get_ref(), RcvBuf, &4096).unwrap();
    let headers = client.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    write!(stream.get_mut(), "GET {}{path} HTTP/1.1\r\n{headers}\r\n", client.root).unwrap();
    stream
}

#[test]
fn unread_responses_of_a_tenant_delay_no_other() {
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    let (mut joe, mut ann) = (server.joe(), server.client().logged_in("ann", "anns-key"));
    let mut elsewhere = Client::from(server.address, "127.0.0.2").logged_in("joe", "joes-key");
    let path = "/services?limit=1000";
    for client in [&mut joe, &mut ann] {
        session(client, 199);
        assert!(client.get(path).body.len() > 900_000);
    }
    let (own, holder) = joe.create("/sessions", json!({"heartbeat_timeout": 120}));

    let unread: Vec<_> = (0..64).map(|_| ask_unread(&joe, &server, path)).collect();
    let is_long = |answer: Answer| (answer.status, answer.body.len() > 900_000);
    let refused = (0..100).map(|_| joe.get(path)).find(|answer| answer.status != 200).unwrap(); // once all are there
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")));
    assert_eq!(refused.fault().1, "systemFailureError");
    assert_eq!(is_long(elsewhere.get(path)), (200, true), "the same account at another address");
    assert_eq!(is_long(ann.get(path)), (200, true), "another account");
    assert_eq!(joe.get("/services?limit=1").status, 200, "a short answer");
    let beat = joe.post(&format!("/sessions/{own}/heartbeat"), json!({"token": holder}));
    assert_eq!(beat.status, 200);

    drop(unread);
    assert_eq!(is_long(joe.get(path)), (200, true), "once they are gone");
}

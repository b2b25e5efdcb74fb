//! Lists of services, followed: entity tags, and waiting for another one.

use serde_json::{Value, json};

use crate::bench::durable::{client, start};
use crate::bench::followers::Asked;
use crate::bench::{Answer, Client, Server, free_address};

fn register(client: &mut Client, id: &str, tag: &str) -> String {
    client.create("/services", json!({"id": id, "heartbeat_timeout": 30, "tags": [tag]})).1
}

fn tag(answer: &Answer) -> String {
    assert_eq!(answer.status, 200);
    let tag = answer.header("etag").unwrap_or_else(|| panic!("{answer:?}"));
    assert!(tag.starts_with("W/\"") && tag.ends_with('"'), "{tag}");
    tag.to_owned()
}

fn listed(answer: &Answer) -> Vec<Value> {
    answer.json()["values"].as_array().unwrap().iter().map(|service| service["id"].clone()).collect()
}

#[test]
fn equal_content_has_an_equal_tag_also_after_a_restart() {
    let (folder, at) = (tempfile::tempdir().unwrap(), free_address());
    let mut registry = start(&at, folder.path());
    let mut of = client(&registry);
    let token = register(&mut of, "web-1", "www");
    let session = of.create("/sessions", json!({"heartbeat_timeout": 30})).0;
    of.create("/services", json!({"id": "web-2", "session_id": session, "tags": ["www"], "metadata": {"a": "b"}}));
    let paths = ["/services", "/services?limit=1", "/services?tag=www", "/services?tag=no"];
    let tags = paths.map(|path| tag(&of.get(path)));
    assert_eq!((tags[0] == tags[2], tags[0] == tags[1]), (true, false), "it is a hash of the page");
    let before = of.get("/services").json();
    assert_eq!(of.post("/services/web-1/heartbeat", json!({"token": token})).status, 200);
    assert_ne!(of.get("/services").json(), before, "the time of the heartbeat");
    assert_eq!(paths.map(|path| tag(&of.get(path))), tags);
    registry.process.signal(nix::sys::signal::Signal::SIGKILL);
    registry.process.end();
    let registry = start(&at, folder.path());
    let mut of = client(&registry);
    assert_eq!(paths.map(|path| tag(&of.get(path))), tags);
    for (path, tag) in paths.iter().zip(&tags) {
        let answer = of.send("GET", path, &[("If-None-Match", tag)], "");
        assert_eq!((answer.status, answer.body.as_str(), answer.header("etag")), (304, "", Some(tag.as_str())));
        let answer = of.send("GET", path, &[("If-None-Match", "W/\"0\"")], "");
        assert_eq!((answer.status, answer.header("etag")), (200, Some(tag.as_str())));
    }
    for (change, body) in [
        ("/services/web-1", json!({"heartbeat_timeout": 40})),
        ("/services/web-1", json!({"metadata": {"b": "a"}})),
        ("/services/web-2", json!({"tags": ["www", "x"]})),
    ] {
        let before = tag(&of.get("/services"));
        assert_eq!(of.put(change, body).status, 204);
        assert_ne!(tag(&of.get("/services")), before);
    }
}

#[test]
fn watcher_of_a_tag_is_answered_by_changes_of_that_tag_only() {
    let server = Server::open();
    let (mut watcher, mut other) = (server.client(), server.client());
    register(&mut other, "web-1", "www");
    let path = "/services?tag=www&wait=60";
    let mut known = tag(&watcher.get("/services?tag=www"));
    for (round, expected) in [(2, json!(["web-1", "web-2"])), (3, json!(["web-1", "web-2", "web-3"]))] {
        let asked = Asked::get(&mut watcher, path, &[("If-None-Match", &known)]);
        let token = register(&mut other, &format!("db-{round}"), "db");
        other.post(&format!("/services/db-{round}/heartbeat"), json!({"token": token}));
        assert!(asked.waits(&mut other), "woken by another tag");
        register(&mut other, &format!("web-{round}"), "www");
        let answer = asked.answer();
        assert_eq!(json!(listed(&answer)), expected);
        known = tag(&answer);
    }
    let asked = Asked::get(&mut watcher, path, &[("If-None-Match", &known)]);
    assert_eq!(other.put("/services/web-3", json!({"tags": ["db"]})).status, 204);
    let answer = asked.answer();
    assert_eq!(json!(listed(&answer)), json!(["web-1", "web-2"]), "it has lost the tag");
    let asked = Asked::get(&mut watcher, path, &[("If-None-Match", &tag(&answer))]);
    server.advance(40_000);
    assert_eq!(listed(&asked.answer()), Vec::<Value>::new(), "they have expired");
}

#[test]
fn end_of_the_wait_is_not_modified() {
    let server = Server::open();
    let mut client = server.client();
    let known = tag(&client.get("/services"));
    let answer = client.send("GET", "/services?wait=1", &[("If-None-Match", &known)], "");
    assert_eq!((answer.status, answer.header("etag")), (304, Some(known.as_str())));
    assert_eq!(client.get("/services?wait=60").status, 200, "there is nothing to wait for");
}

/// A service in a session may be listed with the timeout of that session.
#[test]
fn change_of_a_session_wakes_those_who_see_its_timeout() {
    use service_registry::registry::{Config, ServiceShape};
    let server = Server::start(Config::anonymous().service_shape(ServiceShape::Union));
    let (mut watcher, mut other) = (server.client(), server.client());
    let session = other.create("/sessions", json!({"heartbeat_timeout": 30})).0;
    other.create("/services", json!({"id": "web-1", "session_id": session, "tags": ["www"]}));
    for (path, timeout) in [("/services?tag=www", 40), ("/services?limit=7", 50)] {
        let known = tag(&watcher.get(path));
        let asked = Asked::get(&mut watcher, &format!("{path}&wait=60"), &[("If-None-Match", &known)]);
        other.put(&format!("/sessions/{session}"), json!({"heartbeat_timeout": timeout}));
        assert_eq!(asked.answer().json()["values"][0]["heartbeat_timeout"], timeout);
    }
}

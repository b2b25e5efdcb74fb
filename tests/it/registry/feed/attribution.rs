//! Who did what, and why.

use serde_json::{Value, json};
use service_registry::registry::{Config, Users};

use crate::bench::{Client, Server, USERS};

/// The members of an event that tell more than its type, as far as they are there.
fn told(event: &Value) -> Value {
    let members = ["type", "cause", "reason", "by", "last_heard"];
    let present = members.iter().filter_map(|name| Some(((*name).to_owned(), event.get(*name)?.clone())));
    Value::Object(present.collect())
}

fn feed(client: &mut Client, query: &str) -> Vec<Value> {
    client.get(&format!("/events?limit=1000{query}")).json()["values"].as_array().unwrap().clone()
}

/// Every cause, each by the request that has it.
#[test]
fn event_tells_its_cause() {
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    let mut joe = server.joe();
    joe.headers.push(("User-Agent".to_owned(), "test/1.0".to_owned()));
    let by = json!({"user": "joe", "address": "127.0.0.1", "agent": "test/1.0"});
    let mut expected = Vec::new();
    let mut expect = |kind: &str, cause: &str, reason: Option<&str>| {
        let mut event = json!({"type": kind, "cause": cause, "by": by});
        if let Some(reason) = reason {
            event["reason"] = reason.into();
        }
        expected.push(event);
    };
    let (one, _) = joe.create("/sessions", json!({"heartbeat_timeout": 30}));
    expect("session.create", "opened", None);
    let (two, _) = joe.create("/sessions", json!({"heartbeat_timeout": 30}));
    expect("session.create", "opened", None);
    for (id, session) in [("web-1", &one), ("web-2", &one), ("web-3", &one), ("db-1", &two)] {
        joe.create("/services", json!({"id": id, "session_id": session}));
        expect("service.join", "registered", None);
    }
    joe.delete("/services/web-1?reason=no%20longer+needed");
    expect("service.remove", "deregistered", Some("no longer needed"));
    joe.delete("/services/web-2?cause=replaced");
    expect("service.remove", "replaced", None);
    joe.put("/services/web-3", json!({"tags": ["www"]}));
    expect("service.update", "updated", None);
    joe.put(&format!("/sessions/{one}"), json!({"heartbeat_timeout": 20}));
    expect("session.update", "updated", None);
    joe.delete(&format!("/sessions/{one}?reason=exited+1&cause="));
    joe.delete(&format!("/sessions/{one}?reason=gr%C3%B6%C3%9Fer"));
    expect("service.remove", "session removed", Some("größer"));
    expect("session.remove", "session removed", Some("größer"));
    joe.delete(&format!("/sessions/{two}?reason=&cause=replaced"));
    expect("service.remove", "replaced", None);
    expect("session.remove", "replaced", None);
    for (value, cause) in [("x", "set"), ("y", "updated")] {
        joe.put("/configuration/key", json!({"value": value}));
        expect("configuration_value.update", cause, None);
    }
    joe.delete("/configuration/key?reason=tidy");
    expect("configuration_value.remove", "removed", Some("tidy"));
    let seen: Vec<Value> = feed(&mut joe, "&extended=true").iter().map(told).collect();
    assert_eq!(seen, expected);
}

#[test]
fn expiry_tells_when_the_holder_was_last_heard() {
    const START: u64 = 1_700_000_000_000;
    let folder = tempfile::tempdir().unwrap();
    let config = || Config::anonymous().data_dir(folder.path());
    let mut server = Server::start(config());
    let mut client = server.client();
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 6}));
    client.create("/services", json!({"id": "never-heard", "heartbeat_timeout": 5}));
    client.create("/services", json!({"id": "long-1", "heartbeat_timeout": 60}));
    // The time of the creation is not in the deadline any more.
    client.put("/services/never-heard", json!({"heartbeat_timeout": 30}));
    server.advance(1_000);
    client.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token }));
    server.advance(7_000);
    let told = |client: &mut Client| -> Vec<Value> {
        let events = feed(client, "").into_iter().filter(|event| event["type"].as_str().unwrap().contains("timeout"));
        events.map(|event| told(&event)).collect()
    };
    let expected = [
        json!({"type": "service.timeout", "cause": "expired", "last_heard": START}),
        json!({"type": "services.timeout", "cause": "expired", "last_heard": START + 1_000}),
    ];
    assert_eq!(told(&mut client), expected);
    server.stop();

    let server = Server::start(config());
    server.advance(61_000);
    let after = told(&mut server.client());
    assert_eq!(after[2..], [json!({"type": "service.timeout", "cause": "expired"})], "it was never heard since");
}

#[test]
fn reason_or_cause_that_breaks_a_rule_removes_nothing() {
    let server = Server::open();
    let mut client = server.client();
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    client.create("/services", json!({"id": "web-1", "session_id": session}));
    client.put("/configuration/key", json!({"value": "x"}));
    let session = format!("/sessions/{session}");
    let before = client.get("/events?extended=true").body;
    let long = format!("reason={}", "%F0%9F%98%80".repeat(128)); // 256 units
    for (query, parameter, rule) in [
        (&*long, "reason", "String is not in range (0..255)"),
        ("reason=a%0Ab", "reason", "Control characters are not allowed"),
        ("reason=%C2%85", "reason", "Control characters are not allowed"),
        ("reason=a&reason=b", "reason", "Given more than once"),
        ("cause=Replaced", "cause", "Unknown cause. Valid causes are: replaced"),
        ("cause=expired", "cause", "Unknown cause. Valid causes are: replaced"),
        ("cause=replaced&cause=replaced", "cause", "Unknown cause. Valid causes are: replaced"),
    ] {
        for path in ["/services/web-1", &session, "/configuration/key"] {
            if parameter == "cause" && path == "/configuration/key" {
                continue; // it has none
            }
            let answer = client.delete(&format!("{path}?{query}"));
            assert_eq!(answer.fault(), (400, "badRequest".into(), rule.into()), "{path} {query}");
            let message = format!("Invalid value for '{parameter}' query string parameter");
            assert_eq!(answer.json()["message"], message);
        }
    }
    assert_eq!(client.get("/events?extended=true").body, before);
    let most = "%F0%9F%98%80".repeat(127) + "x";
    assert_eq!(client.delete(&format!("/services/web-1?reason={most}")).status, 204);
    let reason = feed(&mut client, "&type=service.remove")[0]["reason"].clone();
    assert_eq!(reason, format!("{}x", "😀".repeat(127)));
}

/// As in the log: behind a trusted proxy the client's address, and without users no user.
#[test]
fn event_tells_the_client_behind_a_trusted_proxy() {
    for (proxies, address) in [(&["127.0.0.1"][..], "198.51.100.7"), (&[], "127.0.0.1")] {
        let proxies = proxies.iter().map(|proxy| proxy.parse().unwrap());
        let server = Server::start(Config::anonymous().trusted_proxies(proxies));
        let mut client = server.client();
        let agent = format!("wide/{}", "a".repeat(200));
        let headers =
            [("X-Forwarded-For", "198.51.100.7"), ("User-Agent", &agent), ("Content-Type", "application/json")];
        client.send("PUT", "/configuration/key", &headers, r#"{"value": "x"}"#);
        client.put("/configuration/key", json!({"value": "y"}));
        let by: Vec<Value> = feed(&mut client, "").iter().map(|event| event["by"].clone()).collect();
        let agent = &agent[..100];
        assert_eq!(by, [json!({"address": address, "agent": agent}), json!({"address": "127.0.0.1"})]);
    }
}

//! The types and members that the original did not have.

use serde_json::{Value, json};
use service_registry::registry::Config;

use crate::bench::{Client, Server};

fn types(client: &mut Client, query: &str) -> Vec<String> {
    let page = client.get(&format!("/events?{query}")).json();
    let values = page["values"].as_array().unwrap();
    assert_eq!(page["metadata"]["count"], values.len());
    values.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Makes an event of each of the types that are listed on request only. Returns the session.
fn fill(client: &mut Client) -> String {
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 30, "metadata": {"host": "a"}}));
    client.create("/services", json!({"id": "web-1", "session_id": session, "tags": ["one"]}));
    client.create("/services", json!({"id": "own-1", "heartbeat_timeout": 30}));
    client.put("/services/web-1", json!({"tags": ["two"]}));
    client.put("/services/own-1", json!({"heartbeat_timeout": 20, "metadata": {"a": "b"}}));
    client.put(&format!("/sessions/{session}"), json!({"heartbeat_timeout": 40}));
    client.delete(&format!("/sessions/{session}"));
    session
}

#[test]
fn extended_types_exist_on_request_only() {
    let server = Server::open();
    let mut client = server.client();
    fill(&mut client);
    let plain = ["service.join", "service.join", "service.remove"];
    for query in ["", "extended=false", "limit=3"] {
        assert_eq!(types(&mut client, query), plain, "{query}");
    }
    assert_eq!(client.get("/events?limit=3").json()["metadata"]["next_marker"], Value::Null, "nothing follows");
    let all = [
        "session.create",
        "service.join",
        "service.join",
        "service.update",
        "service.update",
        "session.update",
        "service.remove",
        "session.remove",
    ];
    assert_eq!(types(&mut client, "extended=true"), all);
    let valid = "service.join,service.remove,service.timeout,services.timeout,configuration_value.update,\
        configuration_value.remove";
    for kind in ["service.update", "session.create", "session.update", "session.remove"] {
        let expected: Vec<&str> = all.into_iter().filter(|known| *known == kind).collect();
        assert_eq!(types(&mut client, &format!("extended=true&type={kind}")), expected);
        let refused = client.get(&format!("/events?type={kind}"));
        let message = format!("Invalid type: {kind}. Valid types are: {valid}");
        assert_eq!(refused.fault(), (400, "badRequest".into(), message));
    }
    assert_eq!(types(&mut client, "extended=true&type=service.join").len(), 2);
    for wrong in ["extended=", "extended=yes", "extended=true&extended=true"] {
        let answer = client.get(&format!("/events?{wrong}"));
        assert_eq!(answer.fault(), (400, "badRequest".into(), "Not true or false".into()), "{wrong}");
    }
}

#[test]
fn extended_events_tell_what_changed() {
    let server = Server::open();
    let mut client = server.client();
    let session = fill(&mut client);
    let page = client.get("/events?extended=true").json();
    let payload = |at: usize| page["values"][at]["payload"].clone();
    let own = |timeout: u8, metadata: Value| json!({"id": "own-1", "heartbeat_timeout": timeout, "tags": [], "metadata": metadata});
    let member = |tag: &str| json!({"id": "web-1", "session_id": session, "tags": [tag], "metadata": {}});
    let with_old = |mut new: Value, old: Value| {
        new["old"] = old;
        new
    };
    assert_eq!(payload(3), with_old(member("two"), member("one")));
    assert_eq!(payload(4), with_old(own(20, json!({"a": "b"})), own(30, json!({}))));
    let described = |timeout: u8| json!({"id": session, "heartbeat_timeout": timeout, "metadata": {"host": "a"}});
    assert_eq!([payload(0), payload(5), payload(7)], [described(30), described(40), described(40)]);
}

#[test]
fn update_without_a_change_makes_no_event() {
    let server = Server::open();
    let mut client = server.client();
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    client.create("/services", json!({"id": "web-1", "session_id": session, "tags": ["one"]}));
    let before = types(&mut client, "extended=true");
    client.put("/services/web-1", json!({"tags": ["one"]}));
    client.put(&format!("/sessions/{session}"), json!({"heartbeat_timeout": 30}));
    assert_eq!(types(&mut client, "extended=true"), before);
}

#[test]
fn strict_feed_has_only_what_the_original_had() {
    let server = Server::start(Config::anonymous().strict_feed(true));
    let mut client = server.client();
    fill(&mut client);
    client.delete("/services/own-1?reason=done");
    client.create("/services", json!({"id": "own-2", "heartbeat_timeout": 3}));
    server.advance(3_000);
    let plain = ["service.join", "service.join", "service.remove", "service.join", "service.timeout"];
    for query in ["", "extended=true", "extended=maybe"] {
        assert_eq!(types(&mut client, query), plain, "{query}");
    }
    assert_eq!(client.get("/events?extended=true&type=session.create").status, 400);
    for event in client.get("/events?extended=true").json()["values"].as_array().unwrap() {
        let members: Vec<&String> = event.as_object().unwrap().keys().collect();
        assert_eq!(members.len(), 4, "{event}");
    }
}

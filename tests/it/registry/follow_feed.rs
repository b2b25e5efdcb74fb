//! The feed, followed: long polls and event streams, what they are answered with, and what ends them.

use std::time::Duration;

use serde_json::{Value, json};
use service_registry::registry::Config;

use crate::bench::followers::{Asked, EventStream};
use crate::bench::registry::Server;
use crate::bench::users::{address, with_users};
use crate::bench::{Answer, Client, USERS};

const LAST_HOUR: &str = "/events?limit=1000";

fn set(client: &mut Client, id: &str, value: &str) {
    assert_eq!(client.put(&format!("/configuration/{id}"), json!({"value": value})).status, 204);
}

fn remove(client: &mut Client, id: &str) {
    assert_eq!(client.delete(&format!("/configuration/{id}")).status, 204);
}

fn ids(events: &Value) -> Vec<String> {
    let all = events["values"].as_array().unwrap().iter();
    all.map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

fn next(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["metadata"]["next_marker"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
}

/// Where the feed ends now.
fn end(client: &mut Client) -> String {
    let answer = client.get("/events?wait=0");
    assert_eq!(answer.json()["values"], json!([]));
    next(&answer)
}

fn expired(answer: &Answer) -> String {
    let fault = answer.json();
    assert_eq!((answer.status, fault["type"].as_str()), (410, Some("markerExpired")), "{answer:?}");
    fault["marker"].as_str().unwrap().to_owned()
}

#[test]
fn wait_is_answered_by_the_next_event_of_the_requested_type() {
    let server = Server::open();
    let (mut client, mut other) = (server.client(), server.client());
    let mut position = end(&mut client);
    for round in 0..5 {
        let path = format!("/events?wait=60&type=configuration_value.remove&marker={position}");
        let asked = Asked::get(&mut client, &path, &[]);
        set(&mut other, "key", &round.to_string());
        assert!(asked.waits(&mut other), "woken by another type");
        remove(&mut other, "key");
        let answer = asked.answer();
        let page = answer.json();
        assert_eq!(page["metadata"]["count"], 1);
        assert_eq!(page["values"][0]["payload"]["old_value"], round.to_string());
        assert_eq!([next(&answer)], *ids(&page), "the marker is the last event's id");
        let href = page["metadata"]["next_href"].as_str().unwrap();
        assert!(href.ends_with(&path.replace(&position, &next(&answer))), "{href}");
        position = next(&answer);
    }
}

#[test]
fn wait_without_a_marker_is_for_what_comes_then() {
    let server = Server::open();
    let (mut client, mut other) = (server.client(), server.client());
    set(&mut other, "before", "1");
    let asked = Asked::get(&mut client, "/events?wait=60", &[]);
    assert!(asked.waits(&mut other));
    set(&mut other, "after", "1");
    let page = asked.answer().json();
    assert_eq!(page["values"][0]["payload"]["configuration_value_id"], "after");
    assert_eq!(page["metadata"]["count"], 1);
}

#[test]
fn pages_after_a_marker_contain_every_event_once() {
    let server = Server::open();
    let mut client = server.client();
    let mut position = end(&mut client);
    for number in 0..25 {
        set(&mut client, "key", &number.to_string());
    }
    let all = ids(&client.get(LAST_HOUR).json());
    assert_eq!(all.len(), 25);
    let mut seen = Vec::new();
    for expected in [10, 10, 5, 0] {
        let answer = client.get(&format!("/events?wait=0&limit=10&marker={position}"));
        assert_eq!(ids(&answer.json()).len(), expected);
        seen.extend(ids(&answer.json()));
        position = next(&answer);
    }
    assert_eq!(seen, all);
    assert_eq!(position, all[24], "the given marker if there is nothing new");
    let answer = client.get(&format!("/events?marker={position}"));
    assert_eq!((ids(&answer.json()), &answer.json()["metadata"]["next_marker"]), (vec![position], &Value::Null));
}

#[test]
fn end_of_the_wait_is_an_empty_page_that_leads_on() {
    let server = Server::open();
    let mut client = server.client();
    let start = end(&mut client);
    set(&mut client, "key", "1");
    let answer = client.get(&format!("/events?wait=1&type=service.join&marker={start}"));
    assert_eq!(answer.json()["values"], json!([]));
    assert_eq!([next(&answer)], *ids(&client.get(LAST_HOUR).json()), "what was passed over");
    for wait in ["", "61", "-1", "1.5", "soon", "1&wait=1"] {
        let answer = client.get(&format!("/events?wait={wait}"));
        assert_eq!(answer.status, 400);
        assert_eq!(answer.json()["message"], "Invalid value for 'wait' query string parameter");
        assert_eq!(client.get(&format!("/services?wait={wait}")).json()["message"], answer.json()["message"]);
    }
}

#[test]
fn marker_that_may_have_missed_events_is_refused_with_a_new_one() {
    let server = Server::start(Config::anonymous().events_retention(Duration::from_secs(600)));
    let mut client = server.client();
    let start = end(&mut client);
    set(&mut client, "key", "1");
    server.advance(500_000);
    set(&mut client, "key", "2");
    server.advance(200_000);
    let asked = format!("/events?wait=0&marker={start}");
    let marker = expired(&client.get(&asked));
    assert_eq!(marker, expired(&client.send("GET", &asked, &[("Accept", "text/event-stream")], "")));
    let answer = client.get(&format!("/events?wait=0&marker={marker}"));
    assert_eq!(answer.json()["values"][0]["payload"]["new_value"], "2");
    server.advance(700_000);
    let position = next(&answer);
    let answer = client.get(&format!("/events?wait=0&marker={position}"));
    assert_eq!(next(&answer), position, "nothing was missed");
    expired(&client.get("/events?wait=0&marker=00000000-0000-1000-8000-000000000000"));
    assert_eq!(client.get("/events?wait=0&marker=nonsense").status, 400);
    assert_eq!(client.get("/events?marker=00000000-0000-1000-8000-000000000000").status, 400, "as it always was");
}

#[test]
fn stream_has_every_wanted_event_and_resumes_after_the_last_one() {
    let server = Server::open();
    let (mut client, mut other) = (server.client(), server.client());
    let mut stream = EventStream::open(&mut client, "/events?type=configuration_value.update&limit=nonsense", &[]);
    let header = |name: &str| stream.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(header("content-type"), Some("text/event-stream"));
    assert_eq!((header("cache-control"), header("x-accel-buffering")), (Some("no-cache"), Some("no")));
    assert_eq!(header("content-length"), None);
    let begin = stream.block().unwrap();
    let position = begin[1].strip_prefix(": marker ").unwrap().to_owned();
    assert_eq!(begin, ["retry: 1000".to_owned(), format!(": marker {position}"), format!("id: {position}")]);
    for number in 0..300 {
        set(&mut other, "key", &format!("line\n{number}"));
        remove(&mut other, "key");
    }
    let all = other.get("/events?limit=1000&type=configuration_value.update").json();
    let expected = all["values"].as_array().unwrap();
    let mut ids = Vec::new();
    for event in expected {
        let sent = stream.event().unwrap();
        assert_eq!((&sent.event, sent.kind.as_str()), (event, "configuration_value.update"));
        assert_eq!(event["id"], *sent.id);
        ids.push(sent.id);
    }
    assert!(stream.is_silent());
    drop(stream);
    let headers = [("Last-Event-ID", ids[9].as_str())];
    let path = format!("/events?type=configuration_value.update&marker={}", ids[200]);
    let mut resumed = EventStream::open(&mut client, &path, &headers);
    let mut by_marker = EventStream::open(&mut client, &path, &[]);
    assert_eq!(resumed.event().unwrap().id, ids[10], "the header counts");
    assert_eq!(by_marker.event().unwrap().id, ids[201]);
    let mut from_start = EventStream::open(&mut client, &format!("/events?marker={position}"), &[]);
    assert_eq!(from_start.event().unwrap().id, ids[0]);
}

/// Half of a minute passes; neither the registry nor a proxy may take the stream for dead.
#[test]
fn silent_stream_shows_signs_of_life_and_its_position() {
    let server = Server::open();
    let mut client = server.client();
    let mut stream = EventStream::open(&mut client, "/events?type=service.join", &[]);
    stream.block().unwrap();
    set(&mut client, "key", "1");
    let position = end(&mut client);
    assert_eq!(stream.block().unwrap(), [": keep-alive".to_owned(), format!("id: {position}")]);
    assert_eq!(stream.block().unwrap(), [": keep-alive"]);
}

#[test]
fn head_and_other_types_are_answered_at_once() {
    let server = Server::open();
    let mut client = server.client();
    let accept = ("Accept", "text/event-stream");
    assert_eq!(client.send("HEAD", "/events", &[accept], "").header("content-type").unwrap(), JSON);
    assert_eq!(client.send("GET", "/events", &[("Accept", "*/*")], "").header("content-type").unwrap(), JSON);
    assert_eq!(client.send("GET", "/services", &[accept], "").header("content-type").unwrap(), JSON);
    assert_eq!(client.send("GET", "/events?type=x", &[accept], "").status, 400);
}

const JSON: &str = "application/json; charset=UTF-8";

/// It would wait five seconds for requests under way, and then cut them.
#[test]
fn stop_ends_waits_and_streams_in_good_order() {
    let mut server = Server::open();
    let mut client = server.client();
    let mut stream = EventStream::open(&mut client, "/events", &[]);
    stream.block().unwrap();
    let tag = client.get("/services").header("etag").unwrap().to_owned();
    let feed = Asked::get(&mut client, "/events?wait=60", &[]);
    let list = Asked::get(&mut client, "/services?wait=60", &[("If-None-Match", &tag)]);
    let begun = std::time::Instant::now();
    server.stop();
    assert!(begun.elapsed() < Duration::from_secs(4), "it had to cut them");
    let feed = feed.answer();
    assert_eq!((feed.json()["values"].clone(), feed.header("connection")), (json!([]), Some("close")));
    let list = list.answer();
    assert_eq!((list.status, list.header("connection")), (304, Some("close")));
    assert_eq!(stream.block(), None);
}

/// The registry also looks at the users of requests that wait.
#[test]
fn removed_user_receives_nothing_more() {
    let (registry, file) = with_users(USERS);
    let mut joe = Client::new(address(&registry)).logged_in("joe", "joes-key");
    let mut ann = Client::new(address(&registry)).logged_in("ann", "anns-key");
    let mut stream = EventStream::open(&mut joe, "/events", &[]);
    stream.block().unwrap();
    let asked = Asked::get(&mut joe, "/events?wait=60", &[]);
    let mut remaining = EventStream::open(&mut ann, "/events", &[]);
    remaining.block().unwrap();
    let (_, others) = USERS.split_once("\n\n").unwrap();
    std::fs::write(file.path(), others).unwrap();
    registry.process.signal(nix::sys::signal::Signal::SIGHUP);
    assert_eq!(asked.answer().status, 401);
    assert_eq!(stream.block(), None);
    set(&mut ann, "key", "1");
    assert_eq!(remaining.event().unwrap().event["payload"]["configuration_value_id"], "key");
}

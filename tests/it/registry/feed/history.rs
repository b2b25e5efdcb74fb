//! The feed tells everything: whoever replays it has the list.

use std::collections::BTreeMap;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::durable::{client, start};
use crate::bench::{Client, eventually, free_address, request};

/// All entries of a list.
fn all(client: &mut Client, path: &str) -> Vec<Value> {
    let (mut all, mut next) = (Vec::new(), path.to_owned());
    loop {
        let page = client.get(&next).json();
        all.extend(page["values"].as_array().unwrap().iter().cloned());
        let Some(marker) = page["metadata"]["next_marker"].as_str() else { return all };
        next = format!("{path}&marker={marker}");
    }
}

/// The services as a reader of the feed knows them, by id. Each event must fit what the ones before it told.
fn replayed(events: &[Value]) -> BTreeMap<String, Value> {
    let mut known = BTreeMap::new();
    for event in events {
        let payload = &event["payload"];
        let id = |service: &Value| service["id"].as_str().unwrap().to_owned();
        let mut remove = |service: &Value| assert_eq!(known.remove(&id(service)).as_ref(), Some(service), "{event}");
        match event["type"].as_str().unwrap() {
            "service.join" => assert_eq!(known.insert(id(payload), payload.clone()), None, "{event}"),
            "service.remove" | "service.timeout" => remove(payload),
            "services.timeout" => payload.as_array().unwrap().iter().for_each(remove),
            "service.update" => {
                let mut new = payload.clone();
                let old = new.as_object_mut().unwrap().remove("old").unwrap();
                remove(&old);
                known.insert(id(&new), new);
            }
            _ => {}
        }
    }
    known
}

/// Random requests until the registry is killed.
fn change_services(url: &str, thread: u64, round: u64) {
    let mut random = fastrand::Rng::with_seed(100 * round + thread);
    let mut sessions: Vec<String> = Vec::new();
    loop {
        let id = format!("node-{}", random.u8(0..30));
        let tag = format!("tag-{}", random.u8(0..3));
        let done = match random.u8(0..8) {
            0 => {
                let body = json!({"heartbeat_timeout": random.u8(3..6)}).to_string();
                request(url, "POST", "/v1.0/1/sessions", &body)
            }
            1 | 2 if !sessions.is_empty() => {
                let session = &sessions[random.usize(0..sessions.len())];
                let body = json!({"id": id, "session_id": session, "tags": [tag]}).to_string();
                request(url, "POST", "/v1.0/1/services", &body)
            }
            3 => {
                let body = json!({"id": id, "heartbeat_timeout": random.u8(3..6), "tags": [tag]}).to_string();
                request(url, "POST", "/v1.0/1/services", &body)
            }
            4 | 5 => {
                let body = json!({ "tags": [tag] }).to_string();
                request(url, "PUT", &format!("/v1.0/1/services/{id}"), &body)
            }
            6 => request(url, "DELETE", &format!("/v1.0/1/services/{id}?reason=round+{round}"), ""),
            _ if !sessions.is_empty() => {
                let session = sessions.swap_remove(random.usize(0..sessions.len()));
                request(url, "DELETE", &format!("/v1.0/1/sessions/{session}"), "")
            }
            _ => continue,
        };
        if done.is_err() {
            return;
        }
        // The answer does not name the session, and the list does.
        if let Ok((200, page)) = request(url, "GET", "/v1.0/1/sessions?limit=1000", "") {
            let ids =
                page["values"].as_array().unwrap().iter().map(|session| session["id"].as_str().unwrap().to_owned());
            sessions = ids.collect();
        }
    }
}

#[test]
fn replayed_feed_is_the_list_after_every_kill() {
    let folder = tempfile::tempdir().unwrap();
    let at = free_address();
    let mut seen = 0;
    for round in 0..4 {
        let mut registry = start(&at, folder.path());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let url = registry.url.clone();
                scope.spawn(move || change_services(&url, thread, round));
            }
            let mut client = client(&registry);
            let feed = "/events?extended=true&limit=1000";
            eventually("some events", || (all(&mut client, feed).len() > seen + 150).then_some(()));
            registry.process.signal(Signal::SIGKILL);
            registry.process.end();
        });
        let mut registry = start(&at, folder.path());
        let mut client = client(&registry);
        let feed = "/events?extended=true&limit=1000";
        let events = eventually("no change between two readings", || {
            let before = all(&mut client, feed);
            let mut services = all(&mut client, "/services?limit=1000");
            let events = all(&mut client, feed);
            if before != events {
                return None;
            }
            services.iter_mut().for_each(|service| {
                service.as_object_mut().unwrap().remove("last_seen");
            });
            let known: Vec<Value> = replayed(&events).into_values().collect();
            assert_eq!(known, services);
            Some(events)
        });
        assert!(events.len() > seen + 100, "{}", events.len());
        seen = events.len();
        registry.process.signal(Signal::SIGKILL);
        registry.process.end();
    }
}

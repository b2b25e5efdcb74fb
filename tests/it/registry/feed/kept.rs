//! What the disk keeps of the feed.

use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::durable::{client, run, start};
use crate::bench::{Client, Registry, free_address};

#[test]
fn attributions_and_extended_events_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let at = free_address();
    let mut registry = start(&at, folder.path());
    let mut before = client(&registry);
    before.headers.push(("User-Agent".to_owned(), "test/1.0".to_owned()));
    let (session, _) = before.create("/sessions", json!({"heartbeat_timeout": 30, "metadata": {"a": "b"}}));
    before.create("/services", json!({"id": "web-1", "session_id": session}));
    before.put("/services/web-1", json!({"tags": ["www"]}));
    before.put(&format!("/sessions/{session}"), json!({"heartbeat_timeout": 40}));
    before.put("/configuration/key", json!({"value": "x"}));
    before.delete("/configuration/key?reason=tidy");
    before.delete(&format!("/sessions/{session}?reason=exited+1&cause=replaced"));
    let seen = |client: &mut Client| client.get("/events?extended=true").json()["values"].clone();
    let expected = seen(&mut before);
    assert_eq!(expected.as_array().unwrap().len(), 8);
    assert_eq!(expected[7]["cause"], "replaced");
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    let registry = start(&at, folder.path());
    assert_eq!(seen(&mut client(&registry)), expected);
}

/// A copy that the version before wrote, of records in format 2.
#[test]
fn store_of_format_2_is_read_and_becomes_one_of_format_3() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let path = path.to_str().unwrap();
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/format-2.backup");
    let (code, said) = run(&["restore", copy.to_str().unwrap(), "--data-dir", path]);
    assert_eq!(code, 0, "{said}");
    let options = ["--data-dir", path, "--events-retention=36500d"];
    // The second start finds format 3.
    for _ in 0..2 {
        let mut registry = Registry::start_at("127.0.0.1:0", &options);
        let mut client = client(&registry);
        let services = client.get("/services").json();
        let ids: Vec<_> = services["values"].as_array().unwrap().iter().map(|service| service["id"].clone()).collect();
        assert_eq!(ids, ["member-1", "own-1"]);
        let marker = "0a0ceb00-eaf2-11f1-96cf-c358acc52163"; // the first one
        let events = client.get(&format!("/events?extended=true&marker={marker}")).json();
        let told: Vec<String> = events["values"].as_array().unwrap()[..12]
            .iter()
            .map(|event| {
                assert!(event.get("by").is_none() && event.get("last_heard").is_none(), "{event}");
                format!("{} {}", event["type"].as_str().unwrap(), event["cause"].as_str().unwrap_or("unknown"))
            })
            .collect();
        let expected = [
            "service.join registered",
            "service.join registered",
            "service.join registered",
            "service.join registered",
            "service.join registered",
            "service.remove unknown",
            "configuration_value.update set",
            "configuration_value.update updated",
            "configuration_value.update set",
            "configuration_value.remove removed",
            "services.timeout expired",
            "service.timeout expired",
        ];
        assert_eq!(told, expected);
        registry.process.signal(Signal::SIGTERM);
        registry.process.end();
    }
}

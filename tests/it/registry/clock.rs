//! A system clock that is ahead for a while. libfaketime sets it for one process; the monotonic clock stays the real
//! one.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::durable::client;
use crate::bench::{Client, Registry, Running, clean, eventually, need};

/// A registry whose clock is ahead by what the file `ahead` says, from moment to moment.
fn start(folder: &Path, options: &[&str]) -> Registry {
    need("faketime");
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.join("data")).args(options);
    command.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1");
    command.env("FAKETIME_TIMESTAMP_FILE", folder.join("ahead"));
    command.envs([("FAKETIME_NO_CACHE", "1"), ("DONT_FAKE_MONOTONIC", "1"), ("NO_FAKE_STAT", "1")]);
    let mut process = Running::start(&mut command);
    let line = process.line("listening on http");
    let url = format!("http{}", line.split("listening on http").nth(1).unwrap().split('"').next().unwrap().trim());
    Registry { process, url }
}

fn stop(mut registry: Registry) -> String {
    registry.process.signal(Signal::SIGTERM);
    registry.process.end();
    registry.process.said_to_the_end()
}

fn set_clock(folder: &Path, ahead: &str) {
    fs::write(folder.join("new"), ahead).unwrap();
    fs::rename(folder.join("new"), folder.join("ahead")).unwrap();
}

fn change(client: &mut Client, value: usize) {
    assert_eq!(client.put("/configuration/key", json!({"value": value.to_string()})).status, 204);
}

/// The events from a marker on: id and timestamp.
fn events(client: &mut Client, marker: Option<&str>) -> Vec<(String, Duration)> {
    let marker = marker.map(|marker| format!("&marker={marker}")).unwrap_or_default();
    let answer = client.get(&format!("/events?limit=1000{marker}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let event = |event: &Value| {
        let timestamp = Duration::from_millis(event["timestamp"].as_u64().unwrap());
        (event["id"].as_str().unwrap().to_owned(), timestamp)
    };
    answer.json()["values"].as_array().unwrap().iter().map(event).collect()
}

/// Compares a timestamp with the real time and how far it is ahead.
fn assert_ahead(timestamp: Duration, days: u64) {
    let expected = SystemTime::UNIX_EPOCH.elapsed().unwrap() + Duration::from_secs(days * 86_400);
    assert!(timestamp.abs_diff(expected) < Duration::from_secs(50), "{timestamp:?} instead of {expected:?}");
}

#[test]
fn clock_set_back_while_the_registry_runs_is_followed_by_timestamps() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(folder.path(), "+3650d");
    let mut registry = start(folder.path(), &[]);
    let mut client = client(&registry);
    (0..5).for_each(|value| change(&mut client, value));
    let ahead = events(&mut client, None);
    assert_eq!(ahead.len(), 5);
    assert_ahead(ahead[4].1, 3650);

    set_clock(folder.path(), "+0");
    let (_, token) = client.create("/services", json!({"id": "node-1", "heartbeat_timeout": 30}));
    change(&mut client, 5);
    let line = registry.process.line("the system's clock was set back by ");
    assert!(line.contains("3650 days") || line.contains("3649 days"), "{line}");
    let all = events(&mut client, Some(&ahead[0].0));
    assert_eq!((&all[..5], all.len()), (&ahead[..], 7), "all are listed, once");
    all[5..].iter().for_each(|(_, timestamp)| assert_ahead(*timestamp, 0));
    assert_eq!(events(&mut client, Some(&ahead[4].0)), all[4..], "a poller goes on where it was");
    assert_eq!(client.post("/services/node-1/heartbeat", json!({ "token": token })).status, 200);
    let own = client.get("/services/node-1").json();
    assert_ahead(Duration::from_millis(own["last_seen"].as_u64().unwrap()), 0);
    assert_eq!(stop(registry).matches("set back").count(), 1);
}

/// Found by a registry whose first start was ten years ahead: all events had one timestamp, and none ever left.
#[test]
fn events_from_a_clock_that_was_ahead_at_the_first_start_leave_after_their_retention() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(folder.path(), "+3650d");
    let registry = start(folder.path(), &[]);
    let mut before = client(&registry);
    (0..5).for_each(|value| change(&mut before, value));
    let ahead = events(&mut before, None);
    stop(registry);

    set_clock(folder.path(), "+0");
    let mut registry = start(folder.path(), &[]);
    let said = registry.process.said();
    let is_told = |days: &str| said.contains(&format!("WARN the newest event is {days} days ahead of the clock"));
    assert!(is_told("3650") || is_told("3649"), "{said}");
    let mut between = client(&registry);
    assert_eq!(events(&mut between, None), ahead, "the last hour has them");
    change(&mut between, 5);
    let now = events(&mut between, Some(&ahead[4].0));
    assert_eq!((&now[0], now.len()), (&ahead[4], 2), "a poller goes on where it was");
    assert_ahead(now[1].1, 0);
    stop(registry);

    let registry = start(folder.path(), &["--events-retention=1s"]);
    let mut after = client(&registry);
    let mut value = 6;
    eventually("the old events to leave", || {
        change(&mut after, value);
        value += 1;
        let kept = events(&mut after, Some(&ahead[0].0));
        kept.iter().all(|kept| !ahead.contains(kept)).then_some(())
    });
    let said = stop(registry);
    assert!(!said.contains("ahead of the clock"), "it is said once: {said}");
}

/// A machine without a battery, which gets the time from the network after its start.
#[test]
fn clock_that_is_behind_after_a_start_costs_no_event() {
    let folder = tempfile::tempdir().unwrap();
    set_clock(folder.path(), "+0");
    let registry = start(folder.path(), &[]);
    let mut before = client(&registry);
    (0..2).for_each(|value| change(&mut before, value));
    let right = events(&mut before, None);
    stop(registry);

    set_clock(folder.path(), "-365d"); // longer than events are kept
    let registry = start(folder.path(), &[]);
    let mut client = client(&registry);
    (2..4).for_each(|value| change(&mut client, value));
    let behind = events(&mut client, Some(&right[0].0));
    assert_eq!((&behind[..2], behind.len()), (&right[..], 4));
    set_clock(folder.path(), "+0");
    (4..6).for_each(|value| change(&mut client, value));
    let all = events(&mut client, None);
    let ids = |events: &[(String, Duration)]| events.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!((ids(&all[..4]), all.len()), (ids(&behind), 6));
    assert_eq!(all[..2], right);
    all.iter().for_each(|(_, timestamp)| assert_ahead(*timestamp, 0));
    assert!(all.iter().is_sorted_by_key(|(_, timestamp)| timestamp));
    stop(registry);
}

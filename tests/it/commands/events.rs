//! `service-registry events`.

use serde_json::{Value, json};

use crate::bench::commands::{command, output, register, run};
use crate::bench::{Misbehaving, Registry, Reply, Running, clean, eventually, free_address, request};

#[test]
fn events_are_listed_oldest_first() {
    let registry = Registry::start();
    let (status, _, said) = run(&mut command(&registry.url, &["events"]));
    assert_eq!((status, said.as_str()), (1, "service-registry: no events found\n"));
    register(&registry.url, "web-1", &["www"], &json!({}));
    output(&registry, &["config", "set", "key", "one"]);
    output(&registry, &["config", "set", "key", "two"]);
    let events = output(&registry, &["events"]);
    let rows: Vec<Vec<&str>> = events.lines().map(|line| line.split('\t').collect()).collect();
    let kinds: Vec<&str> = rows.iter().map(|row| row[1]).collect();
    assert_eq!(kinds, ["service.join", "configuration_value.update", "configuration_value.update"]);
    assert_eq!((rows[0][2], rows[2][2]), ("web-1", "key"));
    assert!(rows[2][3].ends_with("one -> two"), "{events}");
    assert!(rows[0][0].starts_with("20") && rows[0][0].ends_with('Z') && rows[0][0].len() == 24, "{events}");
    // Of a registry that was started just now, more than the default is all there is.
    for since in ["1h", "90m", "30d"] {
        assert_eq!(output(&registry, &["events", "--since", since]), events, "{since}");
    }
    let typed = |types: &[&str]| output(&registry, &[&["events"], types].concat()).lines().count();
    assert_eq!(typed(&["--type=service.join"]), 1);
    assert_eq!(typed(&["--type=service.join", "--type=configuration_value.update"]), 3);
    assert_eq!(run(&mut command(&registry.url, &["events", "--type=no.such"])).0, 3);
    assert_eq!(run(&mut command(&registry.url, &["events", "--since=1"])).0, 2);
}

#[test]
fn events_before_since_are_left_out() {
    let registry = Registry::start();
    register(&registry.url, "web-1", &["www"], &json!({}));
    let events: Value = serde_json::from_str(&output(&registry, &["events", "-o", "json"])).unwrap();
    let made = events[0]["timestamp"].as_u64().unwrap();
    crate::bench::eventually("another second", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        (now > u128::from(made) + 1_000).then_some(())
    });
    assert_eq!(run(&mut command(&registry.url, &["events", "--since=1s"])).0, 1);
    output(&registry, &["events", "--since=1h"]);
}

#[test]
fn followed_events_come_once_and_in_order() {
    let registry = Registry::start();
    register(&registry.url, "before", &[], &json!({}));
    let mut from_now = Running::start(&mut command(&registry.url, &["events", "-f", "-o", "jsonl"]));
    let mut since = Running::start(&mut command(&registry.url, &["events", "-f", "--since=1h"]));
    let mut typed = Running::start(&mut command(
        &registry.url,
        &["events", "--follow", "--type=configuration_value.update", "-o", "yaml"],
    ));
    since.line("\tservice.join\tbefore\t");
    // Until the other one has found the end of the feed, whatever happens is before it.
    let mut made = Vec::new();
    let first = eventually("an event", || {
        made.push(format!("after-{}", made.len()));
        register(&registry.url, made.last().unwrap(), &[], &json!({}));
        made.iter().find(|id| from_now.said().contains(&format!("\"{id}\""))).cloned()
    });
    assert!(!from_now.said().contains("before"), "{}", from_now.said());
    for n in 0..5 {
        register(&registry.url, &format!("last-{n}"), &[], &json!({}));
    }
    let event: Value = serde_json::from_str(&from_now.line("last-4")).unwrap();
    assert_eq!(event["type"], "service.join");
    let said = from_now.said();
    let order: Vec<usize> = (0..5).map(|n| said.find(&format!("last-{n}")).unwrap()).collect();
    assert!(order.is_sorted(), "{said}");
    assert_eq!(said.matches(&format!("\"{first}\"")).count(), 1, "{said}");
    since.line("\tlast-4\t");
    eventually("the typed event", || {
        output(&registry, &["config", "set", "key", &fastrand::u64(..).to_string()]);
        typed.said().contains("configuration_value.update").then_some(())
    });
    assert!(typed.said().contains("---") && !typed.said().contains("service.join"), "{}", typed.said());
}

#[test]
fn follower_waits_for_a_registry_that_is_away() {
    let (address, scratch) = (free_address(), tempfile::tempdir().unwrap());
    let data = ["--data-dir", scratch.path().to_str().unwrap()];
    let mut registry = Registry::start_at(&address, &data);
    let mut follower = Running::start(&mut command(&registry.url, &["events", "-f", "--since=1h", "-o", "jsonl"]));
    register(&registry.url, "zero", &[], &json!({}));
    follower.line("\"zero\""); // it has listed what was there, and follows
    register(&registry.url, "one-1", &[], &json!({}));
    follower.line("\"one-1\"");
    registry.process.signal(nix::sys::signal::Signal::SIGKILL);
    registry.process.end();
    follower.line("waiting for it");
    let registry = Registry::start_at(&address, &data);
    register(&registry.url, "two-2", &[], &json!({}));
    follower.line("\"two-2\"");
    assert_eq!(follower.said().matches("\"one-1\"").count(), 1, "{}", follower.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn members_of_a_later_registry_are_shown() {
    let event = json!({
        "id": "d25a45c0-eaf3-11f1-ab06-f348a4fa9b19", "timestamp": 1_700_000_000_000_u64, "type": "service.remove",
        "payload": {"id": "web-1"}, "cause": "deregistered", "reason": "bad \u{1b}disk",
        "by": {"user": "ann", "address": "192.0.2.7", "agent": "curl/8.5"},
    });
    let page = move |_: &crate::bench::Seen| crate::bench::faulty_server::page(&json!([event]), None);
    let registry = Misbehaving::start(page).await;
    let (_, rows, _) = run(&mut command(&registry.url, &["events", "--extended", "-o", "wide"]));
    assert_eq!(
        rows,
        "2023-11-14T22:13:20.000Z\tservice.remove\tweb-1\tderegistered: bad \\u{1b}disk\tann 192.0.2.7 curl/8.5\t\
         d25a45c0-eaf3-11f1-ab06-f348a4fa9b19\n"
    );
    assert_eq!(registry.seen()[0].target, "/v1.0/events?extended=true&limit=1000");
    let refusing = Misbehaving::start(|_| Reply::fault(401, "unauthorizedError", "no")).await;
    assert_eq!(run(&mut command(&refusing.url, &["events", "-f"])).0, 3);
}

#[test]
fn follower_without_a_reader_ends() {
    let registry = Registry::start();
    let script = "{ \"$0\" events -f; echo status $? >&2; } | true";
    let mut shell = clean("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_service-registry")]).env("SERVICE_REGISTRY_URL", &registry.url);
    let mut shell = Running::start(&mut shell);
    shell.end();
    assert_eq!(shell.said_to_the_end(), "status 0");
}

#[test]
fn extended_events_tell_what_changed_and_by_whom() {
    let registry = Registry::start();
    register(&registry.url, "web-1", &["www"], &json!({}));
    let mut follower =
        Running::start(&mut command(&registry.url, &["events", "-f", "--extended", "--since=1h", "-o", "wide"]));
    follower.line("\tservice.join\tweb-1\tregistered\t127.0.0.1");
    let body = json!({ "tags": ["api"] }).to_string();
    assert_eq!(request(&registry.url, "PUT", "/v1.0/services/web-1", &body).unwrap().0, 204);
    follower.line("\tservice.update\tweb-1\tupdated\t127.0.0.1");
    assert_eq!(request(&registry.url, "DELETE", "/v1.0/services/web-1?reason=bad%20disk", "").unwrap().0, 204);
    follower.line("\tservice.remove\tweb-1\tderegistered: bad disk\t127.0.0.1");
    let kinds = |options: &[&str]| output(&registry, &[&["events"], options].concat()).lines().count();
    assert_eq!((kinds(&[]), kinds(&["--extended"]), kinds(&["--type=service.update"])), (2, 3, 1));
}

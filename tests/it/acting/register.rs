//! `service-registry register`.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::fleet::{Fleet, command, run};
use crate::bench::users::with_users;
use crate::bench::wrapper::{events, service, service_at};
use crate::bench::{Registry, Running, USERS, eventually, free_address, request};

fn register(url: &str, options: &[&str]) -> Running {
    Running::start(command(url, &["register", "printer-1", "--interval=3"]).args(options))
}

#[test]
fn service_is_registered_until_a_signal_withdraws_it() {
    let registry = Registry::start();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let metadata = r"--metadata=host={hostname},port=631,motto=one\, two";
        let mut process = register(&registry.url, &["--tags=printer,a4", metadata]);
        process.line("registered printer-1 at ");
        let found = service(&registry, "printer-1").unwrap();
        assert_eq!(found["tags"], json!(["printer", "a4"]));
        assert_eq!((&found["metadata"]["port"], &found["metadata"]["motto"]), (&json!("631"), &json!("one, two")));
        assert!(!found["metadata"]["host"].as_str().unwrap().contains('{'), "{found}");
        process.signal(signal);
        assert_eq!(process.end().code(), Some(0), "{}", process.said());
        assert!(service(&registry, "printer-1").is_none());
    }
    assert_eq!(events(&registry, "service.timeout").len() + events(&registry, "services.timeout").len(), 0);
}

#[test]
fn service_comes_back_after_the_registry_has_lost_it() {
    let mut registry = Registry::start();
    let url = registry.url.clone();
    let mut process = register(&url, &["--tags=printer"]);
    process.line("registered printer-1 at ");
    // Removed alone: the session lives.
    assert_eq!(request(&url, "DELETE", "/v1.0/services/printer-1", "").unwrap().0, 204);
    process.line("is not in the registry any more");
    process.line("registered printer-1 at ");
    // A registry that has forgotten everything.
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    process.line("heartbeat failed");
    let registry = Registry::start_at(url.strip_prefix("http://").unwrap(), &[]);
    process.line("registered printer-1 at ");
    assert!(service(&registry, "printer-1").is_some());
}

#[test]
fn registry_that_starts_later_is_waited_for() {
    let address = free_address();
    let url = format!("http://{address}");
    let mut process = register(&url, &[]);
    process.line("printer-1 is not registered, will try again");
    let _registry = Registry::start_at(&address, &[]);
    process.line("registered printer-1 at ");
    assert!(service_at(&url, "printer-1").is_some());
}

#[test]
fn id_of_another_holder_is_waited_for() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    fleet.add("printer-1", &["other"], json!({}));
    let mut process = register(&registry.url, &["--tags=printer"]);
    process.line("printer-1 is held by another process");
    assert_eq!(service(&registry, "printer-1").unwrap()["tags"], json!(["other"]));
    fleet.remove("printer-1");
    eventually("the own service", || {
        service(&registry, "printer-1").filter(|found| found["tags"] == json!(["printer"]))
    });
}

/// A registry that is away does not keep the process from ending.
#[test]
fn signal_ends_it_while_the_registry_is_away() {
    let mut registry = Registry::start();
    let mut process = register(&registry.url, &[]);
    process.line("registered printer-1 at ");
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().code(), Some(0));
    let said = process.said_to_the_end();
    assert!(said.contains("printer-1 stays listed until its interval has passed"), "{said}");
}

#[test]
fn mistakes_and_refusals_end_it() {
    let (registry, _file) = with_users(USERS);
    let refused = run(&registry.url, &["register", "printer-1"]);
    assert_eq!(refused.0, Some(3), "{}", refused.2);
    let full = USERS.replacen("session = 100", "session = 0", 1);
    let (limited, _file) = with_users(&full);
    let mut limited = command(&limited.url, &["register", "printer-1", "--username=joe"]);
    let refused = limited.env("SERVICE_REGISTRY_API_KEY", "joes-key").output().unwrap();
    assert_eq!(refused.status.code(), Some(3), "{}", String::from_utf8_lossy(&refused.stderr));
    for (arguments, part) in [
        (&["register", "a/b"][..], "\"a/b\" contains '/'"),
        (&["register", "printer-1", "--tags=a,,b"], "--tags: tag 2 is empty"),
        (&["register", "printer-1", "--metadata=port"], "--metadata: \"port\" is not key=value"),
        (&["register", "printer-1", "--metadata=port={port}"], "{port}"),
        (&["register", "printer-1", "--interval=2"], "3 to 120"),
    ] {
        let (code, _, said) = run(&registry.url, arguments);
        assert!(code == Some(2) && said.contains(part), "{arguments:?}: {code:?} {said}");
    }
}

#[test]
fn next_registry_is_used_when_one_is_gone() {
    let registries = [Registry::start(), Registry::start()];
    let urls = registries.each_ref().map(|registry| registry.url.clone()).join(",");
    let mut process = register(&urls, &[]);
    process.line(&format!("registered printer-1 at {}", registries[0].url));
    registries[0].process.signal(Signal::SIGKILL);
    process.line(&format!("registered printer-1 at {}", registries[1].url));
    assert!(service(&registries[1], "printer-1").is_some());
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().code(), Some(0));
    assert!(service(&registries[1], "printer-1").is_none());
}

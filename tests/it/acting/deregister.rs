//! `service-registry deregister`.

use serde_json::json;

use crate::bench::fleet::{Fleet, run};
use crate::bench::users::with_users;
use crate::bench::wrapper::service;
use crate::bench::{Registry, USERS, free_address};

#[test]
fn every_service_that_is_there_is_removed() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    ["web0", "web1", "web2"].into_iter().for_each(|id| fleet.add(id, &["web"], json!({})));
    let (code, stdout, stderr) = run(&registry.url, &["deregister", "web0", "nobody", "web2", "--reason=moved away"]);
    assert_eq!((code, stdout.as_str()), (Some(1), "web0: deregistered\nweb2: deregistered\n"), "{stderr}");
    assert!(stderr.contains("nobody: there is no such service"), "{stderr}");
    let is_there = ["web0", "web1", "web2"].map(|id| service(&registry, id).is_some());
    assert_eq!(is_there, [false, true, false]);
    assert_eq!(run(&registry.url, &["deregister", "web1"]).0, Some(0));
}

#[test]
fn wrong_use_and_an_absent_registry_have_their_statuses() {
    let registry = Registry::start();
    let (_registry_of_users, _file) = with_users(USERS);
    let url = |address: String| format!("http://{address}");
    let long = format!("--reason={}", "x".repeat(256));
    for (url, arguments, code, part) in [
        (registry.url.clone(), vec!["deregister"], 2, "<ID>"),
        (
            registry.url.clone(),
            vec!["deregister", "web0", "--reason=a\nb"],
            2,
            "the reason contains a control character",
        ),
        (registry.url.clone(), vec!["deregister", "web0", &long], 2, "the reason has 256 characters"),
        (url(free_address()), vec!["deregister", "web0"], 4, "web0: "),
        (_registry_of_users.url.clone(), vec!["deregister", "web0"], 3, "web0: "),
    ] {
        let (ended, _, said) = run(&url, &arguments);
        assert!(ended == Some(code) && said.contains(part), "{arguments:?}: {ended:?} {said}");
    }
}

//! `service-registry wait`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::bench::fleet::{Fleet, command, run};
use crate::bench::users::with_users;
use crate::bench::{Registry, Running, USERS, clean, free_address};

#[test]
fn ids_are_printed_once_there_are_enough() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    fleet.add("db-0", &["db"], json!({}));
    fleet.add("web-0", &["web"], json!({}));
    assert_eq!(run(&registry.url, &["wait", "--tag=db"]).1, "db-0\n");
    let mut waiting = Running::start(&mut command(&registry.url, &["wait", "--tag=db", "--count=2"]));
    waiting.line("1 of 2 services are there");
    fleet.add("db-1", &["db"], json!({}));
    assert_eq!(waiting.end().code(), Some(0));
    assert!(waiting.said_to_the_end().ends_with("db-0\ndb-1"), "{}", waiting.said());
}

#[test]
fn all_filters_must_match() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    fleet.add("db-0", &["db", "main"], json!({"zone": "a", "port": "1"}));
    fleet.add("db-1", &["db"], json!({"zone": "a", "port": "2"}));
    fleet.add("db-2", &["db", "main"], json!({"zone": "b", "port": "1"}));
    fleet.add("dc-0", &["db", "main"], json!({"zone": "a", "port": "1"}));
    for (filters, ids) in [
        (&["--tag=db", "--tag=main"][..], "db-0\ndb-2\ndc-0\n"),
        (&["--metadata=zone=a"], "db-0\ndb-1\ndc-0\n"),
        (&["--metadata=zone=a", "--metadata=port=1"], "db-0\ndc-0\n"),
        (&["--id-prefix=db-"], "db-0\ndb-1\ndb-2\n"),
        (&["--tag=main", "--metadata=zone=a", "--id-prefix=dc"], "dc-0\n"),
        (&[], "db-0\ndb-1\ndb-2\ndc-0\n"),
    ] {
        assert_eq!(run(&registry.url, &[&["wait"], filters].concat()).1, ids, "{filters:?}");
    }
    let (code, stdout, _) = run(&registry.url, &["wait", "--timeout=0", "--tag=main", "--metadata=zone=c"]);
    assert_eq!((code, stdout.as_str()), (Some(124), ""));
}

/// The process becomes the command, with everything that it had.
#[test]
fn command_has_the_same_process_and_environment() {
    let registry = Registry::start();
    Fleet::of(&registry).add("db-0", &["db"], json!({}));
    let script = "echo pid $$; env | sort; cat; exit 7";
    let mut command = command(&registry.url, &["wait", "--tag=db", "--", "sh", "-c", script]);
    let mut running = Running::start(command.env("LEAVE", "me alone").env_remove("SERVICE_REGISTRY_CONFIG"));
    running.line(&format!("pid {}", running.pid));
    assert_eq!(running.end().code(), Some(7));
    let said = running.said_to_the_end();
    let mut bare = clean("sh");
    let bare = bare.args(["-c", "env | sort"]).env("LEAVE", "me alone").env("SERVICE_REGISTRY_URL", &registry.url);
    let bare = String::from_utf8(bare.output().unwrap().stdout).unwrap();
    assert!(said.ends_with(bare.trim_end()), "{said}\n---\n{bare}");
}

#[test]
fn command_that_cannot_run_has_the_status_of_a_shell() {
    let registry = Registry::start();
    Fleet::of(&registry).add("db-0", &["db"], json!({}));
    for (program, code) in [("no-such-program", 127), ("/etc/passwd", 126)] {
        let (ended, _, said) = run(&registry.url, &["wait", "--", program]);
        assert!(ended == Some(code) && said.contains(program), "{ended:?} {said}");
    }
}

#[test]
fn registry_that_starts_later_is_waited_for() {
    let address = free_address();
    let url = format!("http://{address}");
    let mut waiting = Running::start(&mut command(&url, &["wait", "--tag=db", "--timeout=forever"]));
    waiting.line("the registry does not answer");
    let registry = Registry::start_at(&address, &[]);
    Fleet::of(&registry).add("db-0", &["db"], json!({}));
    waiting.line("db-0");
    assert_eq!(waiting.end().code(), Some(0));
}

#[test]
fn time_limit_has_a_status_of_its_own() {
    let registry = Registry::start();
    let away = format!("http://{}", free_address());
    for (url, part) in [(&registry.url, "0 of 1 services are there"), (&away, "the registry does not answer")] {
        let begun = Instant::now();
        let (code, stdout, said) = run(url, &["wait", "--tag=db", "--timeout=1500ms", "--", "echo", "no"]);
        assert!(code == Some(124) && stdout.is_empty() && said.contains(part), "{code:?} {stdout} {said}");
        assert!(begun.elapsed() >= Duration::from_millis(1500));
    }
}

#[test]
fn refusal_is_not_waited_for() {
    let (registry, _file) = with_users(USERS);
    let (code, _, said) = run(&registry.url, &["wait", "--timeout=forever"]);
    assert_eq!(code, Some(3), "{said}");
    let (code, _, said) = run(&registry.url, &["wait", "--timeout=soon"]);
    assert!(code == Some(2) && said.contains("--timeout"), "{said}");
}

//! `service-registry watch`.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::fleet::{Fleet, command, run};
use crate::bench::users::with_users;
use crate::bench::{Registry, Running, USERS, clean, eventually};

/// `watch`, with a shell that runs this script. `$0` is a file that does not exist yet.
fn watch(url: &str, options: &[&str], script: &str, file: &Path) -> Running {
    let mut command = command(url, &[&["watch"], options].concat());
    Running::start(command.args(["--", "sh", "-c", script]).arg(file))
}

/// A path at which there is nothing, and its folder.
fn gate() -> (tempfile::TempDir, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gate");
    (folder, file)
}

fn ids(line: &str) -> Vec<String> {
    let list: Vec<Value> = serde_json::from_str(line).unwrap();
    list.iter().map(|service| service["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn lists_are_printed_at_the_start_and_at_each_change() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    fleet.add("api-0", &["api"], json!({"port": "80"}));
    let mut watch = Running::start(&mut command(&registry.url, &["watch", "--tag=api", "--quiet-time=0"]));
    let first: Value = serde_json::from_str(&watch.line("[")).unwrap();
    assert_eq!((&first[0]["tags"], &first[0]["metadata"]), (&json!(["api"]), &json!({"port": "80"})));
    fleet.add("web-0", &["web"], json!({}));
    fleet.add("api-1", &["api"], json!({}));
    assert_eq!(ids(&watch.line("[")), ["api-0", "api-1"]);
    fleet.change("api-1", json!({"port": "81"}));
    assert!(watch.line("[").contains("\"port\":\"81\""));
    fleet.remove("api-0");
    fleet.remove("api-1");
    eventually("the empty list", || ids(&watch.line("[")).is_empty().then_some(()));
    watch.signal(Signal::SIGTERM);
    assert_eq!(watch.end().code(), Some(0));
}

/// A service with heartbeats of its own has the time of the last one, which is no change.
#[test]
fn heartbeats_are_no_change() {
    let registry = Registry::start();
    let mut client = crate::bench::Client::new(crate::bench::users::address(&registry));
    let (_, mut token) = client.create("/services", json!({"id": "own-0", "heartbeat_timeout": 30}));
    let mut watch = Running::start(&mut command(&registry.url, &["watch", "--quiet-time=0"]));
    assert_eq!(ids(&watch.line("[")), ["own-0"]);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let answer = client.post("/services/own-0/heartbeat", json!({ "token": token }));
        token = answer.json()["token"].as_str().unwrap().to_owned();
        std::thread::sleep(Duration::from_millis(100)); // the pace of heartbeats
    }
    Fleet::of(&registry).add("own-1", &[], json!({}));
    assert_eq!(ids(&watch.line("[")), ["own-0", "own-1"], "{}", watch.said());
}

#[test]
fn command_has_the_list_on_stdin_and_its_size_in_variables() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    fleet.add("api-0", &["api"], json!({}));
    let script = "echo $SERVICE_REGISTRY_WATCH_VERSION: $SERVICE_REGISTRY_WATCH_COUNT; cat";
    let mut watch = watch(&registry.url, &["--tag=api"], script, Path::new("/"));
    watch.line("1: 1");
    assert_eq!(ids(&watch.line("[")), ["api-0"]);
    fleet.add("api-1", &["api"], json!({}));
    watch.line("2: 2");
    assert_eq!(ids(&watch.line("[")), ["api-0", "api-1"]);
}

/// More than a pipe takes, and a command that reads nothing or a part of it.
#[test]
fn large_list_does_not_wait_for_a_command_that_does_not_read_it() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    for number in 0..1_200 {
        fleet.add(&format!("api-{number:04}"), &["api"], json!({"note": "x".repeat(100)}));
    }
    for (script, part) in [("echo none", "none"), ("head -c 20; echo", "api-0000"), ("wc -c", "")] {
        let mut command = command(&registry.url, &["watch", "--once", "--", "sh", "-c", script]);
        let mut watch = Running::start(&mut command);
        assert_eq!(watch.end().code(), Some(0));
        let said = watch.said_to_the_end();
        assert!(said.contains(part) && (!part.is_empty() || said.trim().parse::<u32>().unwrap() > 200_000), "{said}");
    }
}

#[test]
fn changes_that_come_together_are_one_run() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    let script = "echo run $SERVICE_REGISTRY_WATCH_COUNT";
    let mut watch = watch(&registry.url, &["--quiet-time=3s", "--max-delay=1h"], script, Path::new("/"));
    watch.line("run 0");
    for number in 0..10 {
        fleet.add(&format!("api-{number}"), &["api"], json!({}));
        std::thread::sleep(Duration::from_millis(300)); // so that the watcher sees some of them apart
    }
    assert_eq!(watch.line("run "), "run 10", "{}", watch.said());
}

#[test]
fn endless_changes_are_run_for_all_the_same() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    let script = "echo run $SERVICE_REGISTRY_WATCH_COUNT";
    let mut watch = watch(&registry.url, &["--quiet-time=1h", "--max-delay=2s"], script, Path::new("/"));
    watch.line("run 0");
    let mut number = 0;
    eventually("a run between changes", || {
        fleet.add(&format!("api-{number}"), &["api"], json!({}));
        number += 1;
        watch.said().lines().filter(|line| line.starts_with("run ")).nth(1).map(|_| ())
    });
}

#[test]
fn runs_come_one_after_the_other_and_the_last_one_has_the_last_list() {
    let registry = Registry::start();
    let mut fleet = Fleet::of(&registry);
    let (_folder, file) = gate();
    let script = "echo begin $SERVICE_REGISTRY_WATCH_COUNT; until [ -e \"$0\" ]; do sleep 0.05; done; echo end";
    let mut watch = watch(&registry.url, &["--quiet-time=0"], script, &file);
    let mut witness = Running::start(&mut command(&registry.url, &["watch", "--quiet-time=0"]));
    watch.line("begin 0");
    for id in ["api-0", "api-1"] {
        fleet.add(id, &["api"], json!({}));
        witness.line(id); // the other one has been told as well
    }
    assert_eq!(watch.said(), "begin 0", "a run at the same time");
    std::fs::write(&file, "").unwrap();
    watch.line("begin 2");
    watch.line("end");
    let said = watch.said();
    let words: Vec<&str> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert!(words.chunks(2).all(|two| two == ["begin", "end"]), "{said}");
}

#[test]
fn failed_run_is_repeated_until_it_succeeds() {
    let registry = Registry::start();
    let (_folder, file) = gate();
    let mut watch = watch(&registry.url, &[], "[ -e \"$0\" ] || exit 3; echo good", &file);
    watch.line("the command has failed with status 3; it is run again in 1.0 s");
    watch.line("the command has failed with status 3; it is run again in 2.0 s");
    std::fs::write(&file, "").unwrap();
    watch.all(&["good", "the command has succeeded again"]);
}

/// The command's whole group gets the signal, and its end is waited for.
#[test]
fn signal_ends_the_command_first() {
    let registry = Registry::start();
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let script = "trap 'sleep 0.3; echo command ended; exit 0' TERM; sh -c 'trap \"echo child ended; exit\" TERM; \
                      echo up; while :; do sleep 0.05; done' & while :; do sleep 0.05; done";
        let mut watch = watch(&registry.url, &[], script, Path::new("/"));
        watch.line("up");
        watch.signal(signal);
        watch.all(&["child ended", "command ended"]);
        assert_eq!(watch.end().code(), Some(0));
    }
    let mut stubborn = watch(&registry.url, &[], "trap '' TERM; echo up; while :; do sleep 0.05; done", Path::new("/"));
    stubborn.line("up");
    stubborn.signal(Signal::SIGTERM);
    stubborn.line("stopping");
    stubborn.signal(Signal::SIGTERM);
    assert_eq!(stubborn.end().code(), Some(0));
}

/// Nothing is known about a list while the registry is away: the last one counts.
#[test]
fn absent_registry_is_no_empty_list() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let options = ["--data-dir", data.to_str().unwrap()];
    let mut registry = Registry::start_with(&options);
    Fleet::of(&registry).add("api-0", &["api"], json!({}));
    let script = "echo run $SERVICE_REGISTRY_WATCH_COUNT";
    let mut watch = watch(&registry.url, &["--quiet-time=0"], script, Path::new("/"));
    watch.line("run 1");
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    watch.line("the registry does not answer; its last list counts until it does");
    let registry = Registry::start_at(registry.url.strip_prefix("http://").unwrap(), &options);
    Fleet::of(&registry).add("api-1", &["api"], json!({}));
    watch.line("run 2");
    let said = watch.said();
    let runs: Vec<&str> = said.lines().filter(|line| line.starts_with("run ")).collect();
    assert_eq!(runs, ["run 1", "run 2"]);
}

#[test]
fn once_has_the_status_of_the_run() {
    let registry = Registry::start();
    Fleet::of(&registry).add("api-0", &["api"], json!({}));
    assert_eq!(run(&registry.url, &["watch", "--once", "--", "sh", "-c", "wc -l"]).1.trim(), "1");
    let (code, stdout, _) = run(&registry.url, &["watch", "--once"]);
    assert_eq!((code, ids(&stdout)), (Some(0), vec!["api-0".to_owned()]));
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137)] {
        let (ended, _, said) = run(&registry.url, &["watch", "--once", "--", "sh", "-c", script]);
        assert!(ended == Some(code) && said.contains(&format!("failed with status {code}")), "{ended:?} {said}");
    }
    let mut stopped =
        Running::start(&mut command(&registry.url, &["watch", "--once", "--", "sh", "-c", "echo up; exec sleep 1000"]));
    stopped.line("up");
    stopped.signal(Signal::SIGTERM);
    assert_eq!(stopped.end().code(), Some(143));
}

#[test]
fn mistakes_and_refusals_end_it() {
    let registry = Registry::start();
    let (of_users, _file) = with_users(USERS);
    for (url, arguments, code, part) in [
        (&registry.url, &["watch", "--", "no-such-program"][..], 127, "no-such-program"),
        (&registry.url, &["watch", "--", "/etc/passwd"], 126, "/etc/passwd"),
        (&registry.url, &["watch", "--quiet-time=1x"], 2, "--quiet-time"),
        (&registry.url, &["watch", "--metadata=port"], 2, "--metadata"),
        (&of_users.url, &["watch"], 3, "refused with 401"),
    ] {
        let (ended, _, said) = run(url, arguments);
        assert!(ended == Some(code) && said.contains(part), "{arguments:?}: {ended:?} {said}");
    }
}

/// Registries share nothing: the list is that of the one that answers.
#[test]
fn next_registry_is_asked_when_one_is_away() {
    let registries = [Registry::start(), Registry::start()];
    for (registry, id) in registries.iter().zip(["here-0", "there-0"]) {
        Fleet::of(registry).add(id, &[], json!({}));
    }
    let urls = registries.each_ref().map(|registry| registry.url.clone()).join(",");
    let mut watch = Running::start(&mut command(&urls, &["watch", "--quiet-time=0"]));
    assert_eq!(ids(&watch.line("[")), ["here-0"]);
    registries[0].process.signal(Signal::SIGKILL);
    watch.line("the registry does not answer");
    assert_eq!(ids(&watch.line("[{")), ["there-0"]);
    assert_eq!(run(&urls, &["wait"]).1, "there-0\n");
}

#[test]
fn closed_pipe_is_no_error() {
    let registry = Registry::start();
    let script = "{ \"$0\" watch --quiet-time=0; echo status $? >&2; } | head -n 1";
    let mut shell = clean("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_service-registry")]).env("SERVICE_REGISTRY_URL", &registry.url);
    let mut shell = Running::start(&mut shell);
    shell.line("[]");
    shell.end(); // without another list
    assert_eq!(shell.said_to_the_end(), "[]\nstatus 0");
}

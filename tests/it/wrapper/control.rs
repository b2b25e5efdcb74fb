//! Requests to running wrappers, by their service ids: state, maintenance, new tags and metadata.

use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, clean, eventually, wrapper};

fn wrapped(registry: &Registry, id: &str, folder: &Path) -> Command {
    let mut command = wrapper(&registry.url);
    command.env("XDG_RUNTIME_DIR", folder).arg(format!("--id={id}"));
    command
}

/// Runs `service-registry`; returns its status, stdout and stderr.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    let output = command.env("XDG_RUNTIME_DIR", folder).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The reply to a request that succeeds.
fn ask(folder: &Path, arguments: &[&str]) -> Value {
    let (code, stdout, stderr) = run(folder, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {stderr}");
    serde_json::from_str(&stdout).unwrap()
}

fn wait_for_socket(folder: &Path, id: &str) {
    let socket = folder.join(format!("service-registry/{id}.sock"));
    eventually("the status socket", || socket.exists().then_some(()));
}

#[test]
fn wrappers_are_listed_and_addressed_by_their_ids() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let folder = scratch.path();
    let start = |id: &str| {
        let mut command = wrapped(&registry, id, folder);
        Running::start(command.args(["--tags=www", "--metadata=port=80", "sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut both = ["web-a", "web-b"].map(start);
    for (running, id) in both.iter_mut().zip(["web-a", "web-b"]) {
        running.all(&["registered web-", "up"]);
        wait_for_socket(folder, id);
    }
    let row = |id: &str| {
        let (code, table, _) = run(folder, &["status"]);
        assert!(code == Some(0) && table.starts_with("ID "), "{table}");
        table.lines().find(|line| line.starts_with(id)).map(str::to_owned)
    };
    assert!(row("web-b").unwrap().ends_with("  registered"), "{:?}", row("web-b"));
    let (_, list, _) = run(folder, &["status", "-o", "json"]);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert!(list.iter().any(|status| status["id"] == "web-a"), "{list:?}");

    let status = ask(folder, &["maintenance", "on", "web-a", "--reason=new disks"]);
    assert_eq!((&status["registered"], &status["reason"]), (&json!(false), &json!("maintenance: new disks")));
    assert!(service(&registry, "web-a").is_none() && service(&registry, "web-b").is_some());
    assert!(row("web-a").unwrap().ends_with("  maintenance: new disks"));
    ask(folder, &["update", "web-a", "--tags=a, b", "--metadata=port=81,zone=x"]);
    assert!(service(&registry, "web-a").is_none(), "it is out for maintenance");
    ask(folder, &["maintenance", "off", "web-a"]);
    let found = service(&registry, "web-a").unwrap();
    assert_eq!((&found["tags"], &found["metadata"]), (&json!(["a", "b"]), &json!({"port": "81", "zone": "x"})));

    let status = ask(folder, &["update", "web-a", "--tags="]);
    let found = service(&registry, "web-a").unwrap();
    assert_eq!((&found["tags"], &status["tags"]), (&json!([]), &json!([])));
    assert_eq!((&found["metadata"]["port"], &status["metadata"]["zone"]), (&json!("81"), &json!("x")));
    let (code, reply, said) = run(folder, &["update", "web-a", "--metadata=port"]);
    assert!(code == Some(1) && said.contains("metadata: \"port\" is not key=value"), "{reply} {said}");
    assert_eq!(service(&registry, "web-a").unwrap(), found);
}

#[test]
fn wrong_requests_name_their_cure() {
    let scratch = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (&["status", "no-such-id"][..], 1, "no wrapper with the id no-such-id has a socket in"),
        (&["maintenance", "on"], 2, "Give its service id, or its --socket"),
        (&["update", "web0"], 2, "give --tags, --metadata, or both"),
        (&["maintenance", "on", "web0", "--reason=a\nb"], 2, "--reason: the reason has a control character"),
    ] {
        let (ended, _, said) = run(scratch.path(), arguments);
        assert!(ended == Some(code) && said.contains(part), "{arguments:?}: {ended:?} {said}");
    }
}

#[test]
fn maintenance_outlives_the_wrapper() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let (folder, state) = (scratch.path(), scratch.path().join("state"));
    let start = || {
        let mut command = wrapped(&registry, "web0", folder);
        Running::start(command.arg("--state-dir").arg(&state).args(["sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut first = start();
    first.all(&["registered web0", "up"]);
    wait_for_socket(folder, "web0");
    ask(folder, &["maintenance", "on", "web0", "--reason=new disks"]);
    first.signal(Signal::SIGKILL);
    first.end();
    let mut second = start();
    second.all(&["web0 is in maintenance since before the start: new disks", "up"]);
    let status = eventually("the new socket", || {
        let (code, reply, _) = run(folder, &["status", "web0"]);
        (code == Some(0)).then(|| serde_json::from_str::<Value>(&reply).unwrap())
    });
    assert_eq!((&status["registered"], &status["reason"]), (&json!(false), &json!("maintenance: new disks")));
    assert!(service(&registry, "web0").is_none());
    ask(folder, &["maintenance", "off", "web0"]);
    assert!(service(&registry, "web0").is_some());
    second.signal(Signal::SIGTERM);
    second.end();
    start().line("registered web0");
}

#[test]
fn wrapper_that_takes_an_id_over_gets_its_socket() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let folder = scratch.path();
    let start = || {
        let mut command = wrapped(&registry, "web0", folder);
        Running::start(command.args(["--replace", "sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut first = start();
    first.all(&["registered web0", "up"]);
    wait_for_socket(folder, "web0");
    let mut second = start();
    second.all(&["registered web0", "up"]);
    let before = ask(folder, &["status", "web0"])["child_pid"].clone();
    first.signal(Signal::SIGTERM);
    first.end();
    eventually("the socket of the second", || {
        let (code, reply, _) = run(folder, &["status", "web0"]);
        (code == Some(0) && serde_json::from_str::<Value>(&reply).unwrap()["child_pid"] != before).then_some(())
    });
}

#[test]
fn stopped_wrapper_is_listed_as_one_that_does_not_reply() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let folder = scratch.path();
    let mut command = wrapped(&registry, "web0", folder);
    let mut running = Running::start(command.args(["sh", "-c", "echo up; exec sleep 1000"]));
    running.all(&["registered web0", "up"]);
    wait_for_socket(folder, "web0");
    running.signal(Signal::SIGSTOP);
    let (_, table, _) = run(folder, &["status"]);
    assert!(table.contains("no reply; is the wrapper stopped?"), "{table}");
    running.signal(Signal::SIGCONT);
}

#[test]
fn second_wrapper_of_a_state_directory_leaves_the_maintenance_alone() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let state = scratch.path().join("state");
    let start = |folder: &Path| {
        let mut command = wrapped(&registry, "web0", folder);
        Running::start(command.arg("--state-dir").arg(&state).args(["sh", "-c", "echo up; exec sleep 1000"]))
    };
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    for folder in [&one, &two] {
        std::fs::create_dir(folder).unwrap();
    }
    let mut first = start(&one);
    first.all(&["registered web0", "up"]);
    let mut second = start(&two);
    second.all(&["is in use for web0 by another wrapper", "up"]);
    wait_for_socket(&two, "web0");
    let (code, _, said) = run(&two, &["maintenance", "on", "web0"]);
    assert!(code == Some(1) && said.contains("another wrapper uses the directory"), "{said}");
    assert!(!state.join("web0.maintenance").exists());
}

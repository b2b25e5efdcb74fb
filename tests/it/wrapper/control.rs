//! Requests to running wrappers, by their service ids: state, maintenance, new tags and metadata. The ids are of these
//! tests alone: a command also finds the sockets in `/run`, where other tests' wrappers have theirs.

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
    let mut both = ["control-a", "control-b"].map(start);
    for (running, id) in both.iter_mut().zip(["control-a", "control-b"]) {
        running.all(&["registered control-", "up"]);
        wait_for_socket(folder, id);
    }
    let row = |id: &str| {
        let (code, table, _) = run(folder, &["status"]);
        assert!(code == Some(0) && table.starts_with("ID "), "{table}");
        table.lines().find(|line| line.starts_with(id)).map(str::to_owned)
    };
    assert!(row("control-b").unwrap().ends_with("  registered"), "{:?}", row("control-b"));
    let (_, list, _) = run(folder, &["status", "-o", "json"]);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert!(list.iter().any(|status| status["id"] == "control-a"), "{list:?}");

    let status = ask(folder, &["maintenance", "on", "control-a", "--reason=new disks"]);
    assert_eq!((&status["registered"], &status["reason"]), (&json!(false), &json!("maintenance: new disks")));
    assert!(service(&registry, "control-a").is_none() && service(&registry, "control-b").is_some());
    assert!(row("control-a").unwrap().ends_with("  maintenance: new disks"));
    ask(folder, &["update", "control-a", "--tags=a, b", "--metadata=port=81,zone=x"]);
    assert!(service(&registry, "control-a").is_none(), "it is out for maintenance");
    ask(folder, &["maintenance", "off", "control-a"]);
    let found = service(&registry, "control-a").unwrap();
    assert_eq!((&found["tags"], &found["metadata"]), (&json!(["a", "b"]), &json!({"port": "81", "zone": "x"})));

    let status = ask(folder, &["update", "control-a", "--tags="]);
    let found = service(&registry, "control-a").unwrap();
    assert_eq!((&found["tags"], &status["tags"]), (&json!([]), &json!([])));
    assert_eq!((&found["metadata"]["port"], &status["metadata"]["zone"]), (&json!("81"), &json!("x")));
    let (code, reply, said) = run(folder, &["update", "control-a", "--metadata=port"]);
    assert!(code == Some(1) && said.contains("metadata: \"port\" is not key=value"), "{reply} {said}");
    assert_eq!(service(&registry, "control-a").unwrap(), found);
}

#[test]
fn wrong_requests_name_their_cure() {
    let scratch = tempfile::tempdir().unwrap();
    for (arguments, code, part) in [
        (&["status", "no-such-id"][..], 1, "no wrapper with the id no-such-id has a socket in"),
        (&["maintenance", "on"], 2, "Give its service id, or its --socket"),
        (&["update", "control-0"], 2, "give --tags, --metadata, or both"),
        (&["maintenance", "on", "control-0", "--reason=a\nb"], 2, "--reason: the reason has a control character"),
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
        let mut command = wrapped(&registry, "control-0", folder);
        Running::start(command.arg("--state-dir").arg(&state).args(["sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut first = start();
    first.all(&["registered control-0", "up"]);
    wait_for_socket(folder, "control-0");
    ask(folder, &["maintenance", "on", "control-0", "--reason=new disks"]);
    first.signal(Signal::SIGKILL);
    first.end();
    let mut second = start();
    second.all(&["control-0 is in maintenance since before the start: new disks", "up"]);
    let status = eventually("the new socket", || {
        let (code, reply, _) = run(folder, &["status", "control-0"]);
        (code == Some(0)).then(|| serde_json::from_str::<Value>(&reply).unwrap())
    });
    assert_eq!((&status["registered"], &status["reason"]), (&json!(false), &json!("maintenance: new disks")));
    assert!(service(&registry, "control-0").is_none());
    ask(folder, &["maintenance", "off", "control-0"]);
    assert!(service(&registry, "control-0").is_some());
    second.signal(Signal::SIGTERM);
    second.end();
    start().line("registered control-0");
}

#[test]
fn wrapper_that_takes_an_id_over_gets_its_socket() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let folder = scratch.path();
    let start = || {
        let mut command = wrapped(&registry, "control-0", folder);
        Running::start(command.args(["--replace", "sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut first = start();
    first.all(&["registered control-0", "up"]);
    wait_for_socket(folder, "control-0");
    let mut second = start();
    second.all(&["registered control-0", "up"]);
    let before = ask(folder, &["status", "control-0"])["child_pid"].clone();
    first.signal(Signal::SIGTERM);
    first.end();
    eventually("the socket of the second", || {
        let (code, reply, _) = run(folder, &["status", "control-0"]);
        (code == Some(0) && serde_json::from_str::<Value>(&reply).unwrap()["child_pid"] != before).then_some(())
    });
}

#[test]
fn stopped_wrapper_is_listed_as_one_that_does_not_reply() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let folder = scratch.path();
    let mut command = wrapped(&registry, "control-0", folder);
    let mut running = Running::start(command.args(["sh", "-c", "echo up; exec sleep 1000"]));
    running.all(&["registered control-0", "up"]);
    wait_for_socket(folder, "control-0");
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
        let mut command = wrapped(&registry, "control-0", folder);
        Running::start(command.arg("--state-dir").arg(&state).args(["sh", "-c", "echo up; exec sleep 1000"]))
    };
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    for folder in [&one, &two] {
        std::fs::create_dir(folder).unwrap();
    }
    let mut first = start(&one);
    first.all(&["registered control-0", "up"]);
    let mut second = start(&two);
    second.all(&["is in use for control-0 by another wrapper", "up"]);
    wait_for_socket(&two, "control-0");
    let (code, _, said) = run(&two, &["maintenance", "on", "control-0"]);
    assert!(code == Some(1) && said.contains("another wrapper uses the directory"), "{said}");
    assert!(!state.join("control-0.maintenance").exists());
}

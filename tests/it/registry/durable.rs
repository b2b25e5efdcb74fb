//! Acknowledged changes survive every end of the process.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use service_registry::registry::Config;

use crate::bench::durable::{client, run, start};
use crate::bench::files::mode;
use crate::bench::{Client, Server, USERS};
use crate::bench::{Registry, Running, clean, eventually, free_address, need};

/// Everything a client can see.
fn seen(client: &mut Client) -> Vec<Value> {
    let mut pages: Vec<Value> = ["/sessions", "/services", "/views/overview", "/configuration", "/events"]
        .into_iter()
        .map(|path| client.get(&format!("{path}?limit=1000")).json()["values"].clone())
        .collect();
    for page in pages.iter_mut().flat_map(|page| page.as_array_mut().unwrap()) {
        for holder in [page.clone(), page["session"].clone()] {
            assert!(holder.get("last_seen").is_none_or(Value::is_null), "nobody has beaten yet: {page}");
        }
    }
    pages
}

fn fill(client: &mut Client) -> (String, String, String) {
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 30, "metadata": {"a": "b"}}));
    for id in ["web-1", "web-2"] {
        client.create("/services", json!({"id": id, "session_id": session, "tags": ["www"], "metadata": {"p": "80"}}));
    }
    let (_, own) = client.create("/services", json!({"id": "own-1", "heartbeat_timeout": 20}));
    let writes = [
        client.put("/configuration//name/key", json!({"value": "größer"})),
        client.put("/configuration/key", json!({"value": "x"})),
        client.delete("/configuration/key"),
        client.delete("/services/web-2"),
    ];
    assert!(writes.iter().all(|answer| answer.status == 204), "{writes:?}");
    (session, token, own)
}

#[test]
fn all_records_survive_every_kind_of_exit() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let folder = tempfile::tempdir().unwrap();
        let at = free_address();
        let mut registry = start(&at, folder.path());
        let mut before = client(&registry);
        let (session, token, own) = fill(&mut before);
        let expected = seen(&mut before);
        registry.process.signal(signal);
        registry.process.end();

        let registry = start(&at, folder.path());
        let mut after = client(&registry);
        assert_eq!(seen(&mut after), expected, "{signal}");
        assert_eq!(after.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token })).status, 200);
        assert_eq!(after.post("/services/own-1/heartbeat", json!({ "token": own })).status, 200);
        let tagged = after.get("/services?tag=www").json();
        assert_eq!(tagged["metadata"]["count"], 1, "the indexes are there, too");
    }
}

#[test]
fn logins_and_creation_times_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("users.toml");
    std::fs::write(&users, USERS).unwrap();
    mode(&users, 0o600);
    let at = free_address();
    let options = ["--data-dir", folder.path().to_str().unwrap(), "--users", users.to_str().unwrap()];
    let mut registry = Registry::start_at(&at, &options);
    let mut joe = client(&registry).logged_in("joe", "joes-key");
    joe.put("/configuration/key", json!({"value": "x"}));
    let marker = joe.get("/events").json()["values"][0]["id"].as_str().unwrap().to_owned();
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    let _registry = Registry::start_at(&at, &options);
    let events = joe.get(&format!("/events?marker={marker}"));
    assert_eq!((events.status, &events.json()["values"][0]["id"]), (200, &json!(marker)), "{events:?}");
}

/// Killed in the middle of writing, again and again: what was answered with success is there.
#[test]
fn acknowledged_changes_survive_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let at = free_address();
    let acknowledged = Mutex::new(Vec::new());
    for round in 0..5 {
        let mut registry = start(&at, folder.path());
        let address: SocketAddr = at.parse().unwrap();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let acknowledged = &acknowledged;
                scope.spawn(move || {
                    for number in 0.. {
                        let id = format!("node-{round}-{thread}-{number}");
                        let body = json!({"id": id, "heartbeat_timeout": 120}).to_string();
                        // The plain client of the bench: the connection may break at any point.
                        match crate::bench::request(&format!("http://{address}"), "POST", "/v1.0/1/services", &body) {
                            Ok((201, _)) => acknowledged.lock().unwrap().push(id),
                            _ => break,
                        }
                    }
                });
            }
            let enough = (round + 1) * 100;
            eventually("some registrations", || (acknowledged.lock().unwrap().len() >= enough).then_some(()));
            registry.process.signal(Signal::SIGKILL);
            registry.process.end();
        });
    }
    let registry = start(&at, folder.path());
    let mut client = client(&registry);
    for id in acknowledged.into_inner().unwrap() {
        assert_eq!(client.get(&format!("/services/{id}")).status, 200, "{id} was acknowledged");
    }
}

/// After a restart that took longer than the timeout, sessions with heartbeats remain; the others expire, once.
#[test]
fn restart_gives_every_lease_its_whole_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let config = || Config::anonymous().data_dir(folder.path());
    let mut server = Server::start(config());
    let mut before = server.client();
    let (_, alive) = before.create("/services", json!({"id": "alive", "heartbeat_timeout": 3}));
    before.create("/sessions", json!({"heartbeat_timeout": 3}));
    server.advance(2_900);
    server.stop();

    let server = Server::start(config());
    let mut after = server.client();
    server.advance(2_900);
    let next = after.post("/services/alive/heartbeat", json!({ "token": alive })).json()["token"].clone();
    server.advance(200);
    assert_eq!(after.get("/sessions").json()["metadata"]["count"], 0);
    assert_eq!(after.get("/services").json()["metadata"]["count"], 1);
    assert_eq!(after.post("/services/alive/heartbeat", json!({ "token": next })).status, 200);
    let events = after.get("/events?type=services.timeout").json();
    assert_eq!(events["metadata"]["count"], 1);
}

#[test]
fn data_directory_in_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let registry = start("127.0.0.1:0", folder.path());
    let (code, said) = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path]);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("{path} is in use by process {}", registry.process.pid)), "{said}");
    let copy = folder.path().join("copy");
    run(&["backup", copy.to_str().unwrap(), "--data-dir", path]);
    let (code, said) = run(&["restore", copy.to_str().unwrap(), "--data-dir", path, "--force"]);
    assert_eq!(code, 3, "{said}");
    drop(registry); // killed: what it held is free
    start("127.0.0.1:0", folder.path());
}

#[test]
fn serve_logs_its_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let registry = start("127.0.0.1:0", folder.path());
    let mut process = registry.process;
    assert!(process.said().contains(&format!("data directory: {}", folder.path().display())), "{}", process.said());
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    let other = folder.path().join("other");
    command.args(["serve", "--listen", "127.0.0.1:0"]).env("SERVICE_REGISTRY_DATA_DIR", &other);
    Running::start(&mut command).line("listening on");
    assert!(other.join("store").is_dir());
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "there are keys in it");
}

#[test]
fn copy_of_a_running_registry_can_be_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let registry = Registry::start_at("127.0.0.1:0", &["--data-dir", &path("one")]);
    let mut one = client(&registry);
    let (session, token, _) = fill(&mut one);
    let expected = seen(&mut one);
    let (code, said) = run(&["backup", &path("copy"), "--data-dir", &path("one")]);
    assert_eq!(code, 0, "{said}");
    one.delete("/services/own-1"); // afterwards: not in the copy

    let (code, said) = run(&["restore", &path("copy"), "--data-dir", &path("two")]);
    assert_eq!(code, 0, "{said}");
    let mut registry = Registry::start_at("127.0.0.1:0", &["--data-dir", &path("two")]);
    let mut two = client(&registry);
    assert_eq!(seen(&mut two), expected);
    assert_eq!(two.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token })).status, 200);
    registry.process.signal(Signal::SIGTERM);
    registry.process.end();

    let (code, said) = run(&["restore", &path("copy"), "--data-dir", &path("two")]);
    assert_eq!((code, said.contains("--force")), (1, true), "{said}");
    let (code, said) = run(&["backup", &path("copy-2"), "--data-dir", &path("two")]);
    assert_eq!(code, 0, "no registry runs there, and a backup is possible all the same: {said}");
    let (code, said) = run(&["restore", &path("copy-2"), "--data-dir", &path("two"), "--force"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn damaged_copy_is_refused_without_a_change() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let registry = Registry::start_at("127.0.0.1:0", &["--data-dir", &path("one")]);
    fill(&mut client(&registry));
    assert_eq!(run(&["backup", &path("copy"), "--data-dir", &path("one")]).0, 0);
    let good = std::fs::read(path("copy")).unwrap();
    let flip = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        bad
    };
    let cut = good[..good.len() - 1].to_vec();
    let longer = [&good[..], b"x"].concat();
    for bad in [flip(3), flip(40), flip(good.len() / 2), flip(good.len() - 1), cut, longer, Vec::new()] {
        std::fs::write(path("bad"), bad).unwrap();
        let (code, said) = run(&["restore", &path("bad"), "--data-dir", &path("two")]);
        assert_eq!(code, 1, "{said}");
        assert!(!Path::new(&path("two")).exists(), "{said}");
    }
    let (code, said) = run(&["backup", &path("copy"), "--data-dir", &path("none")]);
    assert_eq!((code, std::fs::read(path("copy")).unwrap() == good), (1, true), "{said}");
}

/// A file system of a few megabytes that only this test sees, filled up and emptied while the registry runs.
#[test]
fn full_disk_refuses_writes_only() {
    need("unshare");
    let can_mount = Command::new("unshare").args(["--mount", "mount", "-t", "tmpfs", "none", "/mnt"]).output().unwrap();
    if !can_mount.status.success() {
        eprintln!("not tested: mounting a small file system needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let script = format!(
        "mount -t tmpfs -o size=8m none {path} && exec {} serve --listen 127.0.0.1:0 --data-dir {path}/data",
        env!("CARGO_BIN_EXE_service-registry")
    );
    let mut process = Running::start(clean("unshare").args(["--mount", "sh", "-c", &script]));
    let line = process.line("listening on http://");
    let mut client = Client::new(line.rsplit('/').next().unwrap().parse().unwrap());
    // The disk as that process sees it.
    let disk = format!("/proc/{}/root{path}", process.pid);

    let (session, mut token) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    let before = seen(&mut client);
    std::fs::write(format!("{disk}/ballast"), vec![0; 16 << 20]).unwrap_err();
    let value = "x".repeat(1_000);
    let (mut kept, mut refused) = (0, 0);
    // Each refusal may leave the last free bytes of the disk to the next write: it is full when three in a row fail.
    while refused < 3 {
        let answer = client.put(&format!("/configuration/key-{kept}"), json!({ "value": value }));
        if answer.status == 204 {
            (kept, refused) = (kept + 1, 0);
            assert!(kept < 900, "it never gets full");
            continue;
        }
        refused += 1;
        assert_eq!(answer.fault(), (503, "systemFailureError".into(), "Internal Error".into()));
        let answer = client.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token }));
        token = answer.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(client.get(&format!("/configuration/key-{kept}")).status, 404, "it was undone");
        assert_eq!(client.get("/services").status, 200);
        let events = client.get("/events?limit=1000&type=configuration_value.update").json();
        assert_eq!(events["metadata"]["count"], kept, "nothing has happened");
    }
    process.line("the disk accepts no writes");
    std::fs::remove_file(format!("{disk}/ballast")).unwrap();
    eventually("a write that is taken", || {
        (client.put("/configuration/after", json!({"value": "x"})).status == 204).then_some(())
    });
    process.line("the disk accepts writes again");
    assert_eq!(client.get("/sessions").json()["metadata"]["count"], before[0].as_array().unwrap().len());
}

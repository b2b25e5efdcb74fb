//! The holder of an id: previous sessions of the same wrapper, other holders, and keys that change.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::wrapper::{events, service};
use crate::bench::{Misbehaving, Reply};
use crate::bench::{Registry, Running, eventually, get, kill_raw, request, wrapper};

fn wrapped(registry: &str) -> Command {
    let mut command = wrapper(registry);
    command.args(["--id=web0", "--interval=60"]);
    command
}

#[test]
fn restarted_wrapper_revokes_its_previous_session() {
    let scratch = tempfile::tempdir().unwrap();
    let state = scratch.path().join("deep/state");
    let registry = Registry::start();
    let start = || Running::start(wrapped(&registry.url).arg("--state-dir").arg(&state).args(["sleep", "1000"]));
    let mut first = start();
    first.line("registered web0");
    let ghost = service(&registry, "web0").unwrap()["session_id"].clone();
    first.signal(Signal::SIGKILL);
    first.end();
    for (path, mode) in [(state.clone(), 0o700), (state.join("web0.session"), 0o600)] {
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }
    let mut second = start();
    second.line("revoked the previous session");
    second.line("registered web0");
    assert_ne!(service(&registry, "web0").unwrap()["session_id"], ghost);
    second.signal(Signal::SIGTERM);
    second.end();
    assert!(service(&registry, "web0").is_none());
    assert!(!state.join("web0.session").exists(), "nothing is left to retire");
    let removals = events(&registry, "service.remove");
    let causes: Vec<_> = removals.iter().map(|event| [&event["cause"], &event["reason"]]).collect();
    assert_eq!(causes, [[&json!("replaced"), &Value::Null], [&json!("session removed"), &json!("stopped by SIGTERM")]]);
    let agent = removals[0]["by"]["agent"].as_str().unwrap();
    assert!(agent.contains("service-registry-wrapper"), "{agent}");
}

#[test]
fn second_wrapper_leaves_the_first_ones_session() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let start = || {
        let mut command = wrapped(&registry.url);
        Running::start(command.arg("--state-dir").arg(scratch.path()).args(["--on-lost=stop", "sleep", "1000"]))
    };
    let mut first = start();
    first.line("registered web0");
    let held = service(&registry, "web0").unwrap()["session_id"].clone();
    let mut second = start();
    let told = second.line("--state-dir");
    let folder = scratch.path().display().to_string();
    assert!(told.contains(&folder) && told.contains(&format!("process {}", first.pid)), "{told}");
    second.line("is held by session");
    assert_eq!(service(&registry, "web0").unwrap()["session_id"], held);
    // What it leaves behind is the first one's, even if the second ends in between.
    second.signal(Signal::SIGTERM);
    assert_eq!(second.end().code(), Some(143));
    let state = fs::read_to_string(scratch.path().join("web0.session")).unwrap();
    assert_eq!(state.trim(), held.as_str().unwrap());
    // A waiting wrapper takes over from a killed one without waiting for the expiry.
    let mut third = start();
    third.line("is held by session");
    first.signal(Signal::SIGKILL);
    third.line("revoked the previous session");
    third.line("registered web0");
    let state = fs::read_to_string(scratch.path().join("web0.session")).unwrap();
    assert_eq!(service(&registry, "web0").unwrap()["session_id"], state.trim());
    // And from one that ends.
    let mut fourth = start();
    fourth.line("is held by session");
    third.signal(Signal::SIGTERM);
    third.end();
    fourth.line("registered web0");
    assert!(!fourth.said().contains("revoked the previous session"), "{}", fourth.said());
}

#[test]
fn child_does_not_hold_the_state_lock() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let start = || {
        let mut command = wrapped(&registry.url);
        command.arg("--state-dir").arg(scratch.path()).arg("--parent-death-signal=none");
        Running::start(command.args(["sh", "-c", "ls -l /proc/$$/fd; echo child $$; exec sleep 1000"]))
    };
    let mut first = start();
    let child = first.line("child ").split(' ').nth(1).unwrap().parse().unwrap();
    assert!(!first.said().contains("web0.lock"), "{}", first.said());
    first.signal(Signal::SIGKILL);
    first.end();
    let mut second = start();
    second.line("revoked the previous session"); // while the first one's child lives
    kill_raw(child, 9);
    assert!(!second.said().contains("--state-dir"), "{}", second.said());
}

#[test]
fn unlockable_state_directory_is_used_without_a_lock() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let elsewhere = scratch.path().join("elsewhere");
    std::os::unix::fs::symlink(&elsewhere, scratch.path().join("web0.lock")).unwrap();
    let mut command = wrapped(&registry.url);
    let mut first = Running::start(command.arg("--state-dir").arg(scratch.path()).args(["sleep", "1000"]));
    first.all(&["web0.lock", "registered web0"]);
    assert!(!elsewhere.exists(), "no link is followed");
    assert!(scratch.path().join("web0.session").exists());
}

#[test]
fn foreign_holder_keeps_the_id_without_replace() {
    let registry = Registry::start();
    let mut holder = Running::start(wrapped(&registry.url).args(["--metadata=owner=me", "sleep", "1000"]));
    holder.line("registered web0");
    let held = service(&registry, "web0").unwrap()["session_id"].clone();
    let mut second = Running::start(wrapped(&registry.url).args(["sh", "-c", "echo the child is up; exec sleep 1000"]));
    second.all(&["is held by session", "the child is up"]);
    let said = second.said();
    assert!(said.contains(held.as_str().unwrap()) && said.contains(r#""owner": "me""#), "{said}");
    assert_eq!(service(&registry, "web0").unwrap()["session_id"], held);
    let mut third = Running::start(wrapped(&registry.url).args(["--replace", "sleep", "1000"]));
    third.line("replacing it");
    third.line("registered web0");
    assert_ne!(service(&registry, "web0").unwrap()["session_id"], held);
    assert_eq!(events(&registry, "service.remove")[0]["cause"], "replaced");
}

#[test]
fn replaced_wrapper_yields_also_with_replace() {
    let registry = Registry::start();
    let start = || {
        let mut command = wrapper(&registry.url);
        Running::start(command.args(["--id=web0", "--interval=3", "--replace", "sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut first = start();
    first.all(&["registered web0", "up"]);
    let mut second = start();
    second.line("replacing it, as --replace says");
    second.line("registered web0");
    let held = service(&registry, "web0").unwrap()["session_id"].clone();
    let line = first.line("web0 was taken over by session");
    let holder = format!("{} (host ", held.as_str().unwrap());
    assert!(line.contains(&holder) && line.contains(&format!("pid \"{}\"", second.pid)), "{line}");
    // In the time of several attempts and verifications, neither takes the id from the other one.
    let session = format!("/v1.0/sessions/{}", held.as_str().unwrap());
    let seen = || get(&registry.url, &session).unwrap().1["last_seen"].as_u64();
    let begun = eventually("a heartbeat", seen);
    eventually("heartbeats for two timeouts", || (seen()? > begun + 6000).then_some(()));
    assert_eq!(service(&registry, "web0").unwrap()["session_id"], held);
    assert_eq!(events(&registry, "service.join").len(), 2);
    second.signal(Signal::SIGTERM);
    first.line("registered web0");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_key_is_read_again() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("key");
    let private = |key: &str| {
        fs::write(&file, format!("{key}\n")).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    };
    private("old-key");
    let registry = Misbehaving::start(|seen| match seen.line().as_str() {
        "POST /v2.0/tokens" if seen.body.contains("new-key") => Reply::login("token"),
        "POST /v2.0/tokens" => Reply::fault(401, "unauthorizedError", "forbidden"),
        "POST /v1.0/7777/sessions" => Reply::created("/sessions/seAAAAAAAA", r#"{"token":"t"}"#),
        "POST /v1.0/7777/services" => Reply::created("/services/web0", ""),
        _ => Reply::ok(&serde_json::json!({"token": "t"})),
    })
    .await;
    let mut command = wrapped(&registry.url);
    let mut wrapped =
        Running::start(command.args(["--username=joe", "--api-key-file"]).arg(&file).args(["sleep", "1000"]));
    wrapped.line("check user name and API key");
    private("new-key");
    wrapped.line("the file holds another one now");
    wrapped.line("registered web0");
    let said = wrapped.said();
    assert!(!said.contains("old-key") && !said.contains("new-key"), "{said}");
}

#[test]
fn world_readable_key_file_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("key");
    fs::write(&file, "s3cret").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let mut command = wrapped("http://127.0.0.1:1");
    let output = command.args(["--username=joe", "--api-key-file"]).arg(&file).arg("true").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("--api-key-file") && said.contains("chmod o-r") && !said.contains("s3cret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn key_can_come_from_an_inherited_descriptor() {
    let registry = Misbehaving::start(|_| Reply::Silence).await;
    let mut shell = crate::bench::clean("sh");
    shell.args(["-c", "exec \"$@\" 3<<end\nfrom-a-pipe\nend\n", "sh", env!("CARGO_BIN_EXE_service-registry-wrapper")]);
    shell.args([
        "--id=web0",
        "--username=joe",
        "--api-key-file=/dev/fd/3",
        "--registry-url",
        &registry.url,
        "sleep",
        "1000",
    ]);
    let _wrapped = Running::start(&mut shell);
    assert!(registry.requests(1).await[0].body.contains("from-a-pipe"));
}

#[test]
fn holder_with_heartbeats_of_its_own_is_named_as_such() {
    let registry = Registry::start();
    let own = serde_json::json!({"id": "web0", "heartbeat_timeout": 30, "metadata": {"host": "h7"}}).to_string();
    assert_eq!(request(&registry.url, "POST", "/v1.0/services", &own).unwrap().0, 201);
    let mut wrapped = Running::start(wrapper(&registry.url).args(["--id=web0", "sleep", "1000"]));
    let line = wrapped.line("web0 is held by");
    assert!(line.contains("a client that sends heartbeats for the service itself") && line.contains("h7"), "{line}");
}

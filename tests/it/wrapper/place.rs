//! `--on-lost=stop` while the session lives: a place that was given away is lost, whether by a wrapper or by an
//! operator.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::steps::{Step, pass_on, step};
use crate::bench::wrapper::service;
use crate::bench::{Misbehaving, Reply, Seen};
use crate::bench::{Registry, Running, child, eventually, free_address, get, request, wrapper};

/// A wrapper with the fence on, and a child that says which signals it gets.
fn fenced(registry: &str, options: &[&str]) -> Running {
    let mut command = wrapper(registry);
    command.args(["--id=web0", "--on-lost=stop", "--on-registry-down=wait:60"]).args(options);
    let mut running = Running::start(command.arg("python3").arg(child("signals.py")));
    running.ready();
    running
}

/// A registry behind a proxy that does what `fault` says to a request, if it says anything.
async fn behind(registry: &Registry, mut fault: impl FnMut(&Seen) -> Option<Reply> + Send + 'static) -> Misbehaving {
    let url = registry.url.clone();
    Misbehaving::start(move |seen| fault(seen).unwrap_or_else(|| pass_on(&url, seen))).await
}

fn heartbeats(proxy: &Misbehaving) -> usize {
    proxy.seen().iter().filter(|seen| step(seen) == Some(Step::Heartbeat)).count()
}

fn looks(proxy: &Misbehaving) -> usize {
    proxy.lines().iter().filter(|line| *line == "GET /v1.0/services/web0").count()
}

fn after_heartbeats(proxy: &Misbehaving, count: usize) {
    let goal = heartbeats(proxy) + count;
    eventually("heartbeats", || (heartbeats(proxy) >= goal).then_some(()));
}

fn lives(running: &mut Running) {
    running.signal(Signal::SIGUSR1);
    running.line("got 10");
    assert!(!running.said().contains("got 15"), "{}", running.said());
}

/// Takes the id over, or takes it if it is free, by other means than a wrapper's; gives the session.
fn hold(registry: &Registry) -> String {
    let (_, holder) = (request(&registry.url, "DELETE", "/v1.0/services/web0", ""), "{\"heartbeat_timeout\": 120}");
    let answer = pass_on(&registry.url, &posted("/v1.0/sessions", holder));
    let Reply::Answer { headers, .. } = answer else { panic!("no session") };
    let session = headers[0].1.rsplit('/').next().unwrap().to_owned();
    let service = json!({"id": "web0", "session_id": session});
    assert_eq!(request(&registry.url, "POST", "/v1.0/services", &service.to_string()).unwrap().0, 201);
    session
}

fn posted(target: &str, body: &str) -> Seen {
    let (method, target, body) = ("POST".to_owned(), target.to_owned(), body.to_owned());
    Seen { method, target, headers: Vec::new(), body, at: std::time::Instant::now() }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_service_stops_the_child_within_one_heartbeat() {
    for way in ["another wrapper", "an operator", "another session"] {
        let registry = Registry::start();
        let proxy = behind(&registry, |_| None).await;
        let mut first = fenced(&proxy.url, &["--interval=8"]);
        let mut second = None;
        match way {
            "another wrapper" => {
                let mut command = wrapper(&registry.url);
                let command = command.args(["--id=web0", "--replace", "--interval=60", "sleep", "1000"]);
                second.insert(Running::start(command)).line("registered web0");
            }
            "an operator" => drop(request(&registry.url, "DELETE", "/v1.0/services/web0", "").unwrap()),
            _ => drop(hold(&registry)),
        }
        let before = heartbeats(&proxy);
        assert_eq!(first.end().code(), Some(100), "{way}");
        let needed = heartbeats(&proxy) - before;
        assert!(needed <= 2, "{way}: {needed} heartbeats; one may have been under way");
        let said = first.said_to_the_end();
        assert!(said.contains("got 15") && said.contains("stopping the command"), "{way}: {said}");
        assert_eq!(service(&registry, "web0").is_some(), way != "an operator", "{way}: it is left as it was");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_session_with_a_new_holder_stops_the_child() {
    let registry = Registry::start();
    let proxy = behind(&registry, |_| None).await;
    let mut wrapped = fenced(&proxy.url, &["--interval=10", "--replace"]);
    let session = service(&registry, "web0").unwrap()["session_id"].as_str().unwrap().to_owned();
    request(&registry.url, "DELETE", &format!("/v1.0/sessions/{session}"), "").unwrap();
    let holder = hold(&registry);
    assert_eq!(wrapped.end().code(), Some(100));
    let said = wrapped.said_to_the_end();
    assert!(said.contains(&format!("is held by session {holder}")), "{said}");
    assert_eq!(
        service(&registry, "web0").unwrap()["session_id"],
        holder,
        "the previous holder does not replace its successor"
    );
}

#[test]
fn lost_session_registered_again_in_time_keeps_the_child() {
    let address = free_address();
    let registry = Registry::start_at(&address, &[]);
    let mut wrapped = fenced(&registry.url, &["--interval=10"]);
    drop(registry);
    let registry = Registry::start_at(&address, &[]);
    wrapped.line("registration is lost");
    wrapped.line("registered web0");
    lives(&mut wrapped);
    assert!(service(&registry, "web0").is_some());
}

/// Something else answers for a while, and knows nothing: the service is found in a session that was the wrapper's own.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_404_does_not_stop_the_child() {
    let registry = Registry::start();
    let (mut seen, mut is_over) = (0, false);
    let proxy = behind(&registry, move |request| {
        seen += usize::from(step(request) == Some(Step::Heartbeat));
        if seen < 2 || is_over {
            return None;
        }
        is_over = step(request) == Some(Step::Session);
        Some(Reply::Answer { status: 404, headers: Vec::new(), body: "<html>no such page</html>".to_owned() })
    })
    .await;
    let mut wrapped = fenced(&proxy.url, &["--interval=10"]);
    wrapped.line("registration is lost");
    wrapped.line("registered web0");
    after_heartbeats(&proxy, 2);
    lives(&mut wrapped);
}

/// A session alone is no place: it must not keep the child running.
#[tokio::test(flavor = "multi_thread")]
async fn session_without_its_service_does_not_keep_the_child_running() {
    let registry = Registry::start();
    let mut sessions = 0;
    let proxy = behind(&registry, move |seen| {
        sessions += usize::from(step(seen) == Some(Step::Session));
        (step(seen) == Some(Step::Register) && sessions > 1)
            .then(|| Reply::fault(503, "systemFailureError", "Internal Error"))
    })
    .await;
    let mut wrapped = fenced(&proxy.url, &["--interval=5"]);
    let session = service(&registry, "web0").unwrap()["session_id"].as_str().unwrap().to_owned();
    request(&registry.url, "DELETE", &format!("/v1.0/sessions/{session}"), "").unwrap();
    assert_eq!(wrapped.end().code(), Some(100), "{}", wrapped.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_verifications_count_like_failed_heartbeats() {
    let registry = Registry::start();
    let fault = || Reply::fault(503, "systemFailureError", "Internal Error");
    let left = Arc::new(AtomicUsize::new(2));
    let (never, twice) = (
        behind(&registry, move |seen| (seen.method == "GET").then(fault)).await,
        behind(&registry, move |seen| {
            let is_hit = seen.method == "GET"
                && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
            is_hit.then(fault)
        })
        .await,
    );
    let mut wrapped = fenced(&never.url, &["--interval=5"]);
    assert_eq!(wrapped.end().code(), Some(100));
    let said = wrapped.said_to_the_end();
    assert!(said.contains("has not confirmed the registration for too long"), "{said}");
    assert_eq!(said.matches("cannot verify that web0 is still registered").count(), 1, "{said}");
    request(&registry.url, "DELETE", "/v1.0/services/web0", "").unwrap();
    let mut wrapped = fenced(&twice.url, &["--interval=10"]);
    wrapped.line("cannot verify that web0 is still registered");
    wrapped.line("web0 is still registered");
    after_heartbeats(&twice, 2);
    lives(&mut wrapped);
}

/// Heartbeat and look together have the time that a heartbeat has.
#[tokio::test(flavor = "multi_thread")]
async fn slow_registry_does_not_stop_the_child() {
    let registry = Registry::start();
    let (url, mut seen) = (registry.url.clone(), 0);
    let proxy = Misbehaving::start(move |request| {
        seen += usize::from(step(request) == Some(Step::Heartbeat));
        let reply = pass_on(&url, request);
        if seen < 2 { reply } else { Reply::Late(Box::new(reply), Duration::from_millis(2550)) }
    })
    .await;
    let mut wrapped = fenced(&proxy.url, &["--interval=15"]);
    eventually("heartbeats", || (heartbeats(&proxy) >= 3).then_some(()));
    lives(&mut wrapped);
}

#[tokio::test(flavor = "multi_thread")]
async fn service_in_maintenance_is_not_lost() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("status");
    let registry = Registry::start();
    let left = Arc::new(AtomicUsize::new(3));
    let refusals = left.clone();
    // The registry does not take it out at first, and keeps it for longer than the fence.
    let proxy = behind(&registry, move |seen| {
        let is_hit = seen.line() == "DELETE /v1.0/services/web0" && left.load(Ordering::SeqCst) > 0;
        is_hit.then(|| Reply::fault(503, "systemFailureError", "Internal Error"))
    })
    .await;
    let mut wrapped = fenced(&proxy.url, &["--interval=3", &format!("--status-socket={}", path.display())]);
    ask(&path, "maintenance on");
    after_heartbeats(&proxy, 3);
    refusals.store(0, Ordering::SeqCst);
    eventually("the service to be out", || service(&registry, "web0").is_none().then_some(()));
    after_heartbeats(&proxy, 3);
    lives(&mut wrapped);
    let held = hold(&registry);
    ask(&path, "maintenance off");
    wrapped.line(&format!("web0 is held by session {held}"));
    after_heartbeats(&proxy, 3);
    lives(&mut wrapped);
    request(&registry.url, "DELETE", &format!("/v1.0/sessions/{held}"), "").unwrap();
    wrapped.line("registered web0");
    after_heartbeats(&proxy, 2);
    lives(&mut wrapped);
    // From here on it has a place to lose again.
    hold(&registry);
    assert_eq!(wrapped.end().code(), Some(100), "{}", wrapped.said());
}

/// Nothing can be lost during a maintenance, whatever becomes of the registry.
#[test]
fn program_without_a_place_outlives_its_registry() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("status");
    let registry = Registry::start();
    let mut wrapped = fenced(&registry.url, &["--interval=3", &format!("--status-socket={}", path.display())]);
    ask(&path, "maintenance on");
    assert!(service(&registry, "web0").is_none());
    registry.process.signal(Signal::SIGKILL);
    wrapped.line("heartbeat failed");
    let failures = || ask(&path, "status")["seconds_since_accepted_heartbeat"].as_f64().unwrap();
    eventually("more than the timeout without a heartbeat", || (failures() > 3.5).then_some(()));
    lives(&mut wrapped);
}

/// The wrapper has withdrawn the service itself, since the program could not serve.
#[test]
fn program_whose_place_was_taken_while_it_was_unhealthy_is_stopped() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("file");
    std::fs::write(&file, "").unwrap();
    let registry = Registry::start();
    let check = format!("--check=exec:test -e {}", file.display());
    let options = ["--interval=5", &check, "--check-interval=0.25", "--flap-limit=0"];
    let mut wrapped = fenced(&registry.url, &options);
    std::fs::remove_file(&file).unwrap();
    wrapped.line("web0 is out of the registry: unhealthy");
    hold(&registry);
    std::fs::write(&file, "").unwrap();
    assert_eq!(wrapped.end().code(), Some(100), "{}", wrapped.said());
    assert!(wrapped.said_to_the_end().contains("web0 is held by session"), "{}", wrapped.said());
}

fn ask(path: &Path, request: &str) -> Value {
    let mut socket = eventually("the socket", || UnixStream::connect(path).ok());
    writeln!(socket, "{request}").unwrap();
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn service_is_verified_with_every_heartbeat_only_with_the_fence() {
    for (options, expected) in [(["--on-lost=keep"], 0..=0), (["--on-lost=stop"], 3..=4)] {
        let registry = Registry::start();
        let proxy = behind(&registry, |_| None).await;
        let mut command = wrapper(&proxy.url);
        let mut wrapped =
            Running::start(command.args(["--id=web0", "--interval=3"]).args(options).args(["sleep", "1000"]));
        wrapped.line("registered web0");
        eventually("heartbeats", || (heartbeats(&proxy) >= 4).then_some(()));
        assert!(expected.contains(&looks(&proxy)), "{options:?}: {:?}", proxy.lines());
        let (status, _) = get(&registry.url, "/v1.0/services/web0").unwrap();
        assert_eq!(status, 200);
    }
}

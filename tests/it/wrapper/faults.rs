//! Every fault at every step, between real wrappers and a real registry: the child never notices, and the registration
//! is true again when the fault is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::steps::{Step, pass_on, step};
use crate::bench::wrapper::{service, service_at};
use crate::bench::{Misbehaving, Reply};
use crate::bench::{Registry, Running, child, eventually, get, wrapper};

const STEPS: [Step; 5] = [Step::Login, Step::Session, Step::Register, Step::Heartbeat, Step::Deregister];

/// What happens to a request.
#[derive(Clone)]
enum Fault {
    /// It never gets to the registry.
    Instead(Reply),
    /// The registry's answer takes this much time for each byte.
    Dripped(Duration),
}

fn faults() -> Vec<(&'static str, Fault)> {
    let truncated = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"token\": \"6d1b".to_vec();
    let wrong_token = json!({"token": "6d1ba1a0-c640-11f0-8000-000000000000"});
    let instead = [
        ("no answer", Reply::Silence),
        ("cut", Reply::Close),
        ("half an answer", Reply::Bytes(truncated.clone())),
        ("half an answer, then silence", Reply::BytesThenSilence(truncated)),
        ("nonsense", Reply::Bytes(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec())),
        ("a page", Reply::created("/", "<html>hello</html>")),
        ("another token", Reply::ok(&wrong_token)),
        ("500", Reply::fault(500, "internalError", "Internal Error")),
        ("503", Reply::fault(503, "systemFailureError", "Internal Error").with("Retry-After", "1")),
        ("401", Reply::fault(401, "unauthorizedError", "forbidden")),
        ("400", Reply::fault(400, "badRequest", "no")),
        ("404", Reply::fault(404, "notFoundError", "object does not exist")),
        ("429", Reply::fault(429, "rateLimitReached", "slow down")),
    ];
    // The second is mostly in time, in hundreds of pieces.
    let dripped = [("an endless drip", Duration::from_millis(250)), ("a quick drip", Duration::from_millis(1))];
    let instead = instead.map(|(name, reply)| (name, Fault::Instead(reply)));
    instead.into_iter().chain(dripped.map(|(name, pause)| (name, Fault::Dripped(pause)))).collect()
}

/// A registry behind a proxy that does this to the first request of this step, and to a second one unless the first may
/// have been answered; it passes everything else on.
async fn behind(registry: &str, faulty: Step, fault: Fault) -> (Misbehaving, Arc<AtomicUsize>) {
    let left = Arc::new(AtomicUsize::new(if matches!(fault, Fault::Dripped(_)) { 1 } else { 2 }));
    let (registry, count) = (registry.to_owned(), Arc::clone(&left));
    let proxy = Misbehaving::start(move |seen| {
        let hit = step(seen) == Some(faulty)
            && count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        match &fault {
            Fault::Instead(reply) if hit => reply.clone(),
            Fault::Dripped(pause) if hit => Reply::Dripped(Box::new(pass_on(&registry, seen)), *pause),
            _ => pass_on(&registry, seen),
        }
    });
    (proxy.await, left)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 16)]
async fn registration_heals_after_every_fault_at_every_step() {
    let registry = Registry::start();
    let mut runs = Vec::new();
    for step in STEPS {
        for (number, (name, fault)) in faults().into_iter().enumerate() {
            let (proxy, left) = behind(&registry.url, step, fault).await;
            let url = registry.url.clone();
            let id = format!("{step:?}-{number}");
            runs.push((step, name, tokio::task::spawn_blocking(move || heals(&url, &proxy, &left, step, &id))));
        }
    }
    let mut failed = Vec::new();
    for (step, name, run) in runs {
        if run.await.is_err() {
            failed.push(format!("{name} at {step:?}"));
        }
    }
    assert!(failed.is_empty(), "these did not heal: {failed:#?}");
}

fn heals(registry: &str, proxy: &Misbehaving, left: &AtomicUsize, step: Step, id: &str) {
    let mut command = wrapper(&proxy.url);
    command.args([&format!("--id={id}"), "--interval=3", "--tags=tag-a", "--metadata=k=v", "--username=joe"]);
    let mut wrapped =
        Running::start(command.env("SERVICE_REGISTRY_API_KEY", "s3cret").arg("python3").arg(child("signals.py")));
    wrapped.ready(); // the child starts, whatever the registry does
    if step != Step::Deregister {
        eventually("the fault to be met", || (left.load(Ordering::SeqCst) == 0).then_some(()));
    }
    let lives = |service: &serde_json::Value| {
        let session = service["session_id"].as_str().unwrap();
        let (status, session) = get(registry, &format!("/v1.0/sessions/{session}")).unwrap();
        status == 200 && session["last_seen"].is_u64()
    };
    // The session beats on after the fault: it is the one that a heartbeat will find again and again.
    let service = eventually("the registration", || service_at(registry, id).filter(lives));
    assert_eq!((&service["tags"], &service["metadata"]), (&json!(["tag-a"]), &json!({"k": "v"})));
    assert!(!wrapped.has_ended());
    wrapped.signal(Signal::SIGTERM);
    wrapped.line("got 15");
    wrapped.signal(Signal::SIGTERM);
    assert_eq!(wrapped.end().code(), Some(0));
    let said = wrapped.said_to_the_end();
    assert!(!said.contains("s3cret"), "{said}");
    assert_eq!(said.matches("got").count(), 2, "the child gets what was sent to it, and nothing else: {said}");
}

#[test]
fn removed_service_is_registered_again() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    let mut wrapped = Running::start(command.args(["--id=web0", "--interval=3", "sleep", "1000"]));
    wrapped.line("registered web0");
    let session = service(&registry, "web0").unwrap()["session_id"].clone();
    crate::bench::request(&registry.url, "DELETE", "/v1.0/services/web0", "").unwrap();
    wrapped.line("registered web0");
    assert_eq!(service(&registry, "web0").unwrap()["session_id"], session, "its session was never lost");
}

#[test]
fn answering_registry_is_used_of_several() {
    let first = crate::bench::free_address();
    let second = Registry::start();
    let mut command = wrapper(&format!("http://{first},{}", second.url));
    let mut wrapped = Running::start(command.args(["--id=web0", "--interval=3", "sleep", "1000"]));
    wrapped.line(&format!("registered web0 at {}", second.url));
    drop(second);
    let first = Registry::start_at(&first, &[]);
    wrapped.line(&format!("registered web0 at {}", first.url));
    assert!(service(&first, "web0").is_some());
}

#[test]
fn registration_heals_after_a_network_cut() {
    // A network of its own, whose only cable is pulled for longer than the session lives.
    ["unshare", "ip", "curl"].into_iter().for_each(crate::bench::need);
    let script = "
        ip link set lo up || exit 1
        \"$REGISTRY\" serve -q --in-memory --listen 127.0.0.1:7200 &
        until curl -fs -o /dev/null http://127.0.0.1:7200/v1.0/services; do sleep 0.1; done
        \"$WRAPPER\" --registry-url=http://127.0.0.1:7200 --id=web0 --interval=3 sleep 1000 & wrapper=$!
        until curl -fs -o /dev/null http://127.0.0.1:7200/v1.0/services/web0; do sleep 0.1; done
        echo cut
        ip link set lo down
        sleep 5
        ip link set lo up
        echo mended
        until curl -fs -m 1 -o /dev/null http://127.0.0.1:7200/v1.0/services/web0; do sleep 0.1; done
        echo there again
        curl -s 'http://127.0.0.1:7200/v1.0/events?type=services.timeout' | grep '\"count\": 1'
        kill -0 $wrapper && echo never noticed
        wait";
    let mut command = crate::bench::clean("unshare");
    command.args(["--map-root-user", "--net", "bash", "-c", script]);
    command.env("REGISTRY", env!("CARGO_BIN_EXE_service-registry"));
    let mut network = Running::start(command.env("WRAPPER", env!("CARGO_BIN_EXE_service-registry-wrapper")));
    for line in ["cut", "heartbeat failed", "mended"] {
        network.line(line);
    }
    network.all(&["registered web0", "there again", "\"count\": 1", "never noticed"]);
}

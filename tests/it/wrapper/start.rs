//! The start of the child, which no registry delays or prevents, unless `--abort-on-failure` asks for it.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::steps::scripted_registry;
use crate::bench::wrapper::limited;
use crate::bench::{Misbehaving, Reply};
use crate::bench::{Running, child, eventually, free_address, need, wrapper};

/// The service, in the session that a healthy registry opens.
pub fn held() -> Reply {
    Reply::ok(&json!({"id": "web0", "session_id": "seAAAAAAAA", "tags": [], "metadata": {}}))
}

pub fn fault(status: u16, kind: &str) -> Reply {
    Reply::fault(status, kind, "no")
}

fn count(registry: &Misbehaving, request: &str) -> usize {
    registry.lines().iter().filter(|line| *line == request).count()
}

fn started(command: &mut Command) -> Running {
    Running::start(command.args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")))
}

/// With an interval that gives a request more time than the start waits.
fn started_at_leisure(command: &mut Command) -> Running {
    Running::start(command.args(["--id=web0", "--interval=120", "python3"]).arg(child("signals.py")))
}

#[tokio::test(flavor = "multi_thread")]
async fn child_starts_with_an_unreachable_refusing_or_silent_registry() {
    let refusing = [(500, "internalError"), (401, "unauthorizedError"), (400, "badRequest"), (404, "notFoundError")];
    for (status, kind) in refusing {
        let registry = scripted_registry(move |_, _| Some(fault(status, kind))).await;
        let mut wrapped = started(&mut wrapper(&registry.url));
        wrapped.line(&format!("was refused with {status}"));
        wrapped.ready();
    }
    let nonsense = scripted_registry(|_, _| Some(Reply::created("/", "<html>hello</html>"))).await;
    started(&mut wrapper(&nonsense.url)).ready();
    started(&mut wrapper(&format!("http://{}", free_address()))).ready();
    let silent = scripted_registry(|_, _| Some(Reply::Silence)).await;
    let mut wrapped = started_at_leisure(&mut wrapper(&silent.url));
    wrapped.line("does not answer; starting the command without waiting");
    wrapped.ready();
    assert_eq!(silent.lines(), ["POST /v1.0/sessions"], "it is still under way when the child starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_at_any_step_delays_the_start_equally() {
    for step in ["POST /v2.0/tokens", "POST /v1.0/sessions", "POST /v1.0/services"] {
        let registry = scripted_registry(move |request, _| (request == step).then_some(Reply::Silence)).await;
        let mut command = wrapper(&registry.url);
        if step == "POST /v2.0/tokens" {
            command.args(["--username=joe"]).env("SERVICE_REGISTRY_API_KEY", "k");
        }
        let mut wrapped = started_at_leisure(&mut command);
        wrapped.line("does not answer; starting the command without waiting");
        wrapped.ready();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_continues_after_the_start() {
    let registry = scripted_registry(|request, before| match request {
        "POST /v1.0/sessions" if before < 2 => Some(fault(503, "systemFailureError")),
        "POST /v1.0/services" if before < 2 => Some(fault(500, "internalError")),
        _ => None,
    })
    .await;
    let mut wrapped = started_at_leisure(&mut wrapper(&registry.url));
    wrapped.all(&["ready ", "registered web0"]);
    assert_eq!(count(&registry, "POST /v1.0/sessions"), 3, "one session is enough once it is open");
    assert_eq!(count(&registry, "POST /v1.0/services"), 3);
    let heartbeat = "POST /v1.0/sessions/seAAAAAAAA/heartbeat";
    eventually("a heartbeat", || (count(&registry, heartbeat) > 0).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_option_delays_the_start_longer() {
    let registry = scripted_registry(|request, before| {
        (request == "POST /v1.0/sessions" && before < 3).then(|| fault(500, "internalError"))
    })
    .await;
    let mut wrapped = started(wrapper(&registry.url).arg("--on-registry-down=wait:20"));
    wrapped.line("registered web0");
    wrapped.ready();
    let mut wrapped = started(wrapper(&format!("http://{}", free_address())).arg("--on-registry-down=wait:0.3s"));
    wrapped.line("starting the command all the same");
    wrapped.ready();
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_on_failure_starts_the_child_after_the_registration() {
    let registry = scripted_registry(|request, before| match request {
        "POST /v1.0/services" if before < 1 => Some(fault(400, "serviceWithThisIdExists")),
        // Asked for the holder when the id is taken, and then by the fence.
        "GET /v1.0/services/web0" if before >= 1 => Some(held()),
        _ => None,
    })
    .await;
    let mut wrapped = started(wrapper(&registry.url).arg("--abort-on-failure"));
    wrapped.ready();
    assert_eq!(count(&registry, "POST /v1.0/services"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_on_failure_exits_100_after_its_attempts() {
    let registry = scripted_registry(|_, _| Some(fault(500, "internalError"))).await;
    let mut wrapped = started(wrapper(&registry.url).args(["--abort-on-failure", "--retries=2"]));
    assert_eq!(wrapped.end().code(), Some(100));
    let said = wrapped.said_to_the_end();
    assert!(said.contains("web0 could not be registered in 2 attempt(s)") && said.contains("500"), "{said}");
    assert!(!said.contains("ready"), "the child must not run: {said}");
    assert_eq!(count(&registry, "POST /v1.0/sessions"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_on_failure_counts_a_lost_session_as_one_attempt() {
    // Registering meets a session that is gone already; the id is taken, and the first heartbeat says that the session
    // is gone.
    for lost_at in ["POST /v1.0/services", "POST /v1.0/sessions/seAAAAAAAA/heartbeat"] {
        let registry = scripted_registry(move |request, before| match request {
            _ if request == lost_at && before < 2 => Some(fault(404, "notFoundError")),
            "POST /v1.0/services" if before < 2 => Some(fault(400, "serviceWithThisIdExists")),
            _ => None,
        })
        .await;
        let mut wrapped = started(wrapper(&registry.url).args(["--abort-on-failure", "--retries=1000"]));
        wrapped.ready();
        assert!(count(&registry, "POST /v1.0/sessions") > 1, "{lost_at}: {:?}", registry.lines());
    }
    let registry =
        scripted_registry(|request, _| (request == "POST /v1.0/services").then(|| fault(404, "notFoundError"))).await;
    let mut wrapped = started(wrapper(&registry.url).args(["--abort-on-failure", "--retries=3"]));
    assert_eq!(wrapped.end().code(), Some(100), "the attempts are counted as ever");
    assert_eq!(count(&registry, "POST /v1.0/sessions"), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_on_failure_ends_without_a_session() {
    let registry = scripted_registry(|_, _| Some(fault(404, "notFoundError"))).await;
    let mut wrapped = started(wrapper(&registry.url).args(["--abort-on-failure", "--retries=1000"]));
    assert_eq!(wrapped.end().code(), Some(100), "the URL is wrong, and stays so");
    assert_eq!(count(&registry, "POST /v1.0/sessions"), 1);
}

/// As if it had ended the child: that is what `--reraise` and `--exit-map` are told for.
#[tokio::test(flavor = "multi_thread")]
async fn signal_before_the_start_is_the_exit_status() {
    for (options, code, signal) in [
        (&["-v"][..], Some(143), None),
        (&["--reraise"], None, Some(15)),
        (&["--exit-map=143=0"], Some(0), None),
        (&["--reraise", "--exit-map=143=0"], Some(0), None),
    ] {
        let registry = Misbehaving::start(|_| Reply::Silence).await;
        let mut wrapped = started_at_leisure(wrapper(&registry.url).args(options));
        registry.requests(1).await;
        wrapped.signal(Signal::SIGTERM);
        let status = wrapped.end();
        assert_eq!((status.code(), status.signal()), (code, signal), "{options:?}");
        assert!(!wrapped.said_to_the_end().contains("ready"), "the child must not run");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_without_a_heartbeat_is_a_failed_attempt() {
    for step in ["POST /v1.0/services", "POST /v1.0/sessions/seAAAAAAAA/heartbeat"] {
        let registry =
            scripted_registry(move |request, _| (request == step).then(|| fault(404, "notFoundError"))).await;
        let mut wrapped = started(&mut wrapper(&registry.url));
        wrapped.ready(); // the child starts after the first attempt
        let sessions = || count(&registry, "POST /v1.0/sessions");
        eventually("further attempts", || (sessions() > 3).then_some(()));
    }
    let registry =
        scripted_registry(|request, _| (request == "POST /v1.0/services").then(|| fault(404, "notFoundError"))).await;
    let mut wrapped = started(wrapper(&registry.url).args(["--abort-on-failure", "--retries=2"]));
    assert_eq!(wrapped.end().code(), Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn abort_on_failure_does_not_retry_final_errors() {
    let registry = scripted_registry(|_, _| Some(fault(401, "unauthorizedError"))).await;
    let mut command = wrapper(&registry.url);
    command.args(["--abort-on-failure", "--username=joe"]).env("SERVICE_REGISTRY_API_KEY", "s3cret");
    let mut wrapped = started(&mut command);
    assert_eq!(wrapped.end().code(), Some(100));
    assert_eq!(registry.lines(), ["POST /v2.0/tokens"]);
    let said = wrapped.said_to_the_end();
    assert!(said.contains("check user name and API key") && !said.contains("s3cret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registration_is_withdrawn_if_the_child_does_not_start() {
    let taken = |request: &str| request == "POST /v1.0/services";
    let registry =
        scripted_registry(move |request, _| taken(request).then(|| fault(400, "serviceWithThisIdExists"))).await;
    let mut wrapped = started(wrapper(&registry.url).args(["--abort-on-failure", "--retries=1"]));
    assert_eq!(wrapped.end().code(), Some(100));
    assert_eq!(count(&registry, "DELETE /v1.0/sessions/seAAAAAAAA?reason=not+started"), 1);
}

#[test]
fn child_that_lacks_the_registrys_thread_is_reported() {
    // The default address is the machine's, so this needs a network of its own.
    ["unshare", "ip", "prlimit"].into_iter().for_each(need);
    let end = |options: &str| {
        let script =
            format!("ip link set lo up && exec prlimit --nproc=2 \"$WRAPPER\" --id=web0 {options} sh -c 'exit 5'");
        let mut command = limited("unshare");
        command.args(["--map-root-user", "--net", "sh", "-c", &script]);
        let mut wrapped = Running::start(command.env("WRAPPER", env!("CARGO_BIN_EXE_service-registry-wrapper")));
        (wrapped.end().code(), wrapped.said_to_the_end())
    };
    let (status, said) = end("");
    assert!(said.contains("ulimit -u, or name a registry with --registry-url"), "{said}");
    assert_eq!(status, Some(125), "{said}");
    let (status, said) = end("--registry-url=http://127.0.0.1:1");
    assert_eq!(status, Some(5), "{said}");
}

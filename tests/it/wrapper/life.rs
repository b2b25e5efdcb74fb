//! The main job: a process is registered, runs, gets heartbeats, and leaves the registry after its exit.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::steps::{Step, pass_on, step};
use crate::bench::wrapper::{INITS, events, service};
use crate::bench::{Misbehaving, Seen};
use crate::bench::{
    Registry, Running, child, clean, eventually, executable, free_address, get, kill_raw, need, request, wrapper,
};

#[test]
fn original_example_works_as_written() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let program = scratch.path().join("api");
    executable(&program, &fs::read_to_string(child("inherited.sh")).unwrap());
    let mut wrapped = Running::start(
        wrapper(&registry.url)
            .args(["--id=my-host1-api0", "--tags=api,www", "--metadata=port=8000,host=localhost,is_public=true"])
            .args(["--interval=20", "--on-exit=expire"])
            .arg(&program)
            .args(["--port=8000", "--host=localhost"]),
    );
    assert!(wrapped.line("arguments").ends_with("arguments --port=8000 --host=localhost"));
    assert_eq!(wrapped.end().code(), Some(0));
    let service = service(&registry, "my-host1-api0").expect("it stays until its timeout");
    assert_eq!(service["tags"], json!(["api", "www"]));
    assert_eq!(service["metadata"], json!({"port": "8000", "host": "localhost", "is_public": "true"}));
    let (_, session) =
        get(&registry.url, &format!("/v1.0/sessions/{}", service["session_id"].as_str().unwrap())).unwrap();
    assert_eq!(session["heartbeat_timeout"], 20);
}

#[test]
fn program_is_registered_before_it_starts_and_heartbeated() {
    let registry = Registry::start();
    let mut wrapped = Running::start(
        wrapper(&registry.url)
            .args(["--id=web0", "--interval=3", "--session-metadata=rack=r7", "--on-exit=expire", "python3"])
            .arg(child("signals.py")),
    );
    let child: i32 = wrapped.ready();
    let registered = service(&registry, "web0").expect("registered before the first line of the child");
    let session = format!("/v1.0/sessions/{}", registered["session_id"].as_str().unwrap());
    assert_eq!(get(&registry.url, &session).unwrap().1["metadata"]["rack"], "r7");
    // Two different times of a heartbeat, the later one more than a timeout after the start: without heartbeats it
    // would have expired.
    let first = eventually("the first heartbeat", || get(&registry.url, &session).unwrap().1["last_seen"].as_u64());
    eventually("a heartbeat a whole timeout later", || {
        let seen = get(&registry.url, &session).unwrap().1["last_seen"].as_u64().expect("the session lives");
        (seen > first + 3000).then_some(())
    });
    assert!(events(&registry, "services.timeout").is_empty());
    kill_raw(child, 9);
    assert_eq!(wrapped.end().code(), Some(137));
    eventually("the service to be gone", || service(&registry, "web0").is_none().then_some(()));
    assert_eq!(events(&registry, "services.timeout")[0]["payload"][0]["id"], "web0");
}

#[test]
fn killed_wrapper_expires_within_its_timeout_plus_a_second() {
    let registry = Registry::start();
    let mut wrapped =
        Running::start(wrapper(&registry.url).args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")));
    wrapped.all(&["registered web0", "ready "]);
    wrapped.signal(Signal::SIGKILL);
    assert_eq!(wrapped.end().code(), None);
    let last_possible_beat = now_ms();
    let event = eventually("the timeout", || events(&registry, "services.timeout").pop());
    assert_eq!(event["payload"][0]["id"], "web0");
    let happened = event["timestamp"].as_u64().unwrap();
    assert!(happened <= last_possible_beat + 4000, "{happened} is later than {last_possible_beat} + 4 s");
}

#[test]
fn command_that_cannot_run_is_not_registered() {
    let scratch = tempfile::tempdir().unwrap();
    let registry = Registry::start();
    let plain = scratch.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let plain = plain.to_str().unwrap();
    for (command, status, word) in [
        ("/no/such/program", 127, "no such file"),
        ("no-such-program", 127, "not found in PATH"),
        (plain, 126, "not executable"),
        ("/", 126, "is a directory"),
    ] {
        let mut wrapped = Running::start(wrapper(&registry.url).args(["--id=web0", command]));
        assert_eq!(wrapped.end().code(), Some(status), "{command}");
        assert!(wrapped.said_to_the_end().contains(word), "{command}: {}", wrapped.said());
    }
    // Found and executable, but only exec can tell that it does not run: then it is taken back.
    let program = scratch.path().join("program");
    let cases =
        [("#!/no/such/interpreter\n", "interpreter"), ("\\177ELF\\001\\000\n", "no program for this processor")];
    for (attempt, (text, word)) in cases.into_iter().enumerate() {
        // As `executable` makes it, but no argument of a program has a zero byte.
        let make = "printf \"$2\" >\"$1\" && chmod +x \"$1\"";
        assert!(clean("sh").args(["-c", make, "sh"]).arg(&program).arg(text).status().unwrap().success());
        let mut wrapped = Running::start(wrapper(&registry.url).arg("--id=web0").arg(&program));
        assert_eq!(wrapped.end().code(), Some(126));
        let said = wrapped.said_to_the_end();
        assert!(said.contains(word), "{said}");
        assert!(service(&registry, "web0").is_none());
        assert_eq!(get(&registry.url, "/v1.0/sessions").unwrap().1["metadata"]["count"], 0);
        for kind in ["service.join", "service.remove"] {
            assert_eq!(events(&registry, kind).len(), attempt + 1, "{kind}");
        }
    }
}

#[test]
fn script_without_an_interpreter_line_runs_as_under_other_parents() {
    let scratch = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", scratch.path().display(), std::env::var("PATH").unwrap());
    executable(&scratch.path().join("script"), "echo \"$0\" \"$@\"; exit 7\n");
    executable(&scratch.path().join("empty"), "");
    let absolute = scratch.path().join("script").to_str().unwrap().to_owned();
    for command in [&["script", "a b", "-c"][..], &[&absolute, "a b"], &["empty"]] {
        let mut wrapped = wrapper("http://127.0.0.1:1");
        let wrapped = wrapped.args(["-qq", "--id=web0"]).args(command).env("PATH", &path).output().unwrap();
        let others = [("env", &[][..]), ("nice", &[]), ("timeout", &["60"])];
        for (parent, options) in others.into_iter().chain(INITS) {
            need(parent);
            let theirs = clean(parent).args(options).args(command).env("PATH", &path).output().unwrap();
            assert_eq!(wrapped.stdout, theirs.stdout, "{parent} {command:?}");
            assert_eq!(wrapped.status.code(), theirs.status.code(), "{parent} {command:?}");
        }
    }
}

#[test]
fn two_wrappers_with_one_id_take_turns() {
    let registry = Registry::start();
    let start = || {
        let mut command = wrapper(&registry.url);
        Running::start(command.args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")))
    };
    let mut first = start();
    first.all(&["registered web0", "ready "]);
    let holder = service(&registry, "web0").unwrap()["session_id"].clone();
    let mut second = start();
    second.all(&["is held by session", "ready "]); // it runs all the same
    assert_eq!(service(&registry, "web0").unwrap()["session_id"], holder);
    first.signal(Signal::SIGKILL);
    second.line("registered web0");
    assert_ne!(service(&registry, "web0").unwrap()["session_id"], holder);
}

#[test]
fn another_wrapper_takes_the_embedded_registry_over() {
    // The default address is the machine's, so this needs a network of its own.
    ["unshare", "ip", "curl"].into_iter().for_each(need);
    let scratch = tempfile::tempdir().unwrap();
    let script = scratch.path().join("network.sh");
    fs::write(
        &script,
        "ip link set lo up || exit 1\n\
         \"$WRAPPER\" --id=one --interval=3 sleep 1000 & one=$!\n\
         until ask services/one; do :; done\n\
         \"$WRAPPER\" --id=two --interval=3 sleep 1000 & two=$!\n\
         until ask services/two; do :; done\n\
         echo both are there\n\
         kill $one\n\
         wait $one\n\
         until ask services/two; do :; done\n\
         echo two is back\n\
         kill $two\n",
    )
    .unwrap();
    let ask = scratch.path().join("ask");
    fs::write(&ask, "#!/bin/sh\nexec curl -fs -m 5 -o /dev/null http://127.0.0.1:7117/v1.0/$1\n").unwrap();
    std::process::Command::new("chmod").arg("+x").arg(&ask).status().unwrap();
    let path = format!("{}:{}", scratch.path().display(), std::env::var("PATH").unwrap());
    let mut network = Running::start(
        clean("unshare")
            .args(["--map-root-user", "--net", "sh"])
            .arg(&script)
            .env("PATH", path)
            .env("WRAPPER", env!("CARGO_BIN_EXE_service-registry-wrapper")),
    );
    network.line("hosting a registry at http://127.0.0.1:7117");
    network.line("both are there");
    network.line("hosting a registry at http://127.0.0.1:7117");
    network.line("two is back");
    assert_eq!(network.end().code(), Some(0));
}

#[test]
fn given_url_is_never_replaced_by_an_embedded_registry() {
    let mut wrapped = Running::start(wrapper("http://127.0.0.1:1").args(["--id=web0", "true"]));
    assert_eq!(wrapped.end().code(), Some(0));
    let said = wrapped.said_to_the_end();
    assert!(said.contains("http://127.0.0.1:1") && !said.contains("hosting"), "{said}");
}

#[test]
fn registry_started_later_is_found() {
    let address = free_address();
    let mut wrapped = Running::start(
        wrapper(&format!("http://{address}")).args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")),
    );
    wrapped.all(&["web0 is not registered, will try again", "ready "]);
    let registry = Registry::start_at(&address, &[]);
    wrapped.line("registered web0");
    assert!(service(&registry, "web0").is_some());
}

#[test]
fn replaced_registry_gets_the_registration_again() {
    let address = free_address();
    let mut registry = Registry::start_at(&address, &[]);
    let mut wrapped =
        Running::start(wrapper(&registry.url).args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")));
    wrapped.all(&["registered web0", "ready "]);
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    wrapped.line("heartbeat failed");
    let registry = Registry::start_at(&address, &[]);
    wrapped.line("registered web0");
    assert!(service(&registry, "web0").is_some());
    assert!(!wrapped.has_ended());
}

#[test]
fn lost_session_is_registered_again() {
    let registry = Registry::start();
    let mut wrapped =
        Running::start(wrapper(&registry.url).args(["--id=web0", "--interval=3", "python3"]).arg(child("signals.py")));
    wrapped.all(&["registered web0", "ready "]);
    let session = service(&registry, "web0").unwrap()["session_id"].as_str().unwrap().to_owned();
    request(&registry.url, "DELETE", &format!("/v1.0/sessions/{session}"), "").unwrap();
    wrapped.line("registering again");
    wrapped.line("registered web0");
    assert!(service(&registry, "web0").is_some());
    assert!(!wrapped.has_ended());
}

#[tokio::test(flavor = "multi_thread")]
async fn first_heartbeat_comes_a_second_after_the_session() {
    let registry = Registry::start();
    let url = registry.url.clone();
    let watched = Misbehaving::start(move |seen| pass_on(&url, seen)).await;
    let before = Instant::now();
    let _wrapped = Running::start(wrapper(&watched.url).args(["--id=web0", "--interval=3", "sleep", "1000"]));
    let is_beat = |seen: &Seen| step(seen) == Some(Step::Heartbeat);
    let beat = eventually("a heartbeat", || watched.seen().into_iter().find(is_beat));
    assert!(beat.at - before >= Duration::from_secs(1), "{:?}", beat.at - before);
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

//! `service-registry serve`, the program.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::authority::Authority;
use crate::bench::registry::{connect, read_answer};
use crate::bench::users::{hash_of, key_login};
use crate::bench::wrapper::limited;
use crate::bench::{Client, USERS};
use crate::bench::{Registry, Running, child, clean, eventually, need, options_of_help, options_of_page};

fn client(registry: &Registry) -> Client {
    let address: SocketAddr = registry.url.strip_prefix("http://").unwrap().parse().unwrap();
    Client::new(address)
}

fn users_file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// Runs `serve` with options that it cannot serve with; returns its exit code and what it said.
fn refused(options: &[&str]) -> (i32, String) {
    let mut process =
        Running::start(clean(env!("CARGO_BIN_EXE_service-registry")).args(["serve", "--in-memory"]).args(options));
    let code = process.end().code().unwrap();
    (code, process.said_to_the_end())
}

#[test]
fn serve_prints_its_address_and_stops_on_signals() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut registry = Registry::start();
        assert_eq!(client(&registry).get("/services").status, 200);
        registry.process.signal(signal);
        assert_eq!(registry.process.end().code(), Some(0), "{signal}");
    }
}

/// The registry learns of them and of the signal at the same time.
#[test]
fn connections_made_before_the_stop_are_served() {
    let mut registry = Registry::start();
    let address: SocketAddr = registry.url.split("://").nth(1).unwrap().parse().unwrap();
    assert_eq!(client(&registry).get("/services").status, 200);
    registry.process.signal(Signal::SIGSTOP);
    let mut connections: Vec<_> = (0..20).map(|_| connect(address)).collect();
    for connection in &mut connections {
        connection.get_mut().write_all(b"GET /v1.0/services HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    registry.process.signal(Signal::SIGTERM);
    registry.process.signal(Signal::SIGCONT);
    assert!(connections.iter_mut().all(|connection| read_answer(connection, false).status == 200));
    assert_eq!(registry.process.end().code(), Some(0));
}

/// Who has asked nothing yet, or half of something, is not waited for.
#[test]
fn open_connections_do_not_delay_the_exit() {
    let authority = Authority::new();
    let head = &b"GET /v1.0/services HTTP/1.1\r\n"[..];
    let hello = &b"\x16"[..];
    for (mut registry, begun) in [(Registry::start(), head), (authority.serve(&[]), hello)] {
        let address: SocketAddr = registry.url.split("://").nth(1).unwrap().parse().unwrap();
        let _silent = connect(address);
        let mut half = connect(address);
        half.get_mut().write_all(begun).unwrap();
        let mut last = connect(address); // all connections before it are accepted when it is answered
        last.get_mut().write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let _ = last.read_to_end(&mut Vec::new());
        registry.process.signal(Signal::SIGTERM);
        assert_eq!(registry.process.end().code(), Some(0));
        let said = registry.process.said_to_the_end();
        assert!(!said.contains("still busy"), "{said}");
    }
}

#[test]
fn system_without_threads_is_reported() {
    let program = env!("CARGO_BIN_EXE_service-registry");
    let serve = ["serve", "--in-memory", "--listen=127.0.0.1:0"];
    need("prlimit");
    let mut filtered = clean("python3");
    filtered.arg(child("no_threads.py")).arg(program);
    let mut none = limited("prlimit");
    none.args(["--nproc=1", program]);
    let mut few = limited("prlimit");
    few.args(["--nproc=4", program]);
    for mut command in [filtered, none, few] {
        let mut process = Running::start(command.args(serve));
        assert_eq!(process.end().code(), Some(1), "{command:?}");
        let said = process.said_to_the_end();
        assert!(said.contains("threads that the registry needs") && said.lines().count() == 1, "{command:?}: {said}");
    }
}

#[test]
fn options_precede_the_environment() {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command
        .args(["serve", "--in-memory"])
        .env("SERVICE_REGISTRY_LISTEN", "127.0.0.1:0")
        .env("SERVICE_REGISTRY_LOG_FORMAT", "json");
    let mut process = Running::start(&mut command);
    assert!(!process.line("listening on http://127.0.0.1:").ends_with(":7117"));
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0"]).env("SERVICE_REGISTRY_LISTEN", "nowhere");
    Running::start(&mut command).line("listening on http://127.0.0.1:");
}

#[test]
fn serve_errors_are_one_line_with_a_cure() {
    let registry = Registry::start();
    let taken = registry.url.strip_prefix("http://").unwrap();
    let (code, said) = refused(&["--listen", taken]);
    assert_eq!(code, 1);
    assert!(said.contains(&format!("--listen {taken}: cannot listen")) && said.contains("choose another"), "{said}");

    for beyond in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let (code, said) = refused(&["--listen", beyond]);
        assert_eq!(code, 2);
        assert!(said.contains(&format!("--listen {beyond}")) && said.contains("--users FILE"), "{said}");
    }
    let (code, said) = refused(&["--listen", "nowhere"]);
    assert_eq!((code, said.contains("--listen nowhere") && said.contains("ADDRESS:PORT")), (2, true), "{said}");

    let (code, said) = refused(&["--users", "/no/such/file"]);
    assert_eq!((code, said.contains("--users: users file: /no/such/file: ")), (1, true), "{said}");
    let file = users_file("[[user]]\nname = \"joe\"\n");
    let (code, said) = refused(&["--users", file.path().to_str().unwrap()]);
    assert_eq!((code, said.lines().count()), (1, 1), "{said}");
    assert!(said.contains("missing field `tenant`"), "{said}");
    let file = users_file("# no user yet\n");
    let (code, said) = refused(&["--users", file.path().to_str().unwrap()]);
    assert_eq!((code, said.contains("no [[user]]") && said.contains("hash-key")), (1, true), "{said}");
    assert_eq!(refused(&["--no-such-option"]).0, 2);
}

#[test]
fn registry_with_users_may_listen_anywhere() {
    let file = users_file(USERS);
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["serve", "--in-memory", "--listen", "0.0.0.0:0", "--users"]).arg(file.path());
    let line = Running::start(&mut command).line("listening on http://0.0.0.0:");
    assert_eq!(line.matches("listening").count(), 1);
}

#[test]
fn log_shows_requests_and_no_secrets() {
    let file = users_file(USERS);
    let mut registry = Registry::start_with(&["-v", "--log-format", "json", "--users", file.path().to_str().unwrap()]);
    let mut client = client(&registry).logged_in("joe", "joes-key");
    let token = client.headers.last().unwrap().1.clone();
    let (id, beat) = client.create("/services", json!({"id": "node-1", "heartbeat_timeout": 30}));
    let answer = client.post(&format!("/services/{id}/heartbeat?x-auth-token={token}"), json!({ "token": beat }));
    let response = answer.header("x-response-id").unwrap();
    let line = registry.process.line(response);
    let logged: Value = serde_json::from_str(&line).unwrap();
    let told = |key: &str| logged[key].clone();
    assert_eq!((told("method"), told("path")), (json!("POST"), json!("/v1.0/7777/services/node-1/heartbeat")));
    assert_eq!((told("status"), told("tenant"), told("level")), (json!(200), json!(7777), json!("DEBUG")));
    assert!(told("ms").is_f64(), "{line}");
    let said = registry.process.said();
    let next = answer.json()["token"].as_str().unwrap().to_owned();
    for secret in ["joes-key", &token, &beat, &next] {
        assert!(!said.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn help_and_manual_list_the_same_options() {
    let help = |command: &[&str]| {
        let mut process = Running::start(clean(env!("CARGO_BIN_EXE_service-registry")).args(command).arg("--help"));
        process.end();
        process.said_to_the_end()
    };
    let all = [&[][..], &["serve"], &["backup"], &["restore"], &["status"], &["maintenance"], &["update"]]
        .map(help)
        .join("\n");
    // A build with the feature `etcd` has more options, which have a page of their own.
    let more = options_of_page("service-registry-cluster.1");
    assert_eq!(&options_of_help(&all) - &more, options_of_page("service-registry.1"));
}

#[test]
fn quiet_logs_errors_only() {
    let mut registry = Registry::start_with(&["-q"]);
    assert_eq!(client(&registry).get("/services").status, 200);
    registry.process.signal(Signal::SIGTERM);
    registry.process.end();
    assert_eq!(registry.process.said_to_the_end(), format!("listening on {}", registry.url));
}

/// On the real clock: visible before the timeout, in the feed no later than a second after it.
#[test]
fn expired_session_is_in_the_feed_within_a_second() {
    let registry = Registry::start();
    let mut client = client(&registry);
    // A heartbeat with a token of nobody changes nothing and does not look for the dead: this watches the background.
    let nobody = json!({"token": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"});
    let mut dies_in_time = || {
        let start = Instant::now();
        let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 3}));
        eventually("the end of the session", || {
            let (_, _, missing) = client.post(&path(&session), nobody.clone()).fault();
            missing.contains("Session").then_some(())
        });
        let lasted = start.elapsed();
        assert!(lasted >= Duration::from_millis(3_000), "gone after {lasted:?}");
        let events = client.get("/events").json();
        let event = events["values"].as_array().unwrap().last().unwrap();
        assert_eq!(event["type"], "services.timeout");
        lasted < Duration::from_millis(4_000) && event["id"] == json!(token)
    };
    // A registry that is starved of CPU gives its holders that time, and a moved deadline has an id of its own.
    assert!((0..3).any(|_| dies_in_time()), "gone too late, three times");
}

fn path(session: &str) -> String {
    format!("/sessions/{session}/heartbeat")
}

/// Stopped for longer than the timeout: clients may have sent heartbeats during the pause, and get more time. With
/// and without a data directory.
#[test]
fn continued_server_expires_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--data-dir", folder.path().to_str().unwrap()];
    let registries = [Registry::start(), Registry::start_with(&options)];
    let mut holders = registries.each_ref().map(|registry| {
        let mut client = client(registry);
        let (sending, first) = client.create("/sessions", json!({"heartbeat_timeout": 6}));
        let (late, token) = client.create("/sessions", json!({"heartbeat_timeout": 6}));
        client.create("/services", json!({"id": "web-1", "session_id": late}));
        registry.process.signal(Signal::SIGSTOP);
        // Sent, but not read before it goes on.
        let address = registry.url.strip_prefix("http://").unwrap();
        let mut connection = connect(address.parse().unwrap());
        let body = json!({ "token": first }).to_string();
        let head = format!("POST /v1.0/1{} HTTP/1.1\r\nHost: {address}\r\n", path(&sending));
        write!(connection.get_mut(), "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        (client, connection, late, token)
    });
    std::thread::sleep(Duration::from_millis(7_500)); // the pause itself is what is tested
    registries.iter().for_each(|registry| registry.process.signal(Signal::SIGCONT));
    for (client, connection, late, token) in &mut holders {
        assert_eq!(client.get("/sessions").json()["metadata"]["count"], 2);
        assert_eq!(read_answer(connection, false).status, 200);
        assert_eq!(client.post(&path(late), json!({ "token": token })).status, 200);
        assert_eq!(client.get("/services").json()["metadata"]["count"], 1);
        assert_eq!(client.get("/events?type=services.timeout").json()["values"], json!([]));
    }
}

/// The sentence of the registry's refusal, which its client repeats without a cure of its own.
#[test]
fn foreign_host_is_told_the_option_that_allows_it() {
    let registry = Registry::start();
    let answer = client(&registry).send("GET", "@/v1.0/services", &[("Host", "web.internal:80")], "");
    let (status, kind, details) = answer.fault();
    assert_eq!((status, &*kind), (403, "forbiddenError"));
    assert!(details.contains("Host web.internal ") && details.contains("--host-name=web.internal"), "{details}");
}

#[test]
fn person_at_a_terminal_gets_a_line_feed() {
    let registry = Registry::start();
    for (agent, end) in [("curl/7.88.1", "}\n"), ("node-fetch", "}")] {
        let answer = client(&registry).send("GET", "@/v1.0/services", &[("User-Agent", agent)], "");
        assert!(answer.body.ends_with(end), "{agent}: {answer:?}");
    }
}

#[test]
fn failure_to_listen_names_its_origin_and_cure() {
    let unavailable = refused(&["--listen=192.0.2.1:7117", "--open"]);
    assert!(
        unavailable.0 == 1 && unavailable.1.contains("--listen 192.0.2.1:7117") && unavailable.1.contains("ip address")
    );
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    let mut process = Running::start(command.args(["serve", "--in-memory"]).env("SERVICE_REGISTRY_LISTEN", "nonsense"));
    assert_eq!(process.end().code(), Some(2));
    let said = process.said_to_the_end();
    assert!(said.contains("SERVICE_REGISTRY_LISTEN nonsense: ") && !said.contains("--listen nonsense"), "{said}");
}

#[test]
fn secrets_that_every_user_may_read_are_refused() {
    let readable = |file: &std::path::Path| {
        std::fs::set_permissions(file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    };
    let plain = users_file(USERS);
    readable(plain.path());
    let (code, said) = refused(&["--listen=127.0.0.1:0", "--users", plain.path().to_str().unwrap()]);
    assert!(code == 1 && said.contains("plain keys") && said.contains("chmod o-r"), "{said}");
    let hashed = users_file(&format!("[[user]]\nname='ann'\ntenant=1\napi_key_hash='{}'\n", hash_of("key")));
    readable(hashed.path());
    let _registry = Registry::start_with(&["--users", hashed.path().to_str().unwrap()]);
    let authority = Authority::new();
    let (certificate, key) = (authority.path("server"), authority.path("server.key"));
    readable(key.as_ref());
    let (code, said) = refused(&["--listen=127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key]);
    assert!(code == 1 && said.contains("--tls-key") && said.contains("chmod o-r"), "{said}");
}

#[test]
fn log_names_client_and_user_and_failed_logins() {
    let file = users_file(USERS);
    let options = ["--users", file.path().to_str().unwrap(), "--trusted-proxy=127.0.0.1"];
    let mut registry = Registry::start_with(&options);
    let mut joe = client(&registry).logged_in("joe", "joes-key");
    assert_eq!(joe.send("GET", "/services", &[("X-Forwarded-For", "192.0.2.7")], "").status, 200);
    let line = registry.process.line("path=\"/v1.0/7777/services\"");
    assert!(
        line.contains("client=192.0.2.7") && line.contains("user=\"joe\"") && line.contains("tenant=7777"),
        "{line}"
    );
    assert_eq!(key_login(&mut client(&registry), "eve", "guess"), 401);
    let line = registry.process.line("failed login");
    assert!(line.contains("client=127.0.0.1") && line.contains("user=\"eve\""), "{line}");
}

/// The messages of sd_notify(3), to a socket in the place of systemd's.
#[test]
fn service_manager_is_notified() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["serve", "--listen=127.0.0.1:0"]).env("NOTIFY_SOCKET", &path);
    command.env("STATE_DIRECTORY", folder.path().join("state")).env("WATCHDOG_USEC", "200000");
    let mut process = Running::start(&mut command);
    let next = |part: &str| loop {
        let mut text = [0; 4096];
        let length = manager.recv(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text[..length]).into_owned();
        if text.contains(part) {
            return text;
        }
    };
    assert!(next("READY=1").contains("STATUS=listening on 127.0.0.1:"));
    next("WATCHDOG=1");
    process.signal(Signal::SIGHUP);
    assert!(next("RELOADING=1").contains("MONOTONIC_USEC="));
    next("READY=1");
    process.signal(Signal::SIGTERM);
    next("STOPPING=1");
    assert_eq!(process.end().code(), Some(0));
    assert!(folder.path().join("state/store").exists(), "the unit's state directory is the default");
}

#[test]
fn users_without_tls_beyond_loopback_are_warned_about() {
    let file = users_file(USERS);
    let users = ["--users", file.path().to_str().unwrap()];
    let said = Registry::start_at("0.0.0.0:0", &users).process.said();
    assert!(said.contains("--listen: keys and tokens cross the network as they are"), "{said}");
    let said = Registry::start_with(&users).process.said();
    assert!(!said.contains("cross the network"), "{said}");
}

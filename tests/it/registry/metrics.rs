//! `/health` and `/metrics`: what they say, and to whom.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use service_registry::registry::{Config, Users};

use crate::bench::scrape::{Fetched, fetch, has_prometheus, metrics_address, promtool, value};
use crate::bench::users::{address, key_login, with_users};
use crate::bench::{Client, Registry, Running, Server, USERS, clean, durable, eventually};

fn page(address: SocketAddr) -> String {
    let Fetched { status, body, .. } = fetch(address, "/metrics", &[]);
    assert_eq!(status, 200, "{body}");
    body
}

#[test]
fn health_is_503_while_no_write_is_possible() {
    let folder = tempfile::tempdir().unwrap();
    let [data, elsewhere] = ["data", "elsewhere"].map(|name| folder.path().join(name));
    let registry = durable::start("127.0.0.1:0", &data);
    let (at, mut client) = (address(&registry), durable::client(&registry));
    let mut number = 0;
    let mut set = |client: &mut Client| {
        number += 1; // the same value again would change nothing
        client.put("/configuration/key", json!({"value": number.to_string()})).status
    };
    let health = || fetch(at, "/health", &[]);
    assert_eq!((set(&mut client), health().status), (204, 200));
    assert!(health().body.contains("\"status\": \"ok\""));
    fs::rename(&data, &elsewhere).unwrap();
    assert_eq!(set(&mut client), 503);
    let failing = health();
    assert_eq!(failing.status, 503, "{}", failing.body);
    assert!(failing.body.contains("\"reason\": \"the store refuses changes"), "{}", failing.body);
    assert_eq!(value(&page(at), "service_registry_writable"), 0.0);
    assert!(value(&page(at), "service_registry_store_commit_failures_total") >= 1.0);
    // No other request comes: the check itself finds out that the disk is back.
    fs::rename(&elsewhere, &data).unwrap();
    eventually("a registry that is well", || (health().status == 200).then_some(()));
    assert_eq!((set(&mut client), value(&page(at), "service_registry_writable")), (204, 1.0));
}

#[test]
fn health_needs_no_token_and_no_host() {
    let users = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    let open = Server::open();
    for server in [&users, &open] {
        assert_eq!(fetch(server.address, "/health", &[("Host", "balancer.example")]).status, 200);
        assert_eq!(server.client().send("POST", "@/health", &[], "").status, 404);
        assert_eq!(server.client().send("HEAD", "@/health", &[], "").status, 200);
    }
}

#[test]
fn metrics_count_what_happens() {
    let folder = tempfile::tempdir().unwrap();
    let registry = durable::start("127.0.0.1:0", folder.path());
    let (at, mut client) = (address(&registry), durable::client(&registry));
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 120}));
    client.create("/services", json!({"id": "one", "session_id": session}));
    client.create("/services", json!({"id": "two", "heartbeat_timeout": 3}));
    assert_eq!(client.put("/configuration/key", json!({"value": "x"})).status, 204);
    let beat = format!("/sessions/{session}/heartbeat");
    assert_eq!(client.post(&beat, json!({ "token": token })).status, 200);
    assert_eq!(client.post(&beat, json!({"token": "6ba7b810-9dad-11d1-80b4-00c04fd430c8"})).status, 404);
    assert_eq!(client.get("/nothing").status, 404);
    assert_eq!(key_login(&mut client, "anyone", "any-key"), 200);
    let text = page(at);
    for (series, expected) in [
        ("accounts", 1.0),
        ("sessions", 1.0),
        ("services", 2.0),
        ("configuration_values", 1.0),
        ("recent_events", 4.0),
        ("heartbeats_total", 1.0),
        ("heartbeats_refused_total", 1.0),
        ("connections", 2.0),
        ("events_total{type=\"service.join\"}", 2.0),
        ("events_total{type=\"session.create\"}", 1.0),
        ("request_duration_seconds_count{kind=\"session_heartbeat\",status=\"200\"}", 1.0),
        ("request_duration_seconds_count{kind=\"session_heartbeat\",status=\"404\"}", 1.0),
        ("request_duration_seconds_count{kind=\"service_create\",status=\"201\"}", 2.0),
        ("request_duration_seconds_count{kind=\"other\",status=\"404\"}", 1.0),
        ("writable", 1.0),
        ("store_commit_failures_total", 0.0),
    ] {
        assert_eq!(value(&text, &format!("service_registry_{series}")), expected, "{series} in\n{text}");
    }
    assert!(value(&text, "service_registry_store_commit_duration_seconds_count") >= 4.0);
    assert!(value(&text, "service_registry_store_commit_bytes_total") > 300.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    let expired = "service_registry_expiry_lateness_seconds_count{of=\"service\"}";
    let text = eventually("an expiry", || Some(page(at)).filter(|text| text.contains(expired)));
    assert_eq!((value(&text, expired), value(&text, "service_registry_services")), (1.0, 1.0));
    let within_a_second = "service_registry_expiry_lateness_seconds_bucket{of=\"service\",le=\"1\"}";
    assert_eq!(value(&text, within_a_second), 1.0, "{text}");
    let documented = names(&read("docs/metrics.md"));
    let help = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    for name in help.map(|line| line.split(' ').next().unwrap()) {
        assert!(documented.contains(name), "docs/metrics.md does not have {name}");
    }
    for name in documented.iter().filter(|name| is_always_shown(name)) {
        assert!(text.contains(&format!("# TYPE {name} ")), "docs/metrics.md has {name}");
    }
    eventually("its event", || {
        page(at).contains("service_registry_events_total{type=\"service.timeout\"} 1").then_some(())
    });
}

/// Whether a registry that stands alone and is asked nothing by DNS shows it, in any build.
fn is_always_shown(name: &str) -> bool {
    let others = ["wrapper", "cluster", "dns"].map(|part| format!("service_registry_{part}_"));
    !others.iter().any(|other| name.starts_with(other))
}

#[test]
fn both_formats_are_valid() {
    let server = Server::open();
    let mut client = server.client();
    client.create("/sessions", json!({"heartbeat_timeout": 30}));
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    let open = fetch(server.address, "/metrics", &[("Accept", accept)]);
    assert!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", open.head);
    assert!(open.body.ends_with("# EOF\n"), "{}", open.body);
    let plain = fetch(server.address, "/metrics", &[]);
    assert!(plain.head.contains("content-type: text/plain; version=0.0.4"), "{}", plain.head);
    if has_prometheus("the check of the page by promtool") {
        assert_eq!(promtool(&["check", "metrics"], &plain.body), (Some(0), String::new()));
    }
}

/// The names in a text: whatever looks like one.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|char: char| !char.is_ascii_alphanumeric() && char != '_');
    let words = words.filter(|word| word.starts_with("service_registry_") || word.starts_with("process_"));
    words.map(str::to_owned).collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// A name that is not there would make a rule silent.
#[test]
fn rules_and_dashboard_have_documented_names() {
    let documented = names(&read("docs/metrics.md"));
    for path in
        ["contrib/prometheus/alerts.yml", "contrib/prometheus/dashboard.json", "contrib/prometheus/prometheus.yml"]
    {
        for name in names(&read(path)) {
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|part| name.strip_suffix(part)).unwrap_or(&name);
            assert!(documented.contains(&name) || documented.contains(base), "{path}: {name}");
        }
    }
    let dashboard: Value = serde_json::from_str(&read("contrib/prometheus/dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);
}

#[test]
fn rules_pass_promtool_and_their_own_tests() {
    if !has_prometheus("the check of contrib/prometheus by promtool") {
        return;
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("contrib/prometheus");
    for (what, file) in [(["check", "rules"], "alerts.yml"), (["test", "rules"], "alerts_test.yml")] {
        let (status, said) = promtool(&[what[0], what[1], folder.join(file).to_str().unwrap()], "");
        assert_eq!(status, Some(0), "{said}");
    }
}

/// They are about all accounts.
#[test]
fn metrics_are_for_this_machine_and_for_named_users() {
    let text = format!(
        "{USERS}\n[[user]]\nname = 'scraper'\ntenant = 9\napi_key = 'scrapes'\nrole = 'read'\nmetrics = true\n"
    );
    let (registry, _file) = with_users(&text);
    let at = address(&registry);
    let ask = |headers: &[(&str, &str)]| fetch(at, "/metrics", headers).status;
    assert_eq!(ask(&[]), 200, "this machine");
    // A proxy on this machine, and a page whose name was changed to lead here.
    let remote = ("X-Forwarded-For", "192.0.2.7");
    assert_eq!((ask(&[remote]), ask(&[("Host", "evil.example")])), (401, 401));
    assert_eq!(ask(&[("Origin", "http://evil.example")]), 401);
    let token = |name: &str, key: &str| {
        let client = Client::new(at).logged_in(name, key);
        client.headers.iter().find(|(name, _)| name == "X-Auth-Token").unwrap().1.clone()
    };
    let (joe, scraper) = (token("joe", "joes-key"), token("scraper", "scrapes"));
    assert_eq!(ask(&[remote, ("X-Auth-Token", &joe)]), 403, "joe may not see what other accounts do");
    assert_eq!(ask(&[remote, ("X-Auth-Token", &scraper)]), 200);
    assert_eq!(ask(&[remote, ("Authorization", &format!("Bearer {scraper}"))]), 200);
    assert_eq!(ask(&[remote, ("Authorization", "Bearer x")]), 401);
    assert_eq!(ask(&[remote, ("Authorization", "Basic c2NyYXBlcjpzY3JhcGVz")]), 200); // scraper:scrapes
    assert_eq!(ask(&[remote, ("Authorization", "Basic c2NyYXBlcjp4")]), 401);
    assert_eq!(ask(&[remote, ("Authorization", "Digest x")]), 400);
    assert_eq!(key_login(&mut Client::new(at), "joe", "wrong"), 401);
    let text = page(at);
    assert_eq!(value(&text, "service_registry_logins_total{result=\"refused\"}"), 2.0, "{text}");
    assert_eq!(value(&text, "service_registry_logins_total{result=\"accepted\"}"), 3.0, "{text}");
}

#[test]
fn listener_of_the_metrics_has_nothing_else() {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(["serve", "--in-memory", "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0"]);
    let mut process = Running::start(&mut command);
    let at = metrics_address(&mut process);
    let host = [("Host", "registry.example"), ("X-Forwarded-For", "192.0.2.7")];
    let of = |path: &str| fetch(at, path, &host).status;
    assert_eq!((of("/metrics"), of("/health"), of("/"), of("/v1.0/services")), (200, 200, 404, 404));
    let mut client = Client::new(at);
    assert_eq!(client.send("POST", "/sessions", &[], "{\"heartbeat_timeout\": 30}").status, 404);
    let taken = format!("--metrics-listen={at}");
    let mut second = Running::start(command.args(["--metrics-listen", "x"]));
    assert_eq!(second.end().code(), Some(2), "twice");
    let registry = clean(env!("CARGO_BIN_EXE_service-registry"))
        .args(["serve", "--in-memory", "--listen=127.0.0.1:0", &taken])
        .output()
        .unwrap();
    let said = String::from_utf8(registry.stderr).unwrap();
    assert!(
        !registry.status.success() && said.contains("--metrics-listen") && said.contains("cannot listen"),
        "{said}"
    );
}

/// The last connection that is one too many evicts an idle one.
#[test]
fn evictions_are_counted() {
    let registry = Registry::start_with(&["--max-connections=2", "--metrics-listen=127.0.0.1:0"]);
    let at = address(&registry);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::new(at)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/services").status, 200);
    }
    drop(clients);
    eventually("an eviction", || (value(&page(at), "service_registry_connections_evicted_total") >= 1.0).then_some(()));
}

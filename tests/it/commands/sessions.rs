//! `service-registry sessions`, `overview` and `limits`.

use serde_json::{Value, json};

use crate::bench::commands::{command, output, run};
use crate::bench::users::with_users;
use crate::bench::{Registry, USERS, request};

fn session(registry: &Registry, host: &str, services: &[&str]) -> String {
    let body = json!({"heartbeat_timeout": 60, "metadata": {"host": host, "pid": "12", "command": "web"}});
    assert_eq!(request(&registry.url, "POST", "/v1.0/sessions", &body.to_string()).unwrap().0, 201);
    let all: Value = serde_json::from_str(&output(registry, &["sessions", "-o", "json"])).unwrap();
    let new = all.as_array().unwrap().iter().find(|session| session["metadata"]["host"] == host).unwrap();
    let id = new["id"].as_str().unwrap().to_owned();
    for service in services {
        let body = json!({"id": service, "session_id": id, "tags": ["www"]}).to_string();
        assert_eq!(request(&registry.url, "POST", "/v1.0/services", &body).unwrap().0, 201);
    }
    id
}

#[test]
fn session_is_listed_with_its_process() {
    let registry = Registry::start();
    let (status, _, said) = run(&mut command(&registry.url, &["sessions"]));
    assert_eq!((status, said.as_str()), (1, "service-registry: no sessions found\n"));
    let id = session(&registry, "h1", &[]);
    assert_eq!(output(&registry, &["sessions"]), format!("{id}\th1\t12\tweb\t60\t-\n"));
    let wide = format!("{id}\th1\t12\tweb\t60\t-\tcommand=web,host=h1,pid=12\n");
    assert_eq!(output(&registry, &["sessions", &id, "-o", "wide"]), wide);
    assert_eq!(run(&mut command(&registry.url, &["sessions", "seAAAAAAAA"])).0, 1);
}

#[test]
fn overview_has_a_row_for_each_service() {
    let registry = Registry::start();
    assert_eq!(run(&mut command(&registry.url, &["overview"])).0, 1);
    let with = session(&registry, "h1", &["web-1", "web-2"]);
    let without = session(&registry, "h2", &[]);
    let mut rows: Vec<String> = output(&registry, &["overview"]).lines().map(str::to_owned).collect();
    rows.sort();
    let mut expected = [
        format!("{with}\th1\t12\tweb-1\twww"),
        format!("{with}\th1\t12\tweb-2\twww"),
        format!("{without}\th2\t12\t-\t-"),
    ];
    expected.sort();
    assert_eq!(rows, expected);
    let names = output(&registry, &["overview", "-o", "name"]);
    assert_eq!(names.lines().count(), 2, "{names}");
    let json: Value = serde_json::from_str(&output(&registry, &["overview", "-o", "json"])).unwrap();
    let entry = json.as_array().unwrap().iter().find(|entry| entry["session"]["id"] == *with).unwrap();
    assert_eq!(entry["services"].as_array().unwrap().len(), 2);
}

#[test]
fn limits_are_listed_with_their_use() {
    let (registry, _users) = with_users(USERS);
    let mut limits = command(&registry.url, &["limits", "--username=joe", "-q"]);
    let (status, stdout, _) = run(limits.env("SERVICE_REGISTRY_API_KEY", "joes-key"));
    assert_eq!(status, 0);
    assert!(stdout.contains("service\t200\t-\t-\n"), "{stdout}");
    assert!(stdout.lines().any(|line| line.starts_with("/.*\t500000\t") && line.ends_with("\t24.0 hours")), "{stdout}");
    let mut limits = command(&registry.url, &["limits", "--username=joe", "-o", "name"]);
    let names = run(limits.env("SERVICE_REGISTRY_API_KEY", "joes-key")).1;
    assert!(names.lines().any(|name| name == "service"), "{names}");
    let mut limits = command(&registry.url, &["limits", "--username=joe", "--template={{resource.session}}"]);
    assert_eq!(run(limits.env("SERVICE_REGISTRY_API_KEY", "joes-key")).1, "100\n");
}

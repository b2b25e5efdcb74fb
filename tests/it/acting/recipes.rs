//! The commands and scripts of docs/recipes.md, run as they stand there.

use nix::sys::signal::Signal;
use nix::unistd::gethostname;
use serde_json::{Value, json};

use crate::bench::kitchen::{Kitchen, answered_by, blocks};
use crate::bench::users::address;
use crate::bench::wrapper::service;
use crate::bench::{Client, Running, clean, eventually, free_address, get, need};

#[test]
fn every_recipe_is_run() {
    let page: Vec<String> = blocks();
    let source = include_str!("recipes.rs");
    for block in page.iter().filter(|block| !block.starts_with("#!/bin/sh\n")) {
        let calls = source.lines().filter(|line| line.contains("kitchen.run(") || line.contains("kitchen.command("));
        let mut beginnings = calls.filter_map(|line| line.split("(\"").nth(1)?.split('"').next());
        assert!(beginnings.any(|beginning| block.starts_with(&beginning.replace("\\n", "\n"))), "{block}");
    }
}

#[test]
fn services_are_listed_and_found() {
    let mut kitchen = Kitchen::new();
    kitchen.fleet.add("api-0", &["api"], json!({}));
    kitchen.fleet.add("db-0", &["db"], json!({"host": "192.0.2.7", "port": "5432"}));
    let mut list = kitchen.run("service-registry services --tag=api");
    assert_eq!(list.end().code(), Some(0));
    let said = list.said_to_the_end();
    assert!(said.contains("api-0") && !said.contains("db-0"), "{said}");
    let mut found = kitchen.run("service-registry services --tag=db");
    assert_eq!((found.end().code(), found.said_to_the_end().as_str()), (Some(0), "192.0.2.7:5432"));
}

#[test]
fn events_are_shown_and_followed() {
    let mut kitchen = Kitchen::new();
    kitchen.fleet.add("api-0", &["api"], json!({}));
    let mut events = kitchen.run("service-registry events --since=1h");
    events.line("api-0");
    assert_eq!(events.end().code(), Some(0));
    let mut followed = kitchen.run("service-registry events --follow");
    let mut client = Client::new(address(&kitchen.registry));
    client.create("/services", json!({"id": "own-0", "heartbeat_timeout": 6}));
    let event: Value = serde_json::from_str(&followed.line("own-0")).unwrap();
    assert_eq!(event["type"], "service.timeout");
}

#[test]
fn service_is_taken_out_for_a_while() {
    let kitchen = Kitchen::new();
    let _wrapper = kitchen.wrap("my-host1-api0");
    eventually("the socket", || kitchen.path("service-registry/my-host1-api0.sock").exists().then_some(()));
    assert_eq!(kitchen.run("service-registry maintenance on").end().code(), Some(0));
    assert!(!kitchen.is_listed("my-host1-api0"));
    assert_eq!(kitchen.run("service-registry maintenance off").end().code(), Some(0));
    assert!(kitchen.is_listed("my-host1-api0"));
}

/// The test restarts what systemd would, and looks at the list meanwhile.
#[test]
fn services_are_deployed_one_by_one() {
    let kitchen = Kitchen::new();
    kitchen.program("bin/systemctl", "echo \"$@\"; until [ -e \"done-$2\" ]; do sleep 0.02; done");
    let machine = gethostname().unwrap().into_string().unwrap();
    let names = ["api0", "api1", "api2"].map(|name| (name, format!("{machine}-{name}")));
    let mut wrappers: Vec<Running> = names.iter().map(|(_, id)| kitchen.wrap(id)).collect();
    for (_, id) in &names {
        eventually("the socket", || kitchen.path(&format!("service-registry/{id}.sock")).exists().then_some(()));
    }
    let mut deployment = Running::start(kitchen.command("./deploy").env("DRAIN", "0"));
    for (wrapper, (name, id)) in wrappers.iter_mut().zip(&names) {
        deployment.line(&format!("restart service-registry-wrapper@{name}"));
        for (_, other) in &names {
            assert_eq!(kitchen.is_listed(other), other != id, "{other} while {id} is restarted");
        }
        wrapper.signal(Signal::SIGTERM);
        wrapper.end();
        *wrapper = kitchen.wrap(id);
        std::fs::write(kitchen.path(&format!("done-service-registry-wrapper@{name}")), "").unwrap();
        deployment.line(&format!("{id} is back"));
    }
    assert_eq!(deployment.end().code(), Some(0));
}

#[test]
fn program_starts_after_its_dependency() {
    let mut kitchen = Kitchen::new();
    kitchen.program("app", "echo started \"$@\"");
    let mut waiting = kitchen.run("service-registry wait");
    waiting.line("0 of 2 services are there");
    kitchen.fleet.add("db-0", &["db"], json!({}));
    kitchen.fleet.add("db-1", &["db"], json!({}));
    waiting.line("started --port=8000");
    assert_eq!(waiting.end().code(), Some(0));
}

#[test]
fn unwrapped_service_is_registered() {
    let kitchen = Kitchen::new();
    let mut registered = kitchen.run("service-registry register");
    registered.line("registered printer-1");
    assert_eq!(service(&kitchen.registry, "printer-1").unwrap()["metadata"]["port"], "631");
}

#[test]
fn list_is_followed() {
    let mut kitchen = Kitchen::new();
    let mut watch = kitchen.run("service-registry watch --tag=api\n");
    watch.line("[]");
    kitchen.fleet.add("api-0", &["api"], json!({}));
    watch.line("\"id\":\"api-0\"");
}

#[test]
fn services_that_leave_are_reported() {
    let mut kitchen = Kitchen::new();
    kitchen.program("bin/logger", "echo \"$@\"");
    ["api-0", "api-1", "api-2"].into_iter().for_each(|id| kitchen.fleet.add(id, &["api"], json!({})));
    let mut watch = kitchen.run("service-registry watch --tag=api --quiet-time=10s");
    eventually("the first run", || kitchen.path("services").exists().then_some(()));
    kitchen.fleet.remove("api-1");
    watch.line("-t services api-1 has left");
    watch.signal(Signal::SIGTERM);
    watch.end();
    kitchen.fleet.remove("api-2"); // while nothing watches
    let mut watch = kitchen.run("service-registry watch --tag=api --quiet-time=10s");
    watch.line("-t services api-2 has left");
    assert!(!watch.said().contains("api-0"), "{}", watch.said());
}

#[test]
fn haproxy_has_the_listed_servers() {
    need("haproxy");
    let mut kitchen = Kitchen::new();
    let address = free_address();
    let frontend = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\nfrontend web\n  bind \
         {address}\n  default_backend api\n"
    );
    std::fs::write(kitchen.path("haproxy.cfg"), frontend).unwrap();
    std::fs::write(kitchen.path("api.cfg"), "backend api\n").unwrap();
    let mut haproxy = clean("haproxy");
    haproxy.args(["-W", "-p", "haproxy.pid", "-f", "haproxy.cfg", "-f", "api.cfg"]);
    let _haproxy = Running::start(haproxy.current_dir(kitchen.folder.path()));
    eventually("HAProxy", || kitchen.path("haproxy.pid").exists().then_some(()));
    kitchen.serve("api-0");
    // What somebody else registers must not become a line of the configuration.
    kitchen.fleet.add("evil-0", &["api"], json!({"host": "127.0.0.1 check\n    acl x", "port": "1"}));
    kitchen.fleet.add("evil-1", &["api"], json!({"host": "127.0.0.1"}));
    let mut watch = kitchen.command("service-registry watch --tag=api -- ./haproxy-api");
    let _watch = Running::start(watch.env("HAPROXY_DIR", kitchen.folder.path()));
    answered_by(&address, &["api-0"]);
    kitchen.serve("api-1");
    answered_by(&address, &["api-0", "api-1"]);
    kitchen.fleet.remove("api-0");
    answered_by(&address, &["api-1"]);
}

#[test]
fn nginx_has_the_listed_servers() {
    need("nginx");
    let mut kitchen = Kitchen::new();
    let (address, folder) = (free_address(), kitchen.folder.path().display().to_string());
    std::fs::create_dir(kitchen.path("conf.d")).unwrap();
    std::fs::write(kitchen.path("conf.d/api-upstream.conf"), "upstream api { server 127.0.0.1:9 down; }\n").unwrap();
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String = paths.iter().map(|path| format!("{path}_temp_path {folder}/{path};\n")).collect();
    let text = format!(
        "pid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}include \
         {folder}/conf.d/*.conf;\nserver {{ listen {address}; location / {{ proxy_pass http://api; }} }}\n}}\n"
    );
    std::fs::write(kitchen.path("nginx.conf"), text).unwrap();
    kitchen.program("bin/nginx", &format!("exec /usr/sbin/nginx -c {folder}/nginx.conf \"$@\""));
    let mut nginx = clean(kitchen.path("bin/nginx"));
    let _nginx = Running::start(nginx.args(["-g", "daemon off;"]));
    eventually("nginx", || kitchen.path("nginx.pid").exists().then_some(()));
    kitchen.serve("api-0");
    kitchen.fleet.add("evil-0", &["api"], json!({"host": "127.0.0.1; } server {", "port": "1"}));
    let mut watch = kitchen.command("service-registry watch --tag=api -- ./nginx-api");
    let _watch = Running::start(watch.env("NGINX_DIR", kitchen.path("conf.d")));
    answered_by(&address, &["api-0"]);
    kitchen.serve("api-1");
    answered_by(&address, &["api-0", "api-1"]);
    kitchen.fleet.remove("api-1");
    answered_by(&address, &["api-0"]);
    kitchen.fleet.remove("api-0");
    eventually("an upstream without servers", || {
        get(&address, "/").is_ok_and(|(status, _)| status == 502).then_some(())
    });
}

#[test]
fn report_runs_on_one_machine() {
    let kitchen = Kitchen::new();
    kitchen.program("report", "echo reporting; until [ -e done ]; do sleep 0.02; done");
    let mut first = kitchen.run("service-registry lock");
    first.line("reporting");
    let mut second = kitchen.run("service-registry lock");
    assert_eq!(second.end().code(), Some(100));
    std::fs::write(kitchen.path("done"), "").unwrap();
    assert_eq!(first.end().code(), Some(0));
}

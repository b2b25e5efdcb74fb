//! The wrapper's `--metrics-listen`, and a fleet that Prometheus discovers in the registry.

use std::net::TcpListener;

use serde_json::Value;

use crate::bench::scrape::{Prometheus, fetch, has_prometheus, metrics_address, promtool, value};
use crate::bench::users::{address, with_users};
use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, child, eventually, free_address, kill_raw, wrapper};

#[test]
fn metrics_show_registration_and_child() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--interval=3", "--metrics-listen=127.0.0.1:0", "python3"]).arg(child("signals.py"));
    let mut running = Running::start(&mut command);
    let at = metrics_address(&mut running);
    let pid = running.ready();
    let page = || fetch(at, "/metrics?any=query", &[]).body;
    let of = |page: &str, name: &str| value(page, &format!("service_registry_wrapper_{name}{{id=\"web0\"}}"));
    eventually("the service", || service(&registry, "web0"));
    let page_with_heartbeat =
        eventually("a heartbeat", || Some(page()).filter(|page| of(page, "heartbeats_total") > 0.0));
    for (name, expected) in [
        ("registered", 1.0),
        ("wanted", 1.0),
        ("maintenance", 0.0),
        ("failing", 0.0),
        ("failures_total", 0.0),
        ("sessions_total", 1.0),
        ("child_running", 1.0),
        ("child_starts_total", 1.0),
    ] {
        assert_eq!(of(&page_with_heartbeat, name), expected, "{name} in\n{page_with_heartbeat}");
    }
    let started = of(&page_with_heartbeat, "child_start_time_seconds");
    assert!(of(&page_with_heartbeat, "last_heartbeat_time_seconds") >= started - 5.0 && started > 1.7e9);
    assert_eq!(fetch(at, "/", &[]).status, 404);
    if has_prometheus("the check of the wrapper's page by promtool") {
        assert_eq!(promtool(&["check", "metrics"], &page_with_heartbeat), (Some(0), String::new()));
    }
    drop(registry);
    eventually("failures", || (of(&page(), "failures_total") > 0.0 && of(&page(), "failing") > 0.0).then_some(()));
    kill_raw(pid, 9);
    running.end();
}

/// A wrapper is not worse off because the one before it still has the port.
#[test]
fn taken_port_of_the_metrics_is_tried_again() {
    let registry = Registry::start();
    let taken = TcpListener::bind(free_address()).unwrap();
    let option = format!("--metrics-listen={}", taken.local_addr().unwrap());
    let mut command = wrapper(&registry.url);
    let mut running = Running::start(command.args(["--id=web0", &option, "python3"]).arg(child("signals.py")));
    running.all(&["the wrapper continues to try", "ready "]);
    drop(taken);
    let at = metrics_address(&mut running);
    assert_eq!(fetch(at, "/metrics", &[]).status, 200);
}

/// The child's end is seen while the wrapper waits for its other processes.
#[test]
fn exit_of_the_child_is_shown() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    let script = "trap '' TERM; (trap '' TERM; sleep 60) & sleep 0.5; exit 7";
    command.args(["--id=web0", "--stop-timeout=30", "--metrics-listen=127.0.0.1:0", "sh", "-c", script]);
    let mut running = Running::start(&mut command);
    let at = metrics_address(&mut running);
    let ended = "service_registry_wrapper_child_exit_status{id=\"web0\"} 7";
    let page = eventually("the end", || Some(fetch(at, "/metrics", &[]).body).filter(|page| page.contains(ended)));
    assert_eq!(value(&page, "service_registry_wrapper_child_running{id=\"web0\"}"), 0.0);
}

#[test]
fn prometheus_scrapes_both_and_discovers_the_fleet() {
    if !has_prometheus("the test of scrapes and of discovery") {
        return;
    }
    let users = "[[user]]\nname = 'joe'\ntenant = 7\napi_key = 'joes-key'\n[[user]]\nname = 'prometheus'\ntenant = 7\n\
                 api_key = 'p'\nrole = 'read'\n";
    let (registry, _file) = with_users(users);
    let start = |id: &str| {
        let at = free_address();
        let (ip, port) = at.split_once(':').unwrap();
        let mut command = wrapper(&registry.url);
        command.args(["--username=joe", "--api-key=joes-key", "--tags=fleet", "--interval=3"]);
        command.arg(format!("--id={id}")).arg(format!("--metadata=address={ip},metrics={port}"));
        command.arg(format!("--metrics-listen={at}")).arg("python3").arg(child("signals.py"));
        let mut running = Running::start(&mut command);
        let pid = running.ready();
        (running, pid)
    };
    let (_first, _) = start("web-1");
    let (mut second, pid) = start("web-2");
    let target = address(&registry);
    let prometheus = Prometheus::start(&format!(
        "global: {{scrape_interval: 500ms, scrape_timeout: 500ms}}
scrape_configs:
  - job_name: registry
    static_configs: [{{targets: ['{target}']}}]
  - job_name: fleet
    http_sd_configs:
      - url: http://{target}/v1.0/prometheus?tag=fleet&port=metrics
        refresh_interval: 1s
        basic_auth: {{username: prometheus, password: p}}
    relabel_configs:
      - {{source_labels: [__meta_service_registry_id], target_label: service}}
"
    ));
    let number = |result: &Value| result["value"][1].as_str().unwrap().parse::<f64>().unwrap();
    prometheus.query("up{job=\"registry\"} == 1", 1);
    assert_eq!(number(&prometheus.query("service_registry_services", 1)[0]), 2.0);
    let up = prometheus.query("up{job=\"fleet\"} == 1", 2);
    let mut services: Vec<&str> = up.iter().map(|result| result["metric"]["service"].as_str().unwrap()).collect();
    services.sort_unstable();
    assert_eq!(services, ["web-1", "web-2"]);
    prometheus.query("service_registry_wrapper_registered == 1", 2);
    prometheus.query("rate(service_registry_heartbeats_total[10s]) > 0", 1);
    kill_raw(pid, 9);
    second.end();
    prometheus.query("up{job=\"fleet\"}", 1);
}

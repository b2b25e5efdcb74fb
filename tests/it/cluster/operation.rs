//! What operators do with a cluster: look at it, back it up, restore it, move to it and away.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::cluster::{Cluster, Setting};
use crate::bench::etcd::{Etcd, Member, is_installed_for};
use crate::bench::network::Place;
use crate::bench::scrape::{fetch, value};
use crate::bench::{Client, DEADLINE, Registry, clean, durable, eventually};

/// Runs a command of the program with the options about this etcd; returns its exit code, its stdout and its stderr.
fn run(etcd: &Etcd, command: &[&str]) -> (i32, String, String) {
    let mut program: Command = clean(env!("CARGO_BIN_EXE_service-registry"));
    let output = program.args(command).args(etcd.options()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn report(etcd: &Etcd) -> Value {
    let (code, said, error) = run(etcd, &["cluster", "-o", "json"]);
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&said).unwrap()
}

/// The warnings that are not about the version of Debian's etcd.
fn warnings(report: &Value) -> Vec<&str> {
    let all = report["warnings"].as_array().unwrap().iter().map(|warning| warning.as_str().unwrap());
    all.filter(|warning| !warning.contains("3.5.16")).collect()
}

#[test]
fn cluster_is_shown_also_while_no_node_runs() {
    if !is_installed_for("the command `cluster`") {
        return;
    }
    let mut cluster = Cluster::start(&Setting::default());
    let settled = |cluster: &Cluster, nodes: usize| {
        eventually("all shards at these nodes", || {
            let report = report(cluster.etcd.as_ref().unwrap());
            let is_settled = report["nodes"].as_array().unwrap().len() == nodes && report["shards"]["owned"] == 64;
            is_settled.then_some(report)
        })
    };
    let all = settled(&cluster, 3);
    assert_eq!(warnings(&all), Vec::<&str>::new());
    assert_eq!(all["members"].as_array().unwrap().iter().filter(|member| member["leader"] == true).count(), 1);
    let shards: u64 = all["nodes"].as_array().unwrap().iter().map(|node| node["shards"].as_u64().unwrap()).sum();
    assert_eq!(shards, 64);
    let mut told = 0.0;
    for address in cluster.addresses() {
        assert_eq!(fetch(address, "/health", &[]).status, 200);
        let page = fetch(address, "/metrics", &[]).body;
        let value = |name: &str| value(&page, &format!("service_registry_cluster_{name}"));
        assert_eq!((value("nodes"), value("shards_unowned")), (3.0, 0.0));
        told += value("shards");
    }
    assert_eq!(told, 64.0, "each shard is at one node");

    cluster.signal_node(0, Signal::SIGTERM);
    assert!(cluster.reap_node(0, DEADLINE));
    assert_eq!(warnings(&settled(&cluster, 2)), Vec::<&str>::new());
    for at in [1, 2] {
        cluster.signal_node(at, Signal::SIGTERM);
        assert!(cluster.reap_node(at, DEADLINE));
    }
    let etcd = cluster.etcd.as_ref().unwrap();
    assert_eq!(warnings(&report(etcd)), ["no node runs"]);
    let (code, table, _) = run(etcd, &["cluster", "--shards"]);
    let lines = |kind: &str| table.lines().filter(|line| line.split('\t').next() == Some(kind)).count();
    assert_eq!((code, lines("node"), lines("shards"), lines("member")), (0, 0, 64, 3), "{table}");
}

#[test]
fn node_waits_for_etcd_at_its_start() {
    if !is_installed_for("a start before etcd") {
        return;
    }
    let mut cluster = Cluster::start(&Setting::default());
    cluster.signal_node(0, Signal::SIGTERM);
    assert!(cluster.reap_node(0, DEADLINE));
    let members = |cluster: &mut Cluster, act: fn(&mut Member)| {
        cluster.etcd.as_mut().unwrap().members[..2].iter_mut().for_each(act);
    };
    members(&mut cluster, Member::kill); // no majority, and no leader
    cluster.start_node(0);
    cluster.nodes[0].running.as_mut().unwrap().line("the node starts as soon as etcd answers");
    members(&mut cluster, Member::start);
    cluster.nodes[0].running.as_mut().unwrap().line("joined the cluster");
}

/// What clients see of the records: the values, the services without their last heartbeat, and all events.
fn seen(client: &mut Client) -> Value {
    let mut get = |path: &str| client.get(path).json()["values"].clone();
    let mut services = get("/services?limit=1000");
    for service in services.as_array_mut().unwrap() {
        service.as_object_mut().unwrap().remove("last_seen");
    }
    json!([get("/configuration?limit=1000"), services, get("/events?limit=1000&extended=true")])
}

#[test]
fn registry_moves_to_a_cluster_and_back_by_backups() {
    if !is_installed_for("backups of etcd") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let etcd = Etcd::start(&[Place::local()], None);
    let on_etcd = |listen: &str| {
        let options = etcd.options();
        Registry::start_at(listen, &options.iter().map(String::as_str).collect::<Vec<_>>())
    };

    let mut embedded = durable::start("127.0.0.1:0", &folder.path().join("one"));
    let mut old = durable::client(&embedded);
    assert_eq!(old.put("/configuration/key", json!({"value": "größer"})).status, 204);
    let body = json!({"id": "web-1", "heartbeat_timeout": 120, "tags": ["www"]});
    let token = old.post("/services", body).json()["token"].as_str().unwrap().to_owned();
    let before = seen(&mut old);
    embedded.process.signal(Signal::SIGTERM);
    embedded.process.end();
    assert_eq!(durable::run(&["backup", &path("first"), "--data-dir", &path("one")]).0, 0);

    let (code, _, said) = run(&etcd, &["restore", &path("first"), "--shards=8"]);
    assert!(code == 0 && said.contains("to etcd, below /service-registry/"), "{said}");
    let (code, _, said) = run(&etcd, &["restore", &path("first")]);
    assert!(code == 1 && said.contains("--force"), "{said}");
    let mut node = on_etcd("127.0.0.1:0");
    let mut new = durable::client(&node);
    eventually("the shard of the account", || (new.get("/services").status == 200).then_some(()));
    assert_eq!(seen(&mut new), before);
    let beat = new.post("/services/web-1/heartbeat", json!({"token": token}));
    assert_eq!(beat.status, 200, "tokens stay valid");
    assert_eq!(report(&etcd)["shards"]["shards"], 8);

    // While it runs: a backup, and no restore.
    assert_eq!(run(&etcd, &["backup", &path("second")]).0, 0);
    let (code, _, said) = run(&etcd, &["restore", &path("second"), "--force"]);
    assert!(code == 3 && said.contains(&node.url), "{said}");
    assert_eq!(seen(&mut new), before);
    node.process.signal(Signal::SIGTERM);
    node.process.end();

    assert_eq!(durable::run(&["restore", &path("second"), "--data-dir", &path("two")]).0, 0);
    let again = durable::start("127.0.0.1:0", &folder.path().join("two"));
    assert_eq!(seen(&mut durable::client(&again)), before);
}

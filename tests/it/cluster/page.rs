//! What a node tells of its cluster, and the page at a node that has not got the account.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::browser::Browser;
use crate::bench::cluster::{Cluster, Setting};
use crate::bench::etcd::is_installed_for;
use crate::bench::{Client, DEADLINE, eventually};

/// The shard of account 1, which an open registry has.
const SHARD: usize = 1;

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// The view of a node, once these many nodes share all shards.
fn settled(client: &mut Client, nodes: usize) -> Value {
    eventually("all shards at these nodes", || {
        let view = client.get("/views/cluster").json();
        let ids: BTreeSet<&str> = view["nodes"].as_array()?.iter().filter_map(|node| node["id"].as_str()).collect();
        let has_node = |shard: &Value| shard["node"].as_str().is_some_and(|node| ids.contains(node));
        let is_settled = ids.len() == nodes && view["shards"].as_array()?.iter().all(has_node);
        is_settled.then_some(view)
    })
}

#[test]
fn any_node_tells_of_the_cluster_and_has_the_page() {
    if !is_installed_for("the view of a cluster") {
        return;
    }
    let mut cluster = Cluster::start(&Setting::default());
    let mut clients: Vec<Client> = cluster.addresses().into_iter().map(Client::new).collect();
    let views: Vec<Value> = clients.iter_mut().map(|client| settled(client, 3)).collect();
    let document = clients[0].get("@/openapi.json").json();
    for (view, address) in views.iter().zip(cluster.addresses()) {
        let parts = [("Cluster", view), ("ClusterNode", &view["nodes"][0]), ("ClusterShard", &view["shards"][0])];
        for (schema, part) in parts {
            let described = &document["components"]["schemas"][schema];
            let required = described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
            assert_eq!((names(part), names(&described["properties"])), (required.collect(), names(part)), "{schema}");
        }
        let nodes = view["nodes"].as_array().unwrap();
        let own = nodes.iter().find(|node| node["id"] == view["node"]).unwrap();
        assert_eq!(own["url"], format!("http://{address}"), "it is the one that was asked");
        assert_eq!(nodes.iter().map(|node| node["shards"].as_u64().unwrap()).sum::<u64>(), 64);
        assert!(view["shards"].as_array().unwrap().iter().zip(0..).all(|(shard, number)| shard["shard"] == number));
    }

    let owner = &views[0]["shards"][SHARD]["node"];
    let other = views.iter().position(|view| view["node"] != *owner).unwrap();
    if let Some(browser) = Browser::lease() {
        let service = |id: &str| json!({"id": id, "heartbeat_timeout": 120});
        clients[other].create("/services", service("web-1"));
        browser.open(&format!("http://{}/", cluster.nodes[other].address));
        browser.wait_for_text("#service-rows", "web-1");
        browser.wait("document.querySelector('#connection').dataset.state == 'live'");
        clients[(other + 1) % 3].create("/services", service("web-2"));
        browser.wait_for_text("#service-rows", "web-2");
        browser.click("#to-cluster");
        browser.wait("document.querySelector('#found').innerText == '3 nodes, 64 shards'");
        let id = views[other]["node"].as_str().unwrap();
        browser.run(&format!("location.hash = '#cluster/{id}'"));
        browser.wait_for_text("#details-body", "answers this page");
    }

    let leaving = (other + 1) % 3;
    cluster.signal_node(leaving, Signal::SIGTERM);
    assert!(cluster.reap_node(leaving, DEADLINE));
    let view = settled(&mut clients[other], 2);
    assert!(view["nodes"].as_array().unwrap().iter().all(|node| node["id"] != views[leaving]["node"]));
}

//! The first example of docs/cluster.md: three members, three nodes, wrapped processes against all three, and the end
//! of a node.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::cluster::{Cluster, Setting};
use crate::bench::etcd::is_installed_for;
use crate::bench::{Running, eventually, get, wrapper};

const PROCESSES: usize = 9;

/// The ids that a node lists. None if it does not answer with a list.
fn listed(url: &str) -> Option<BTreeSet<String>> {
    let (status, page) = get(url, "/v1.0/services?limit=1000").ok()?;
    let id = |service: &Value| service["id"].as_str().unwrap().to_owned();
    (status == 200).then(|| page["values"].as_array().unwrap().iter().map(id).collect())
}

#[test]
fn processes_and_their_services_survive_the_end_of_a_node() {
    if !is_installed_for("wrapped processes against three nodes") {
        return;
    }
    let mut cluster = Cluster::start(&Setting::default());
    let urls: Vec<String> = cluster.addresses().iter().map(|address| format!("http://{address}")).collect();
    let ids: BTreeSet<String> = (0..PROCESSES).map(|number| format!("web{number}")).collect();
    let wrap = |(number, id): (usize, &String)| {
        let mut order = urls.clone();
        order.rotate_left(number % 3);
        let mut command = wrapper(&order.join(","));
        command.args([&format!("--id={id}"), "--interval=5", "sh", "-c", "echo up; exec sleep 1000"]);
        let mut running = Running::start(&mut command);
        running.line("up");
        running
    };
    let mut processes: Vec<Running> = ids.iter().enumerate().map(wrap).collect();
    for url in &urls {
        eventually("all services at each node", || listed(url).filter(|all| *all == ids));
    }
    // The node that owns the account is one of the three: each is ended once, and started again.
    for at in 0..3 {
        cluster.signal_node(at, Signal::SIGKILL);
        cluster.reap_node(at, crate::bench::DEADLINE);
        let others = [(at + 1) % 3, (at + 2) % 3];
        for other in others {
            eventually("an answer of the other nodes", || listed(&urls[other]));
        }
        // Longer than the timeout of those that were not heard: whoever should expire has expired.
        let start = std::time::Instant::now();
        while start.elapsed().as_secs() < 8 {
            for other in others {
                if let Some(all) = listed(&urls[other]) {
                    assert_eq!(all, ids, "{:?} after node {at} was killed", start.elapsed());
                }
            }
        }
        cluster.start_node(at);
        eventually("the node is back", || listed(&urls[at]));
    }
    let (_, page) = get(&urls[0], "/v1.0/events?limit=1000&extended=true").unwrap();
    let ends = page["values"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|event| !["service.join", "session.create"].contains(&event["type"].as_str().unwrap()));
    assert_eq!(ends.collect::<Vec<_>>(), Vec::<&Value>::new(), "nothing has expired");
    assert!(!processes.iter_mut().any(Running::has_ended), "the processes run");
}

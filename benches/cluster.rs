//! What a cluster carries: three nodes on three members of etcd, beside the same etcd used directly, in one run.
//!
//! `cargo bench --features etcd --bench cluster` registers through the three nodes with 1, 16 and 128 clients: a session
//! and a service in it, with their events; at etcd (3.4 or later, in PATH) a lease and a key with it, through the three
//! members. Then heartbeats at the owner of the account and at another node; then 100,000 sessions with a service each:
//! memory, the size of etcd's data, and the time until another node has taken them over after a kill -9. The words
//! `registrations`, `heartbeats` and `many` after `--` choose a part.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a failed measurement must not print figures")]

mod load;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use load::{Client, Server, etcd, fill, grant_and_put, measure, register, register_in_many, resident};
use serde_json::Value;

const SECONDS: Duration = Duration::from_secs(5);
const MANY: u64 = 100_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let only: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let is_wanted = |part: &str| only.is_empty() || only.iter().any(|word| word == part);
    if is_wanted("registrations") {
        registrations(folder.path());
    }
    if is_wanted("heartbeats") {
        heartbeats(&folder.path().join("heartbeats"));
    }
    if is_wanted("many") {
        many(&folder.path().join("many"));
    }
}

fn registrations(folder: &Path) {
    println!("registrations per second through three nodes and three members; {SECONDS:?} each, two rounds");
    for clients in [1, 16, 128] {
        for round in 0..2 {
            let place = |name: &str| folder.join(format!("{name}-{clients}-{round}"));
            let ours = |name: &str, work: fn(&mut Client, u64)| {
                let cluster = Cluster::start(&place(name));
                measure(&cluster.addresses(), clients, SECONDS, work)
            };
            let (one, many) = (ours("one", register), ours("many", register_in_many));
            let members = etcd(&place("naive"), 3);
            let addresses: Vec<&str> = members.iter().map(|member| &*member.address).collect();
            let naive = measure(&addresses, clients, SECONDS, grant_and_put);
            let [first, second] = [one, many].map(|ours| ours / naive);
            println!(
                "{clients:>4} clients: of one account {one:>8.0}   of 16 accounts {many:>8.0}   etcd {naive:>8.0}   \
                 ratios {first:.1} and {second:.1}"
            );
        }
    }
}

fn heartbeats(folder: &Path) {
    let cluster = Cluster::start(folder);
    let (owner, others) = cluster.owner();
    println!("heartbeats per second of 16 clients, in turns");
    for _ in 0..3 {
        let direct = measure(&[&cluster.nodes[owner].address], 16, SECONDS, open_and_beat);
        let forwarded = measure(&[&cluster.nodes[others[0]].address], 16, SECONDS, open_and_beat);
        let ratio = forwarded / direct;
        println!("at the owner {direct:>8.0}   at another node {forwarded:>8.0}   ratio {ratio:.2}");
    }
}

/// A thousand heartbeats of a new session: its opening hardly counts.
fn open_and_beat(client: &mut Client, number: u64) {
    if number & 0xffff_ffff == 1 || client.token.is_empty() {
        let answer = client.call("POST", "/v1.0/1/sessions", "{\"heartbeat_timeout\": 120}");
        client.path = format!(
            "/v1.0/1/sessions/{}/heartbeat",
            answer.split("/sessions/").nth(1).unwrap().split('\r').next().unwrap()
        );
        client.token = token(&answer);
    }
    let body = format!("{{\"token\": \"{}\"}}", client.token);
    let path = client.path.clone();
    client.token = token(&client.call("POST", &path, &body));
}

fn token(answer: &str) -> String {
    let token = answer.split("\"token\": \"").nth(1).unwrap_or_else(|| panic!("{answer}"));
    token.split('"').next().unwrap().to_owned()
}

fn many(folder: &Path) {
    let mut cluster = Cluster::start(folder);
    let before: Vec<u64> = cluster.nodes.iter().map(resident).collect();
    let size = cluster.report()["members"][0]["in_use"].as_u64().unwrap();
    let begun = Instant::now();
    fill(&cluster.addresses(), MANY);
    println!("{MANY} sessions with a service each: registered in {:.1?} by 64 clients", begun.elapsed());
    let (owner, others) = cluster.owner();
    let mb = |node: usize| (resident(&cluster.nodes[node]) - before[node]) as f64 / 1024.0;
    println!("resident: the owner {:.1} MB more than an empty node, another node {:.1} MB", mb(owner), mb(others[0]));
    let size = cluster.report()["members"][0]["in_use"].as_u64().unwrap() - size;
    println!("in etcd: {} MB in use, {} bytes for each", size >> 20, size / MANY);
    let empty = cluster.other_account(owner);
    let next = cluster.nodes[others[0]].address.clone();
    drop(cluster.nodes.remove(owner)); // by SIGKILL
    let begun = Instant::now();
    let (full, empty) = std::thread::scope(|scope| {
        let empty = scope.spawn(|| await_answer(&next, empty, begun));
        (await_answer(&next, 1, begun), empty.join().unwrap())
    });
    println!(
        "after the kill -9 of the owner: {full:.2?} to the first answer of another node, {empty:.2?} for an account \
         without anything; the load: {:.2?}",
        full.saturating_sub(empty)
    );
}

fn await_answer(address: &str, account: u64, begun: Instant) -> Duration {
    let mut client = Client::new(address);
    while !client.call("GET", &format!("/v1.0/{account}/services?limit=1"), "").starts_with("HTTP/1.1 200") {}
    begun.elapsed()
}

/// Three members of etcd and three nodes.
struct Cluster {
    nodes: Vec<Server>,
    urls: String,
    _members: Vec<Server>,
}

impl Cluster {
    fn start(folder: &Path) -> Self {
        let members = etcd(folder, 3);
        let urls = members.iter().map(|member| format!("http://{}", member.address)).collect::<Vec<_>>().join(",");
        let nodes = (0..3).map(|_| load::registry(&["--etcd", &urls])).collect();
        let cluster = Self { nodes, urls, _members: members };
        // Until the shards have moved to their places.
        let begun = Instant::now();
        loop {
            let report = cluster.report();
            let shards: Vec<u64> =
                report["nodes"].as_array().unwrap().iter().map(|node| node["shards"].as_u64().unwrap()).collect();
            if shards.len() == 3 && shards.iter().sum::<u64>() == 64 && shards.iter().all(|count| *count > 9) {
                return cluster;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "the nodes do not settle: {report}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn addresses(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| &*node.address).collect()
    }

    fn report(&self) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_service-registry"));
        let output = command.args(["cluster", "--shards", "-o", "json", "--etcd", &self.urls]).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// An account in another shard of this node.
    fn other_account(&self, owner: usize) -> u64 {
        let report = self.report();
        let shards = report["shards"].as_array().unwrap();
        let is_there = |account: &u64| {
            let shard = shards.iter().find(|shard| shard["shard"] == shard_of(*account)).unwrap();
            shard_of(*account) != shard_of(1) && shard["url"].as_str().unwrap().ends_with(&self.nodes[owner].address)
        };
        (2..).find(is_there).unwrap()
    }

    /// The node that owns the shard of the account 1, and the others.
    fn owner(&self) -> (usize, Vec<usize>) {
        let report = self.report();
        let shard = report["shards"].as_array().unwrap().iter().find(|shard| shard["shard"] == shard_of(1)).unwrap();
        let url = shard["url"].as_str().unwrap();
        let at = |index: &usize| url.ends_with(&self.nodes[*index].address);
        let owner = (0..self.nodes.len()).find(at).unwrap();
        (owner, (0..self.nodes.len()).filter(|node| *node != owner).collect())
    }
}

/// The shard of an account, of 64: as `cluster/placement.rs` has it.
fn shard_of(account: u64) -> u64 {
    let mut mixed = account.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed ^ mixed >> 31) % 64
}

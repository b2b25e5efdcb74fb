//! What durability costs, side by side with etcd on the same machine and disk, in one run.
//!
//! `cargo bench --bench durable` registers with 1, 16 and 128 clients: a session and a service in it, and the event
//! that comes with it, all acknowledged only when on disk; at etcd (3.4 or later, in PATH) a lease and a key with it.
//! Each client has one connection and waits for every answer. Then it fills a registry with 100,000 sessions with a
//! service each, says what that takes in memory and on disk, and how long a start with it takes to the first answer.

#![expect(clippy::unwrap_used, reason = "a failed measurement must not print figures")]

mod load;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use load::{Client, Server, etcd, fill, grant_and_put, measure, register, resident};

const SECONDS: Duration = Duration::from_secs(5);
const MANY: u64 = 100_000;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    println!("registrations per second, each on disk before it is acknowledged; {SECONDS:?} each, two rounds");
    for clients in [1, 16, 128] {
        for round in 0..2 {
            let ours = {
                let server = ours(&folder.path().join(format!("ours-{clients}-{round}")));
                measure(&[&server.address], clients, SECONDS, register)
            };
            let other = {
                let server = etcd(&folder.path().join(format!("etcd-{clients}-{round}")), 1);
                measure(&[&server[0].address], clients, SECONDS, grant_and_put)
            };
            let ratio = ours / other;
            println!("{clients:>4} clients: service-registry {ours:>8.0}   etcd {other:>8.0}   ratio {ratio:.1}");
        }
    }
    start_and_size(&folder.path().join("many"));
    churn(&folder.path().join("churn"));
}

/// Far more events than are kept: the disk must not fill up.
fn churn(folder: &Path) {
    let server = ours_with(folder, &["--events-retention", "5s"]);
    println!("changes without end, events kept for 5 s:");
    for round in 1..=3 {
        let a_second = measure(&[&server.address], 16, Duration::from_secs(10), set_value);
        println!("after {:>2} s: {a_second:.0} events/s, {} MB on disk", round * 10, disk_mb(folder));
    }
}

fn set_value(client: &mut Client, number: u64) {
    let value = format!("{{\"value\": \"{number:0>200}\"}}");
    let answer = client.call("PUT", &format!("/v1.0/1/configuration/key-{}", number >> 32), &value);
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
}

fn disk_mb(folder: &Path) -> String {
    let disk = Command::new("du").args(["-sm", folder.to_str().unwrap()]).output().unwrap();
    String::from_utf8_lossy(&disk.stdout).split('\t').next().unwrap().to_owned()
}

fn start_and_size(folder: &Path) {
    let server = ours(folder);
    let fresh = resident(&server);
    let begun = Instant::now();
    fill(&[&server.address], MANY);
    println!("{MANY} sessions with a service each: registered in {:.1?} by 64 clients", begun.elapsed());
    let mb = |kb: u64| kb as f64 / 1024.0;
    println!("resident: {:.1} MB more than the {:.1} MB of an empty one", mb(resident(&server) - fresh), mb(fresh));
    drop(server); // by SIGKILL
    println!("on disk: {} MB", disk_mb(folder));
    for _ in 0..3 {
        let begun = Instant::now();
        let server = ours(folder);
        let mut client = Client::new(&server.address);
        let answer = client.call("GET", "/v1.0/1/services?limit=1", "");
        assert!(answer.contains("\"count\": 1"), "{answer}");
        let took = begun.elapsed();
        println!("start after SIGKILL to the first answer: {took:.2?}; resident: {:.1} MB", mb(resident(&server)));
    }
}

fn ours(folder: &Path) -> Server {
    ours_with(folder, &[])
}

fn ours_with(folder: &Path, options: &[&str]) -> Server {
    load::registry(&[&["--data-dir", folder.to_str().unwrap()], options].concat())
}

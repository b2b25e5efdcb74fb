//! Heartbeats per second at the owner and through another node, in turns within one run. Not a test: it asserts nothing.
//!
//! ```sh
//! cargo test --release --features etcd --lib forwarded_heartbeats -- --ignored --nocapture
//! ```

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::{Client, Node, at, header};
use crate::registry::model::Clock;

const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 5;

/// A runtime of its own, as a process has.
fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Beats for a turn with a session on each connection. Returns the heartbeats per second.
async fn turn(address: SocketAddr, connections: usize) -> f64 {
    let mut running = JoinSet::new();
    for _ in 0..connections {
        let mut client = Client::connect(address).await;
        let opened = client.ask("POST", "/v1.0/7/sessions", "", r#"{"heartbeat_timeout": 120}"#).await;
        let id = header(&opened, "location").unwrap().rsplit('/').next().unwrap().to_owned();
        let path = format!("/v1.0/7/sessions/{id}/heartbeat");
        running.spawn(async move {
            let (mut answer, mut beats, start) = (opened, 0_u32, Instant::now());
            while start.elapsed() < TURN {
                let token = answer.split("\"token\": \"").nth(1).unwrap().split('"').next().unwrap();
                let body = format!(r#"{{"token": "{token}"}}"#);
                answer = client.ask("POST", &path, "Content-Type: application/json\r\n", &body).await;
                beats += 1;
            }
            beats
        });
    }
    f64::from(running.join_all().await.into_iter().sum::<u32>()) / TURN.as_secs_f64()
}

#[test]
#[ignore = "a measurement"]
fn forwarded_heartbeats() {
    let (at_owner, at_front) = (runtime(), runtime());
    let clock = Clock::system();
    let owner = at_owner.block_on(Node::owner(&clock));
    let front = at_front.block_on(Node::front(&clock, at(owner.address)));
    let generator = Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:>12}{:>12}{:>14}{:>8}", "connections", "owner /s", "forwarded /s", "ratio");
    for connections in [1, 16, 128] {
        let mut rounds = Vec::new();
        for _ in 0..TURNS {
            let direct = generator.block_on(turn(owner.address, connections));
            let forwarded = generator.block_on(turn(front.address, connections));
            rounds.push((forwarded / direct, direct, forwarded));
        }
        rounds.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (ratio, direct, forwarded) = rounds[TURNS / 2];
        println!("{connections:>12}{direct:>12.0}{forwarded:>14.0}{ratio:>8.2}");
    }
    drop((owner, front));
    at_owner.shutdown_background();
    at_front.shutdown_background();
}

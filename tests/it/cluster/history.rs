//! Random clients of three nodes, under random faults: everything that they were answered is checked.
//!
//! `HISTORY_SECONDS=36000 HISTORY_SEED=7 cargo test --features etcd --test it history_under_faults -- --nocapture` goes
//! on for longer: in rounds of two minutes, each with a cluster and a seed of its own. What all were asked and answered,
//! and what the nodes said, is in `target/history` then. `HISTORY_DISABLE` switches rules off (comma list), and
//! `HISTORY_EMBEDDED=1` puts one node with the embedded store in place of three.
//!
//! It is a test and not a script, because it needs what the tests have: programs that end with it, and the checker.

use std::time::{Duration, Instant};

use crate::bench::cluster::{Setting, run};
use crate::bench::etcd::is_installed_for;
use crate::bench::history::Load;

const ROUND: Duration = Duration::from_secs(120);
const LOAD: Load = Load { holders: 16, writers: 4 };

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// What differs between rounds: clocks and a quota in some of them.
fn setting(seed: u64) -> Setting {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ahead = || random.i64(-300..=300);
    let clocks = [ahead(), ahead(), ahead()];
    if std::env::var("HISTORY_EMBEDDED").is_ok() {
        return Setting { is_embedded: true, ..Setting::default() };
    }
    Setting {
        has_namespaces: true,
        clocks: (seed % 2 == 1).then_some(clocks),
        quota: (seed % 3 == 1).then_some(64 << 20),
        disabled: std::env::var("HISTORY_DISABLE").unwrap_or_default(),
        ..Setting::default()
    }
}

#[test]
fn history_under_faults_has_no_violation() {
    if !is_installed_for("random faults of three nodes and three members") {
        return;
    }
    let (seconds, first) = (variable("HISTORY_SECONDS", 120), variable("HISTORY_SEED", 1));
    let start = Instant::now();
    let mut found = Vec::new();
    for seed in first.. {
        let left = Duration::from_secs(seconds).saturating_sub(start.elapsed());
        if left < Duration::from_secs(10) {
            break;
        }
        let trial = run(setting(seed), seed, &LOAD, |trouble, random| trouble.run(left.min(ROUND), random));
        println!("seed {seed}: {}", trial.verdict);
        if !trial.verdict.violations.is_empty() {
            found.push(format!("seed {seed}: {}", trial.verdict));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

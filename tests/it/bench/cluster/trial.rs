//! One trial: clients use a cluster while faults happen to it, and what they saw is checked.

use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::Duration;

use super::nodes::{Cluster, Setting};
use super::trouble::Trouble;
use crate::bench::history::{Clients, Load, Log, Verdict, Violation, World, check};

/// The longest timeout of a holder, and the longest bound beyond it: all that were left are gone after this.
const LAST_TIMEOUTS: Duration = Duration::from_secs(10 + 2);
/// So many that each node owns some.
const ACCOUNTS: usize = 6;

pub struct Trial {
    pub log: Log,
    pub verdict: Verdict,
}

/// Starts a cluster, and lets these faults happen to it. The seed decides about clients and faults.
pub fn run(
    setting: Setting,
    seed: u64,
    load: &Load,
    faults: impl FnOnce(&mut Trouble<'_>, &mut fastrand::Rng),
) -> Trial {
    let setting = Setting { users: World::users(ACCOUNTS), ..setting };
    let mut cluster = Cluster::start(&setting);
    let world = Arc::new(World::new(cluster.addresses(), ACCOUNTS, seed, setting.clocks.is_some()));
    let clients = Clients::start(&world, load);
    let mut trouble = Trouble::new(&mut cluster, &world, setting.quota.is_some(), setting.clocks.is_some());
    faults(&mut trouble, &mut fastrand::Rng::with_seed(seed));
    let complaints = trouble.complaints;
    world.close();
    sleep(LAST_TIMEOUTS); // the timeouts under test
    clients.end(&world);
    let log = world.log();
    let mut verdict = check(&log);
    verdict.violations.extend(complaints.into_iter().map(|text| Violation { rule: "recovery", text }));
    write(&mut cluster, &log, &verdict, &format!("{seed}{}", setting.disabled));
    Trial { log, verdict }
}

/// Leaves what is needed to understand a violation.
fn write(cluster: &mut Cluster, log: &Log, verdict: &Verdict, name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/history").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    cluster.write_logs(&folder);
    let mut entries = log.entries.clone();
    entries.sort_by_key(|entry| entry.asked);
    let lines: String = entries.iter().map(|entry| format!("{entry}\n")).collect();
    std::fs::write(folder.join("operations.log"), lines).unwrap();
    std::fs::write(folder.join("verdict"), verdict.to_string()).unwrap();
    if !verdict.violations.is_empty() {
        println!("the log of the clients and those of the nodes are in {}", folder.display());
    }
}

//! A restart of all nodes in turn, which no client notices.

use std::time::Duration;

use crate::bench::cluster::{Fault, Setting, run};
use crate::bench::etcd::is_installed_for;
use crate::bench::history::{Call, Entry, Load, Outcome};

#[test]
#[ignore = "on a busy machine requests reach the time limits of their clients, which count as failed"]
fn rolling_restart_is_noticed_by_no_client() {
    if !is_installed_for("a rolling restart of three nodes") {
        return;
    }
    let load = Load { holders: 12, writers: 3 };
    let trial = run(Setting::default(), 1, &load, |trouble, _| {
        std::thread::sleep(Duration::from_secs(5)); // clients at work before and after it
        trouble.one(Fault::Rolling, Duration::ZERO);
        std::thread::sleep(Duration::from_secs(5));
    });
    println!("{}", trial.verdict);
    assert!(trial.verdict.violations.is_empty(), "{}", trial.verdict);
    assert_eq!(trial.verdict.unheard, 0, "no holder expires that sends heartbeats");
    // A follower's request is long, and ends with its node; a refused connection leads to the next node.
    let failed = |entry: &&Entry| {
        let is_follower = matches!(entry.call, Call::Events { is_repeated: false, .. } | Call::Stream { .. });
        !is_follower && matches!(entry.outcome, Outcome::Unavailable | Outcome::Unclear)
    };
    let failed: Vec<String> = trial.log.entries.iter().filter(failed).map(Entry::to_string).collect();
    assert_eq!(failed, Vec::<String>::new());
}

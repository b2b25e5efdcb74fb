//! Each rule that keeps the nodes right, switched off: the checker of histories sees what it was for.
//!
//! The fence has no trial of its own: the chain stops a former owner too, as soon as the next one has written. A request
//! that goes from node to node more than once is slow, and not wrong.
//!
//! Such a trial needs a fault at the right moment, so it is repeated until a violation is found. All together take a
//! quarter of an hour: `cargo test --features etcd --test it cluster::rules -- --ignored --test-threads=1`.

use std::time::Duration;

use crate::bench::cluster::{Fault, Setting, Shape, Trouble, Which, run};
use crate::bench::etcd::is_installed_for;
use crate::bench::history::Load;

/// Many requests at a time: some are under way at the moment that matters.
const LOAD: Load = Load { holders: 24, writers: 8 };
/// For moments that are short.
const HEAVY: Load = Load { holders: 40, writers: 10 };
/// How often a trial is repeated before the rule counts as useless.
const ATTEMPTS: u64 = 4;

/// Faults in turn, with some time in between.
fn faults(trouble: &mut Trouble<'_>, faults: &[(Fault, u64)]) {
    for (fault, seconds) in faults {
        std::thread::sleep(Duration::from_secs(4)); // clients at work
        trouble.one(*fault, Duration::from_secs(*seconds));
    }
    std::thread::sleep(Duration::from_secs(2));
}

/// Without the rules, these faults lead to a violation of one of these kinds.
fn is_missed(rules: &str, load: &Load, kinds: &[&str], scenario: impl Fn(&mut Trouble<'_>)) {
    if !is_installed_for("a rule that is switched off") {
        return;
    }
    for seed in 1..=ATTEMPTS {
        let setting = Setting { has_namespaces: true, disabled: rules.to_owned(), ..Setting::default() };
        let trial = run(setting, seed, load, |trouble, _| scenario(trouble));
        let found = trial.verdict.violations.iter().find(|violation| kinds.contains(&violation.rule));
        if let Some(found) = found {
            println!("without {rules}: {}: {}", found.rule, found.text);
            return;
        }
        println!("without {rules}, seed {seed}: {}", trial.verdict);
    }
    panic!("without {rules} nothing is wrong");
}

const STOPS: &[(Fault, u64)] = &[(Fault::StopNode(0), 9), (Fault::StopNode(1), 9), (Fault::StopNode(2), 9)];
const KILLS: &[(Fault, u64)] = &[(Fault::KillNode(0), 8), (Fault::KillNode(1), 8), (Fault::KillNode(2), 8)];
/// Ends one node after the other while the others stand still: a handover waits for them, and clients do not.
fn slow_moves(trouble: &mut Trouble<'_>) {
    for at in 0..3 {
        std::thread::sleep(Duration::from_secs(4)); // clients at work
        trouble.slow_move(at, Duration::from_millis(2_500));
    }
    std::thread::sleep(Duration::from_secs(2));
}

const ENDS: &[(Fault, u64)] = &[(Fault::Rolling, 0), (Fault::Rolling, 0)];

#[test]
#[ignore = "minutes"]
fn stale_owner_answers_without_the_rule_of_the_claim() {
    is_missed("claim,confirm", &LOAD, &["linearizable", "stale", "feed"], |trouble| faults(trouble, STOPS));
}

#[test]
#[ignore = "minutes"]
fn stale_owner_answers_without_the_check_before_an_answer() {
    is_missed("confirm", &LOAD, &["linearizable", "stale", "feed"], |trouble| faults(trouble, STOPS));
}

#[test]
#[ignore = "minutes"]
fn stale_owner_writes_without_the_fence() {
    let kinds = &["linearizable", "events", "chain", "order"];
    is_missed("fence,chain", &LOAD, kinds, |trouble| faults(trouble, STOPS));
}

#[test]
#[ignore = "minutes"]
fn commits_are_applied_twice_without_the_chain() {
    let members: Vec<(Fault, u64)> = (0..4).map(|_| (Fault::StopMember(Which::Leader), 5)).collect();
    is_missed("chain", &LOAD, &["linearizable", "events", "feed", "chain"], |trouble| faults(trouble, &members));
}

#[test]
#[ignore = "minutes"]
fn holders_expire_early_without_whole_timeouts() {
    is_missed("timeouts", &LOAD, &["early"], |trouble| faults(trouble, KILLS));
}

#[test]
#[ignore = "minutes"]
fn live_owners_lose_shards_without_the_rule_of_the_lease() {
    // Each theft gives whole timeouts, so the bounds do not hold.
    is_missed("live", &HEAVY, &["early", "late", "linearizable", "stale", "feed", "recovery"], |trouble| {
        faults(trouble, &[(Fault::Cut(0, Shape::Whole), 6), (Fault::Cut(1, Shape::Partial), 6), (Fault::Rolling, 0)]);
    });
}

#[test]
#[ignore = "minutes"]
fn heartbeats_are_lost_in_a_move_without_the_rule_of_the_drain() {
    is_missed("drain", &HEAVY, &["early", "linearizable", "events", "feed"], slow_moves);
}

#[test]
#[ignore = "minutes"]
fn slow_moves_with_all_rules_are_harmless() {
    let setting = Setting { has_namespaces: true, ..Setting::default() };
    let trial = run(setting, 1, &HEAVY, |trouble, _| slow_moves(trouble));
    assert!(trial.verdict.violations.is_empty(), "{}", trial.verdict);
}

#[test]
#[ignore = "minutes"]
fn timeouts_are_restarted_in_a_move_without_what_was_left() {
    is_missed("lefts", &LOAD, &["late"], |trouble| faults(trouble, ENDS));
}

#[test]
#[ignore = "minutes"]
fn changes_happen_twice_without_the_rule_of_the_retry() {
    is_missed("retry", &HEAVY, &["events", "linearizable"], |trouble| faults(trouble, KILLS));
}

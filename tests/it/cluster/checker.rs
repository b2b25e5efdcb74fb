//! The checker itself: it finds nothing wrong with a registry on one machine, and finds each kind of fault that is put
//! into what was recorded from it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::bench::cluster::{Fault, Setting, run};
use crate::bench::history::{Call, Change, Entry, Listed, Load, Log, Outcome, check};

#[test]
fn checker_accepts_one_node_and_finds_each_seeded_fault() {
    let setting = Setting { is_embedded: true, ..Setting::default() };
    let load = Load { holders: 12, writers: 3 };
    let trial = run(setting, 1, &load, |trouble, _| {
        std::thread::sleep(Duration::from_secs(4)); // clients at work before, between and after the faults
        trouble.one(Fault::KillNode(0), Duration::from_secs(1));
        std::thread::sleep(Duration::from_secs(4));
        trouble.one(Fault::StopNode(0), Duration::from_secs(2));
        std::thread::sleep(Duration::from_secs(4));
    });
    println!("{}", trial.verdict);
    assert!(trial.verdict.violations.is_empty(), "{}", trial.verdict);
    for (what, rule, seed) in SEEDED {
        let mut log = trial.log.clone();
        seed(&mut log);
        let rules: Vec<_> = check(&log).violations.iter().map(|violation| violation.rule).collect();
        assert!(rules.contains(rule), "{what} is not found by {rule:?}, but by {rules:?}");
    }
}

type Seed = fn(&mut Log);

/// What is wrong, the rule that must say so, and how it is put into the log.
const SEEDED: &[(&str, &str, Seed)] = &[
    ("a change without its event", "events", |log| {
        let (account, number) = changed(log, |change| change == Change::Set);
        edit(log, account, |events| events.retain(|event| !sets(event, number)));
    }),
    ("a change with two events", "events", |log| {
        let (account, number) = changed(log, |change| change == Change::Set);
        repeat(log, account, |event| sets(event, number));
    }),
    ("an event of a refused change", "events", |log| {
        let (_, number) = changed(log, |change| change == Change::Set);
        entry(log, |entry| is_change(entry, number)).outcome = Outcome::Denied;
    }),
    ("an event that nobody asked for", "events", |log| {
        let (account, _) = changed(log, |change| change == Change::Set);
        let renumber = |event: &mut Value| event["payload"]["new_value"] = json!("999999");
        edit(log, account, |events| events.iter_mut().filter(|event| is_set(event)).for_each(renumber));
    }),
    ("two timeouts of one holder", "timeout", |log| {
        let (account, id) = timed_out(log);
        repeat(log, account, |event| event["id"] == *id);
    }),
    ("no timeout of a holder that is gone", "timeout", |log| {
        let (account, id) = timed_out(log);
        edit(log, account, |events| events.retain(|event| event["id"] != *id));
    }),
    ("a timeout too early", "early", |log| {
        let (account, id) = timed_out(log);
        let holder = holder(log, account, &id);
        let created = entry(log, |entry| is_change(entry, holder));
        if let Call::Change { change: Change::Create { timeout }, .. } = &mut created.call {
            *timeout = Some(1000);
        }
    }),
    ("a holder that is listed too long", "late", |log| {
        let (account, id) = timed_out(log);
        let holder = holder(log, account, &id);
        let Call::Change { id, .. } = entry(log, |entry| is_change(entry, holder)).call.clone() else { return };
        let last = log.entries.iter().rposition(|entry| matches!(entry.call, Call::Services { .. })).unwrap();
        log.entries[last].account = account;
        log.entries[last].outcome = Outcome::Found(vec![Listed { id, holder, version: holder }]);
    }),
    ("two that hold one id", "twice", |log| {
        let is_beat = |entry: &&Entry| {
            matches!(entry.call, Call::Heartbeat { is_session: false, .. }) && entry.outcome == Outcome::Done
        };
        let beat = log.entries.iter().filter(is_beat).max_by_key(|entry| entry.asked).unwrap().clone();
        let Call::Heartbeat { id, .. } = beat.call.clone() else { return };
        let call = Call::Change { id, number: 999_999, change: Change::Create { timeout: Some(5) } };
        log.entries.push(Entry { call, asked: beat.asked - 2, answered: beat.asked - 1, ..beat });
    }),
    ("a heartbeat of a live holder that is refused", "linearizable", |log| {
        let mut last = log.entries.clone();
        last.sort_by_key(|entry| entry.asked);
        let holder_of = |entry: &Entry| match entry.call {
            Call::Heartbeat { holder, .. } if entry.outcome == Outcome::Done => Some(holder),
            _ => None,
        };
        let holder = last.iter().enumerate().find_map(|(at, entry)| {
            let holder = holder_of(entry)?;
            last[at + 1..].iter().any(|later| holder_of(later) == Some(holder)).then_some(holder)
        });
        entry(log, |entry| holder_of(entry) == holder).outcome = Outcome::Denied;
    }),
    ("a read of an older state", "linearizable", |log| {
        // What was read before, at the end.
        let is_read = |entry: &Entry| matches!(&entry.call, Call::Value { id } if id.starts_with("key-0"));
        let mut reads: Vec<Entry> = log.entries.iter().filter(|entry| is_read(entry)).cloned().collect();
        reads.sort_by_key(|entry| entry.asked);
        let first =
            reads.iter().find(|entry| matches!(&entry.outcome, Outcome::Found(found) if !found.is_empty())).unwrap();
        let differs =
            |entry: &&Entry| entry.account == first.account && entry.call == first.call && entry.asked > first.answered;
        let later = reads
            .iter()
            .filter(differs)
            .rfind(|entry| matches!(&entry.outcome, Outcome::Found(_)) && entry.outcome != first.outcome);
        let (asked, outcome) = (later.unwrap().asked, first.outcome.clone());
        let later = entry(log, |entry| entry.asked == asked);
        later.outcome = outcome;
    }),
    ("an acknowledged change that is lost", "linearizable", |log| {
        let changes: Vec<(usize, u32)> = all_changed(log, |change| change == Change::Set);
        let is_seen = |&(account, number): &(usize, u32)| {
            let seen = log.entries.iter().filter(|entry| entry.account == account).filter(|entry| {
                matches!(&entry.outcome, Outcome::Found(found) if found.iter().any(|listed| is_value(listed, number)))
            });
            let answered = log.entries.iter().find(|entry| is_change(entry, number)).unwrap().answered;
            seen.into_iter().any(|entry| entry.asked > answered)
        };
        let (account, number) = *changes.iter().find(|change| is_seen(change)).unwrap();
        for entry in log.entries.iter_mut().filter(|entry| entry.account == account) {
            if let Outcome::Found(found) = &mut entry.outcome {
                found.retain(|listed| listed.holder != 0 || listed.version != number);
            }
        }
    }),
    ("a node with another order of the feed", "feed", |log| {
        log.feeds[0][0].swap(3, 4);
    }),
    ("ids that do not rise", "rising", |log| {
        log.feeds[0][0].swap(3, 4);
    }),
    ("a page with a gap", "feed", |log| {
        let page = entry(log, |entry| matches!(&entry.outcome, Outcome::Events(page) if page.len() > 2));
        if let Outcome::Events(page) = &mut page.outcome {
            page.remove(1);
        }
    }),
    ("a page that is out of date", "stale", |log| {
        let mut pages: Vec<&mut Entry> =
            log.entries.iter_mut().filter(|entry| matches!(entry.call, Call::Events { .. })).collect();
        pages.sort_by_key(|entry| entry.asked);
        let page = pages.iter_mut().rfind(|entry| matches!(&entry.outcome, Outcome::Events(page) if page.len() > 3));
        if let Outcome::Events(page) = &mut page.unwrap().outcome {
            page.truncate(1);
        }
    }),
    ("events in another order than their changes", "order", |log| {
        // The first and the last change of an account change places.
        let feed = log.feeds[0][0].clone();
        let sets: Vec<&Value> = feed.iter().filter(|event| is_set(event)).collect();
        let (first, last) = (sets[0].clone(), sets[sets.len() - 1].clone());
        edit(log, 0, |events| {
            for event in events {
                let other = if event["id"] == first["id"] { &last } else { &first };
                if event["id"] == first["id"] || event["id"] == last["id"] {
                    event["payload"] = other["payload"].clone();
                }
            }
        });
    }),
    ("an event that does not follow from the one before", "chain", |log| {
        let (account, _) = changed(log, |change| change == Change::Set);
        let mut is_first = true;
        let id =
            log.feeds[account][0].iter().find(|event| is_set(event) && !std::mem::take(&mut is_first)).unwrap()["id"]
                .clone();
        edit(log, account, |events| {
            for event in events.iter_mut().filter(|event| event["id"] == id) {
                event["payload"]["old_value"] = json!("424242");
            }
        });
    }),
    ("an answer that nobody should get", "answer", |log| log.entries[5].outcome = Outcome::Wrong("421".into())),
];

fn is_value(listed: &Listed, number: u32) -> bool {
    listed.holder == 0 && listed.version == number
}

fn is_change(entry: &Entry, wanted: u32) -> bool {
    matches!(entry.call, Call::Change { number, .. } if number == wanted)
}

fn sets(event: &Value, number: u32) -> bool {
    event["payload"]["new_value"].as_str() == Some(&number.to_string())
}

fn is_set(event: &Value) -> bool {
    event["type"] == "configuration_value.update"
}

fn entry(log: &mut Log, is_it: impl Fn(&Entry) -> bool) -> &mut Entry {
    log.entries.iter_mut().find(|entry| is_it(entry)).unwrap()
}

/// Account and number of the changes of a kind that succeeded.
fn all_changed(log: &Log, is_kind: impl Fn(Change) -> bool) -> Vec<(usize, u32)> {
    let number = |entry: &Entry| match entry.call {
        Call::Change { number, change, .. } if entry.outcome == Outcome::Done && is_kind(change) => {
            Some((entry.account, number))
        }
        _ => None,
    };
    log.entries.iter().filter_map(number).collect()
}

fn changed(log: &Log, is_kind: impl Fn(Change) -> bool) -> (usize, u32) {
    all_changed(log, is_kind)[0]
}

/// Account and id of a timeout of a service with heartbeats.
fn timed_out(log: &Log) -> (usize, String) {
    let found = (0..log.accounts).find_map(|account| {
        let event = log.feeds[account][0].iter().find(|event| event["type"] == "service.timeout")?;
        Some((account, event["id"].as_str().unwrap().to_owned()))
    });
    found.unwrap()
}

/// The number of the holder that an event of a service is about.
fn holder(log: &Log, account: usize, id: &str) -> u32 {
    let event = log.feeds[account][0].iter().find(|event| event["id"] == id).unwrap();
    event["payload"]["tags"][0].as_str().unwrap()[1..].parse().unwrap()
}

/// Changes what an account's feed has ever been.
fn edit(log: &mut Log, account: usize, mut change: impl FnMut(&mut Vec<Value>)) {
    log.feeds[account].iter_mut().for_each(&mut change);
    for entry in log.entries.iter_mut().filter(|entry| entry.account == account) {
        if let Outcome::Events(events) = &mut entry.outcome {
            change(events);
        }
    }
}

/// Puts an event into the feed twice. The other has the id that is next.
fn repeat(log: &mut Log, account: usize, is_it: impl Fn(&Value) -> bool) {
    edit(log, account, |events| {
        let Some(at) = events.iter().position(&is_it) else { return };
        let mut again = events[at].clone();
        let id = again["id"].as_str().unwrap();
        let time = u32::from_str_radix(&id[..8], 16).unwrap().wrapping_add(1);
        again["id"] = json!(format!("{time:08x}{}", &id[8..]));
        events.insert(at + 1, again);
    });
}

//! Checks of holders: nobody expires before the timeout after a heartbeat that was answered, no two hold one id, each
//! that sends no more is gone within the bound, and then the feed has one timeout of it.

use std::collections::HashMap;

use super::check::{Violation, bound};
use super::evidence::{Event, Evidence, What};
use super::log::{Call, Change, Entry, Listed, Log, Outcome, SECOND, Time, seconds};

/// Deadlines are whole milliseconds.
const ROUNDING: u64 = SECOND / 1000;
/// How late a request may still take effect whose client has given up: as long as a node may be stopped.
const LATE: u64 = 25 * SECOND;

pub struct Deaths {
    pub violations: Vec<Violation>,
    pub timeouts: usize,
    pub unheard: usize,
}

/// A holder: a session, or a service that sends heartbeats.
struct Holder<'a> {
    number: u32,
    timeout: u64,
    created: &'a Entry,
    heartbeats: Vec<&'a Entry>,
    /// The end of it in the feed.
    ends: Vec<&'a Event>,
    /// By when it was certainly created.
    begun: Time,
}

pub fn check(log: &Log, evidence: &Evidence<'_>) -> Deaths {
    let mut deaths = Deaths { violations: Vec::new(), timeouts: 0, unheard: 0 };
    let mut ends = ends(evidence);
    let mut holders = HashMap::new();
    for (number, heartbeats) in evidence.heartbeats() {
        let Some((timeout, created)) = evidence.timeout(number) else { continue };
        let ends = ends.remove(&number).unwrap_or_default();
        let begun = evidence.window(number).map_or(0, |(_, until)| until);
        holders.insert(number, Holder { number, timeout, created, heartbeats, ends, begun });
    }
    let mut report = |rule, text: String| deaths.violations.push(Violation::new(rule, evidence.account, text));
    for holder in holders.values() {
        if let Some(text) = holder.early() {
            report("early", text);
        }
        if let Some(text) = holder.immortal(log, evidence) {
            report("timeout", text);
        }
    }
    for text in twice(holders.values()).into_iter().chain(late(log, evidence, &holders)) {
        report(if text.starts_with("two") { "twice" } else { "late" }, text);
    }
    let timed_out: Vec<_> = holders.values().filter(|holder| holder.ends.iter().any(|end| is_timeout(end))).collect();
    deaths.timeouts = timed_out.len();
    deaths.unheard = timed_out.iter().filter(|holder| holder.tries()).count();
    deaths
}

/// By holder: the events that end it.
fn ends<'a>(evidence: &'a Evidence<'_>) -> HashMap<u32, Vec<&'a Event>> {
    let mut all: HashMap<u32, Vec<&Event>> = HashMap::new();
    for event in &evidence.events {
        let holder = match &event.what {
            What::Leave { service, .. } | What::Timeout(service) => Some(service.holder),
            What::Timeouts { session: Some(session), .. } | What::Close { session, .. } => {
                evidence.sessions.get(session).copied()
            }
            _ => None,
        };
        if let Some(holder) = holder {
            all.entry(holder).or_default().push(event);
        }
    }
    all
}

fn is_timeout(event: &Event) -> bool {
    matches!(event.what, What::Timeout(_) | What::Timeouts { .. })
}

impl<'a> Holder<'a> {
    fn answered(&self) -> impl Iterator<Item = &'a Entry> {
        self.heartbeats.iter().copied().filter(|entry| entry.outcome == Outcome::Done)
    }

    /// A timeout too early.
    fn early(&self) -> Option<String> {
        let end = self.ends.iter().find(|end| is_timeout(end))?;
        let last = self.answered().max_by_key(|entry| entry.asked)?;
        let due = last.asked + self.timeout;
        (end.seen.saturating_add(ROUNDING) < due).then(|| {
            let (seen, due) = (seconds(end.seen), seconds(due));
            format!("{} was seen at {seen}, before {due}, after {}", end.raw, last)
        })
    }

    /// From when on it counts as dead: the last time at which it may have been heard.
    fn last_heard(&self) -> Time {
        let heard = |entry: &&Entry| match entry.outcome {
            Outcome::Done | Outcome::Unavailable => entry.answered,
            Outcome::Unclear => entry.answered + LATE,
            _ => 0,
        };
        self.heartbeats.iter().map(heard).max().unwrap_or(0).max(self.begun)
    }

    /// Without an end although it is long dead, or with more than one.
    fn immortal(&self, log: &Log, evidence: &Evidence<'_>) -> Option<String> {
        let end_of_log = evidence.entries.iter().map(|entry| entry.asked).max().unwrap_or(0);
        let created = self.created;
        if self.ends.len() > 1 {
            let ends: Vec<_> = self.ends.iter().map(|end| end.raw.to_string()).collect();
            return Some(format!("{} ends of {created}: {}", ends.len(), ends.join(", ")));
        }
        let has_begun = evidence.effects.contains_key(&self.number);
        // A session without a service leaves an event that does not say which one it was.
        let is_told = !matches!(self.created.call, Call::Change { change: Change::Open { .. }, .. })
            || evidence.session_of.values().any(|session| evidence.sessions.get(session) == Some(&self.number));
        let is_over = self.begun < Time::MAX && bound(log, self.last_heard(), self.timeout) < end_of_log;
        (self.ends.is_empty() && has_begun && is_told && is_over).then(|| {
            let last = seconds(self.last_heard());
            format!("no end in the feed of {created}, last heard at {last}")
        })
    }

    /// Whether it has never left more than half of its timeout without trying to send a heartbeat.
    fn tries(&self) -> bool {
        let end = self.ends.first().map_or(Time::MAX, |end| end.seen);
        let asked: Vec<Time> = self.heartbeats.iter().map(|entry| entry.asked).filter(|asked| *asked < end).collect();
        let pauses = asked.windows(2).map(|pair| pair[1] - pair[0]);
        let last = asked.last().map_or(0, |last| end.saturating_sub(*last));
        pauses.chain([last]).all(|pause| pause < self.timeout * 7 / 10)
    }
}

/// Two that held one id and were both answered in overlapping times.
fn twice<'a>(holders: impl Iterator<Item = &'a Holder<'a>>) -> Vec<String> {
    let mut by_id: HashMap<&str, Vec<&Holder<'_>>> = HashMap::new();
    for holder in holders.filter(|holder| holder.created.outcome == Outcome::Done) {
        if let Call::Change { id, .. } = &holder.created.call {
            by_id.entry(id).or_default().push(holder);
        }
    }
    let mut found = Vec::new();
    for rivals in by_id.values_mut() {
        rivals.sort_by_key(|holder| holder.created.asked);
        for pair in rivals.windows(2) {
            let last = pair[0].answered().max_by_key(|entry| entry.asked);
            if let Some(last) = last.filter(|last| last.asked > pair[1].created.answered) {
                let (first, second) = (pair[0].created, pair[1].created);
                found.push(format!("two hold one id: {first} was answered by {}, after {second}", last));
            }
        }
    }
    found
}

/// Those that are listed after their bound.
fn late(log: &Log, evidence: &Evidence<'_>, holders: &HashMap<u32, Holder<'_>>) -> Vec<String> {
    let bounds: HashMap<u32, Time> =
        holders.values().map(|holder| (holder.number, bound(log, holder.last_heard(), holder.timeout))).collect();
    let holder_of = |listed: &Listed| {
        let session = evidence.session_of.get(&listed.holder).and_then(|session| evidence.sessions.get(session));
        session.copied().unwrap_or(listed.holder)
    };
    let mut found: HashMap<u32, String> = HashMap::new();
    for entry in &evidence.entries {
        let Outcome::Found(all) = &entry.outcome else { continue };
        for listed in all.iter().filter(|listed| listed.holder != 0) {
            let holder = holder_of(listed);
            if let Some(bound) = bounds.get(&holder).filter(|bound| **bound < entry.asked) {
                let node = entry.node;
                found.entry(holder).or_insert_with(|| {
                    let (asked, bound) = (seconds(entry.asked), seconds(*bound));
                    let created = holders[&holder].created;
                    let last = seconds(holders[&holder].last_heard());
                    let listed = format!("{listed:?} at node {node}, asked at {asked}");
                    format!("{listed}, should be gone by {bound}: {created}, last heard at {last}")
                });
            }
        }
    }
    found.into_values().collect()
}

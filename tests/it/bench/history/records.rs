//! Checks of each service, session and configuration value: its history is linearizable, and so is the chain of its
//! events.

use std::collections::{BTreeMap, HashSet};

use super::check::Violation;
use super::evidence::{Event, Evidence, What};
use super::log::{Call, Change, Entry, Listed, Outcome, Time, seconds};
use crate::bench::linear::{Act, Operation, is_linearizable};

/// A record: its kind, and its id.
type Record<'a> = (&'static str, &'a str);

const SERVICE: &str = "service";
const SESSION: &str = "session";
const VALUE: &str = "value";

/// What was done to a record, with the text of a report about it.
struct Step {
    operation: Operation,
    text: String,
}

pub fn check(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut histories = Histories { evidence, all: BTreeMap::new() };
    for entry in &evidence.entries {
        histories.add(entry);
    }
    for event in &evidence.events {
        histories.add_end(event);
    }
    let mut found = chains(evidence);
    for ((kind, id), mut steps) in histories.all {
        steps.sort_by_key(|step| step.operation.asked);
        if let Some(excerpt) = contradiction(&steps) {
            found.push(Violation::new("linearizable", evidence.account, format!("{kind} {id}:\n{excerpt}")));
        }
    }
    found
}

struct Histories<'a> {
    evidence: &'a Evidence<'a>,
    all: BTreeMap<Record<'a>, Vec<Step>>,
}

impl<'a> Histories<'a> {
    fn push(&mut self, record: Record<'a>, window: (Time, Time), act: Act, text: impl FnOnce() -> String) {
        let operation = Operation::new(window.0, Some(window.1), act);
        self.all.entry(record).or_default().push(Step { operation, text: text() });
    }

    fn add(&mut self, entry: &'a Entry) {
        let window = (entry.asked, entry.answered);
        let text = || entry.to_string();
        match (&entry.call, &entry.outcome) {
            (Call::Change { id, number, change }, Outcome::Denied) => {
                let act = if matches!(change, Change::Create { timeout: Some(_) }) {
                    Act::Find
                } else if matches!(change, Change::Create { .. }) {
                    return; // the session or the service
                } else {
                    Act::Read(None)
                };
                let _ = number;
                self.push((kind(*change), id), window, act, text);
            }
            (Call::Change { number, change, .. }, _) => self.add_change(entry, *number, *change),
            (Call::Heartbeat { id, holder, is_session }, outcome) => {
                let record = (if *is_session { SESSION } else { SERVICE }, id.as_str());
                match outcome {
                    Outcome::Done => self.push(record, window, Act::Hold(*holder), text),
                    Outcome::Denied => self.push(record, window, Act::Miss(*holder), text),
                    _ => {}
                }
            }
            (Call::Service { id }, Outcome::Found(found)) => self.read((SERVICE, id), entry, found),
            (Call::Value { id }, Outcome::Found(found)) => self.read((VALUE, id), entry, found),
            (Call::Services { known }, Outcome::Found(found)) => self.read_list(SERVICE, entry, known, found),
            (Call::Values { known }, Outcome::Found(found)) => self.read_list(VALUE, entry, known, found),
            (Call::Sessions, Outcome::Found(found)) => self.read_list(SESSION, entry, &[], found),
            _ => {}
        }
    }

    fn add_change(&mut self, entry: &'a Entry, number: u32, change: Change) {
        let Call::Change { id, .. } = &entry.call else { return };
        let Some(window) = self.evidence.window(number) else { return };
        let content = u64::from(number);
        let first = content << 32 | content;
        let act = match change {
            Change::Open { .. } | Change::Create { .. } => Act::Create(first),
            Change::Update => Act::Update(content),
            Change::Set => Act::Set(content),
            Change::Close | Change::Delete | Change::Remove => Act::Remove,
        };
        let id = if id.is_empty() { self.session(number) } else { Some(id.as_str()) };
        if let Some(id) = id {
            self.push((kind(change), id), window, act, || format!("{}, effective by {}", entry, seconds(window.1)));
        }
    }

    /// The id of a session whose opening was not answered.
    fn session(&self, number: u32) -> Option<&'a str> {
        self.evidence.sessions.iter().find(|(_, opened)| **opened == number).map(|(id, _)| id.as_str())
    }

    fn read(&mut self, record: Record<'a>, entry: &'a Entry, found: &[Listed]) {
        let content = found.first().map(Listed::content);
        self.push(record, (entry.asked, entry.answered), Act::Read(content), || entry.to_string());
    }

    /// A list is a read of every record that could be in it.
    fn read_list(&mut self, kind: &'static str, entry: &'a Entry, known: &'a [String], found: &'a [Listed]) {
        let text = |content: Option<u64>| {
            let call = match entry.call {
                Call::Services { .. } => "Services",
                Call::Values { .. } => "Values",
                _ => "Sessions",
            };
            let (asked, answered) = (seconds(entry.asked), seconds(entry.answered));
            let content = content.map(|content| (content >> 32, content & u64::from(u32::MAX)));
            format!("[{asked} to {answered}] node {}: {call} has {content:?}", entry.node)
        };
        let window = (entry.asked, entry.answered);
        let listed: HashSet<&str> = found.iter().map(|listed| listed.id.as_str()).collect();
        for one in found {
            let content = Some(one.content());
            self.push((kind, &one.id), window, Act::Read(content), || text(content));
        }
        for id in known.iter().filter(|id| !listed.contains(id.as_str())) {
            self.push((kind, id), window, Act::Read(None), || text(None));
        }
    }

    /// What no change of a client did: a timeout, or the end of a service with its session.
    fn add_end(&mut self, event: &'a Event) {
        let ended = |listed: &'a Listed| ((SERVICE, listed.id.as_str()), listed.holder);
        let text = || format!("[until {}] event {}", seconds(event.seen), event.raw);
        let from = |evidence: &Evidence<'_>, holder: u32| evidence.changes.get(&holder).map_or(0, |entry| entry.asked);
        let mut ends: Vec<(Record<'a>, u32)> = match &event.what {
            What::Timeout(service) | What::Leave { service, by: None } => vec![ended(service)],
            What::Timeouts { services, .. } => services.iter().map(ended).collect(),
            _ => Vec::new(),
        };
        if let What::Timeouts { session: Some(session), .. } = &event.what {
            let opened = self.evidence.sessions.get(session);
            ends.extend(opened.map(|number| ((SESSION, session.as_str()), *number)));
        }
        for (record, holder) in ends {
            let window = (from(self.evidence, holder), event.seen);
            self.push(record, window, Act::Expire(holder), text);
        }
    }
}

fn kind(change: Change) -> &'static str {
    match change {
        Change::Open { .. } | Change::Close => SESSION,
        Change::Create { .. } | Change::Update | Change::Delete => SERVICE,
        Change::Set | Change::Remove => VALUE,
    }
}

/// The end of the shortest part of a history that cannot have happened.
fn contradiction(steps: &[Step]) -> Option<String> {
    let operations: Vec<Operation> = steps.iter().map(|step| step.operation).collect();
    if is_linearizable(&operations) {
        return None;
    }
    let (mut possible, mut impossible) = (0, operations.len());
    while impossible - possible > 1 {
        let middle = usize::midpoint(possible, impossible);
        if is_linearizable(&operations[..middle]) {
            possible = middle;
        } else {
            impossible = middle;
        }
    }
    Some(steps[impossible.saturating_sub(16)..impossible].iter().map(|step| format!("    {}\n", step.text)).collect())
}

/// The events of each record follow from each other.
fn chains(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut services: BTreeMap<&str, &Listed> = BTreeMap::new();
    let mut values: BTreeMap<&str, u32> = BTreeMap::new();
    let mut sessions: HashSet<&str> = HashSet::new();
    let mut found = Vec::new();
    for event in &evidence.events {
        let is_right = match &event.what {
            What::Join(service) => services.insert(&service.id, service).is_none(),
            What::Update { old, new } => {
                old.holder == new.holder && services.insert(&new.id, new).is_some_and(|before| before == old)
            }
            What::Leave { service, .. } | What::Timeout(service) => {
                services.remove(service.id.as_str()) == Some(service)
            }
            What::Timeouts { session, services: ended } => {
                session.as_deref().is_none_or(|session| sessions.remove(session))
                    && ended.iter().all(|service| services.remove(service.id.as_str()) == Some(service))
            }
            What::Open { session, .. } => sessions.insert(session),
            What::Close { session, .. } => sessions.remove(session.as_str()),
            What::Set { id, old, new } => values.insert(id, *new) == *old,
            What::Remove { id, old, .. } => values.remove(id.as_str()) == Some(*old),
            What::Unknown => true,
        };
        if !is_right {
            let text = format!("does not follow from the events before it: {}", event.raw);
            found.push(Violation::new("chain", evidence.account, text));
        }
    }
    found
}

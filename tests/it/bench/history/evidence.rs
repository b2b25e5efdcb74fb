//! The log and the feed put together: which change has which event, when the event was first seen, and so in which
//! time each change took effect.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::caller::listed;
use super::log::{Call, Change, Entry, Listed, Log, Outcome, Time};

/// An event of the feed, read.
pub struct Event {
    pub id: String,
    pub what: What,
    /// When a client first had it in an answer.
    pub seen: Time,
    pub raw: Value,
}

#[derive(Debug)]
pub enum What {
    Join(Listed),
    Update {
        old: Listed,
        new: Listed,
    },
    /// The change that did it, if the event has a reason; otherwise it went with its session.
    Leave {
        service: Listed,
        by: Option<u32>,
    },
    Timeout(Listed),
    /// A session's services.
    Timeouts {
        session: Option<String>,
        services: Vec<Listed>,
    },
    Open {
        session: String,
        number: u32,
    },
    Close {
        session: String,
        by: Option<u32>,
    },
    Set {
        id: String,
        old: Option<u32>,
        new: u32,
    },
    Remove {
        id: String,
        old: u32,
        by: Option<u32>,
    },
    Unknown,
}

/// All that is known of an account.
pub struct Evidence<'a> {
    pub account: usize,
    /// In the order of the feed.
    pub events: Vec<Event>,
    pub entries: Vec<&'a Entry>,
    /// Of the changes, by number: the entry.
    pub changes: BTreeMap<u32, &'a Entry>,
    /// Of the events that stand for a change: its number, and the places in the feed.
    pub effects: HashMap<u32, Vec<usize>>,
    /// By session: the number of the change that opened it.
    pub sessions: HashMap<String, u32>,
    /// By number of a service in a session: the session.
    pub session_of: HashMap<u32, String>,
}

impl<'a> Evidence<'a> {
    pub fn of(log: &'a Log, account: usize) -> Self {
        let mut entries: Vec<&Entry> = log.entries.iter().filter(|entry| entry.account == account).collect();
        entries.sort_by_key(|entry| entry.asked);
        let events = events(log, account, &entries);
        let number = |entry: &&'a Entry| match entry.call {
            Call::Change { number, .. } => Some((number, *entry)),
            _ => None,
        };
        let changes = entries.iter().filter_map(number).collect();
        let mut all = Self {
            account,
            events,
            entries,
            changes,
            effects: HashMap::new(),
            sessions: HashMap::new(),
            session_of: HashMap::new(),
        };
        all.connect();
        all
    }

    fn connect(&mut self) {
        for (place, event) in self.events.iter().enumerate() {
            if let Some(number) = event.what.change() {
                self.effects.entry(number).or_default().push(place);
            }
            if let What::Open { session, number } = &event.what {
                self.sessions.insert(session.clone(), *number);
            }
            if let (What::Join(service), Some(session)) = (&event.what, event.raw["payload"]["session_id"].as_str()) {
                self.session_of.insert(service.holder, session.to_owned());
            }
        }
    }

    /// From when on, and until when at the latest, a change took effect; none if it did not.
    pub fn window(&self, number: u32) -> Option<(Time, Time)> {
        let entry = self.changes.get(&number)?;
        let seen = self.effects.get(&number).map(|places| self.events[places[0]].seen);
        match entry.outcome {
            Outcome::Done => Some((entry.asked, seen.map_or(entry.answered, |seen| seen.min(entry.answered)))),
            _ => Some((entry.asked, seen?)),
        }
    }

    /// The timeout of a holder in nanoseconds, and its creation.
    pub fn timeout(&self, holder: u32) -> Option<(u64, &'a Entry)> {
        let entry = *self.changes.get(&holder)?;
        match entry.call {
            Call::Change { change: Change::Open { timeout } | Change::Create { timeout: Some(timeout) }, .. } => {
                Some((u64::from(timeout) * super::log::SECOND, entry))
            }
            _ => None,
        }
    }

    /// The entries about a holder: its creation, its heartbeats.
    pub fn heartbeats(&self) -> HashMap<u32, Vec<&'a Entry>> {
        let mut all: HashMap<u32, Vec<&Entry>> = HashMap::new();
        for entry in &self.entries {
            match entry.call {
                Call::Heartbeat { holder, .. } => all.entry(holder).or_default().push(entry),
                Call::Change { number, change: Change::Open { .. } | Change::Create { timeout: Some(_) }, .. } => {
                    all.entry(number).or_default().push(entry);
                }
                _ => {}
            }
        }
        all
    }
}

/// Every event that anybody has seen, in the order of the ids.
fn events(log: &Log, account: usize, entries: &[&Entry]) -> Vec<Event> {
    let mut all: BTreeMap<(u64, String), (Time, &Value)> = BTreeMap::new();
    let mut add = |seen: Time, event| {
        let known = all.entry(order(id(event))).or_insert((seen, event));
        known.0 = known.0.min(seen);
    };
    for entry in entries {
        if let Outcome::Events(events) = &entry.outcome {
            events.iter().for_each(|event| add(entry.answered, event));
        }
    }
    for event in log.feeds[account].iter().flatten() {
        add(Time::MAX, event);
    }
    let event = |((_, id), (seen, raw)): ((u64, String), (Time, &Value))| {
        let what = What::of(raw).unwrap_or(What::Unknown);
        Event { id, what, seen, raw: raw.clone() }
    };
    all.into_iter().map(event).collect()
}

pub fn id(event: &Value) -> &str {
    event["id"].as_str().unwrap_or_default()
}

/// The order of the ids: by time, then by the rest.
pub fn order(id: &str) -> (u64, String) {
    let part = |from, to| id.get(from..to).and_then(|part| u64::from_str_radix(part, 16).ok()).unwrap_or_default();
    ((part(14, 18) & 0xfff) << 48 | part(9, 13) << 32 | part(0, 8), id.to_owned())
}

impl What {
    fn of(event: &Value) -> Option<Self> {
        let payload = &event["payload"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let number = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
        let by = number(&event["reason"]);
        Some(match event["type"].as_str()? {
            "service.join" => Self::Join(listed(payload)?),
            "service.update" => Self::Update { old: listed(&payload["old"])?, new: listed(payload)? },
            "service.remove" => Self::Leave { service: listed(payload)?, by: by.filter(|_| is_deregistered(event)) },
            "service.timeout" => Self::Timeout(listed(payload)?),
            "services.timeout" => Self::Timeouts {
                session: text(&payload[0]["session_id"]),
                services: payload.as_array()?.iter().map(listed).collect::<Option<_>>()?,
            },
            "session.create" => {
                Self::Open { session: text(&payload["id"])?, number: number(&payload["metadata"]["v"])? }
            }
            "session.remove" => Self::Close { session: text(&payload["id"])?, by },
            "configuration_value.update" => Self::Set {
                id: text(&payload["configuration_value_id"])?,
                old: number(&payload["old_value"]),
                new: number(&payload["new_value"])?,
            },
            "configuration_value.remove" => {
                Self::Remove { id: text(&payload["configuration_value_id"])?, old: number(&payload["old_value"])?, by }
            }
            _ => return None,
        })
    }

    /// The number of the change that this is the event of.
    pub fn change(&self) -> Option<u32> {
        match self {
            Self::Join(service) => Some(service.holder),
            Self::Update { new, .. } => Some(new.version),
            Self::Open { number, .. } | Self::Set { new: number, .. } => Some(*number),
            Self::Leave { by, .. } | Self::Close { by, .. } | Self::Remove { by, .. } => *by,
            Self::Timeout(_) | Self::Timeouts { .. } | Self::Unknown => None,
        }
    }
}

fn is_deregistered(event: &Value) -> bool {
    event["cause"] == "deregistered"
}

//! What is written down of each request, by the harness's own clock.

use std::fmt;

use serde_json::Value;

/// Nanoseconds since the start of the world.
pub type Time = u64;

pub const SECOND: Time = 1_000_000_000;

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    pub node: usize,
    pub account: usize,
    pub asked: Time,
    /// When the answer was there, or the client gave up.
    pub answered: Time,
    pub call: Call,
    pub outcome: Outcome,
}

/// What was asked for. A change has a number that no other change has, and that its event contains: as the `v` in the
/// metadata, as the value, or as the reason of a removal.
#[derive(Clone, Debug, PartialEq)]
pub enum Call {
    Change {
        id: String,
        number: u32,
        change: Change,
    },
    /// Of the holder that this number created.
    Heartbeat {
        id: String,
        holder: u32,
        is_session: bool,
    },
    Service {
        id: String,
    },
    Value {
        id: String,
    },
    /// All services, and the ids of which it is known that they are meant, should they not be listed.
    Services {
        known: Vec<String>,
    },
    Values {
        known: Vec<String>,
    },
    Sessions,
    /// The events after this one; or, if it is repeated, from this one on.
    Events {
        marker: String,
        is_repeated: bool,
    },
    /// An event of a stream that has begun after an event.
    Stream {
        marker: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// A session; its id is that of the call once it is known.
    Open {
        timeout: u32,
    },
    Close,
    /// A service that sends heartbeats (seconds), or has a session.
    Create {
        timeout: Option<u32>,
    },
    Update,
    Delete,
    Set,
    Remove,
}

/// A service, a session or a value in an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    pub id: String,
    /// The number of the change that created it; 0 for values.
    pub holder: u32,
    /// The number of its last change.
    pub version: u32,
}

impl Listed {
    pub fn content(&self) -> u64 {
        u64::from(self.holder) << 32 | u64::from(self.version)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Success.
    Done,
    /// What was read.
    Found(Vec<Listed>),
    /// Events.
    Events(Vec<Value>),
    /// 400 or 404: the state did not allow it.
    Denied,
    /// 503. A change may have happened.
    Unavailable,
    /// No answer, or not a whole one.
    Unclear,
    /// It has never reached a node.
    NotSent,
    /// An answer that nobody should get.
    Wrong(String),
}

/// A session or a service that is held, and the newest token that its holder knows.
#[derive(Clone, Debug)]
pub struct Lease {
    pub account: usize,
    pub id: String,
    pub holder: u32,
    pub is_session: bool,
    /// In seconds.
    pub timeout: u32,
    pub token: String,
}

/// All that happened.
#[derive(Clone, Debug, Default)]
pub struct Log {
    pub accounts: usize,
    pub entries: Vec<Entry>,
    /// The last events that each node had at the end: by account, then by node.
    pub feeds: Vec<Vec<Vec<Value>>>,
    /// Times in which something was broken on purpose.
    pub faults: Vec<Disturbance>,
    /// Whether the nodes have different clocks: then an event may get another timestamp when another node takes over.
    pub has_clocks: bool,
}

/// A fault, and how long it lasted.
#[derive(Clone, Debug)]
pub struct Disturbance {
    pub what: String,
    pub from: Time,
    pub until: Time,
    pub effect: Effect,
}

/// What it does to deadlines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Effect {
    /// None: a planned restart, another clock.
    None,
    /// Another node takes over while it lasts.
    Takeover,
    /// Nothing can be written until it ends.
    Standstill,
    /// The machine had no time for the harness, nor for the nodes: a node that was not run forgives the time.
    Stall,
}

/// In seconds.
pub fn seconds(time: Time) -> String {
    if time == Time::MAX {
        return "the end".into();
    }
    format!("{}.{:06}", time / SECOND, time % SECOND / 1000)
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, account, asked, answered, call, outcome } = self;
        write!(f, "[{} to {}] account {account} node {node}: {call:?}: ", seconds(*asked), seconds(*answered))?;
        match outcome {
            Outcome::Events(events) if events.len() > 3 => write!(f, "{} events", events.len()),
            Outcome::Events(events) => {
                events.iter().try_for_each(|event| write!(f, "{} {} {};", event["id"], event["type"], event["payload"]))
            }
            other => write!(f, "{other:?}"),
        }
    }
}

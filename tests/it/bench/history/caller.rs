//! A client: sends requests to the nodes and writes down what came of each.

use std::time::Duration;

use serde_json::{Value, json};

use super::line::{Answer, Line, Reply};
use super::log::{Call, Change, Entry, Lease, Listed, Outcome};
use super::world::{Account, World};

/// How long a client that is in no hurry waits for an answer. A node that cannot answer says so after five seconds.
pub const LIMIT: Duration = Duration::from_secs(8);

/// A client's connections: one to each node.
pub struct Caller<'a> {
    pub world: &'a World,
    lines: Vec<Line>,
    /// Where it asks next.
    pub node: usize,
}

/// What a client needs to know of an answer.
pub struct Said {
    pub outcome: Outcome,
    /// Of the session that was opened.
    pub id: String,
    pub token: Option<String>,
    pub next_marker: Option<String>,
}

/// What a request has besides the call.
#[derive(Clone, Copy, Default)]
pub struct With<'a> {
    pub token: &'a str,
    pub session: Option<&'a str>,
    pub wait: u64,
}

impl<'a> Caller<'a> {
    pub fn new(world: &'a World, node: usize) -> Self {
        let lines = world.nodes.iter().map(|node| Line::new(*node)).collect();
        Self { world, lines, node: node % world.nodes.len() }
    }

    /// Goes on at the next node.
    pub fn fail_over(&mut self) {
        self.node = (self.node + 1) % self.lines.len();
    }

    pub fn ask(&mut self, account: usize, call: Call) -> Said {
        self.ask_with(account, call, With::default(), LIMIT)
    }

    pub fn ask_with(&mut self, account: usize, call: Call, with: With<'_>, limit: Duration) -> Said {
        let (entry, said) = self.send(account, call, with, limit);
        self.world.note(entry);
        said
    }

    /// Sends a heartbeat that another client could send. Its token may be used up, so a refusal says nothing.
    pub fn ask_for_another(&mut self, lease: &Lease, limit: Duration) {
        let Lease { account, id, holder, is_session, token, .. } = lease;
        let call = Call::Heartbeat { id: id.clone(), holder: *holder, is_session: *is_session };
        let (entry, said) = self.send(*account, call, With { token, ..With::default() }, limit);
        if said.outcome != Outcome::Denied {
            self.world.note(entry);
        }
    }

    fn send(&mut self, account: usize, mut call: Call, with: With<'_>, limit: Duration) -> (Entry, Said) {
        let node = self.node;
        let Account { root, token, .. } = &self.world.accounts[account];
        let (method, path, body) = request(&call, with);
        let asked = self.world.now();
        let reply = self.lines[node].ask(method, &format!("{root}{path}"), token, &body, limit);
        let answered = self.world.now();
        let (outcome, answer) = match reply {
            Reply::NotSent => (Outcome::NotSent, None),
            Reply::Unclear => (Outcome::Unclear, None),
            Reply::Answer(answer) => (outcome(&call, &answer), Some(answer)),
        };
        let mut said = Said { outcome, id: String::new(), token: None, next_marker: None };
        if let Some(answer) = answer {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            said.token = text(&answer.body["token"]);
            said.next_marker = text(&answer.body["metadata"]["next_marker"]);
            // The registry chooses the id of a session.
            if let Call::Change { id, change: Change::Open { .. }, .. } = &mut call
                && let Some(location) = &answer.location
            {
                *id = location.rsplit('/').next().unwrap().to_owned();
                said.id.clone_from(id);
            }
        }
        (Entry { node, account, asked, answered, call, outcome: said.outcome.clone() }, said)
    }
}

/// Whether this node answers a read and a change of every account.
pub fn is_served(world: &World, node: usize) -> bool {
    let mut caller = Caller::new(world, node);
    let id = || "probe".to_owned();
    (0..world.accounts.len()).all(|account| {
        let set = Call::Change { id: id(), number: world.number(), change: Change::Set };
        matches!(caller.ask(account, Call::Value { id: id() }).outcome, Outcome::Found(_))
            && caller.ask(account, set).outcome == Outcome::Done
    })
}

/// Method, path and body.
fn request(call: &Call, with: With<'_>) -> (&'static str, String, Value) {
    let beat = || json!({ "token": with.token });
    let wait = with.wait;
    match call {
        Call::Change { id, number, change } => change_request(id, *number, *change, with.session),
        Call::Heartbeat { id, is_session: true, .. } => ("POST", format!("/sessions/{id}/heartbeat"), beat()),
        Call::Heartbeat { id, .. } => ("POST", format!("/services/{id}/heartbeat"), beat()),
        Call::Service { id } => ("GET", format!("/services/{id}"), Value::Null),
        Call::Value { id } => ("GET", format!("/configuration/{id}"), Value::Null),
        Call::Services { .. } => ("GET", "/services?limit=1000".into(), Value::Null),
        Call::Values { .. } => ("GET", "/configuration?limit=1000".into(), Value::Null),
        Call::Sessions => ("GET", "/sessions?limit=1000".into(), Value::Null),
        Call::Events { marker, is_repeated: true } => {
            ("GET", format!("/events?limit=1000&extended=true&marker={marker}"), Value::Null)
        }
        Call::Events { marker, .. } => {
            ("GET", format!("/events?limit=1000&extended=true&wait={wait}&marker={marker}"), Value::Null)
        }
        Call::Stream { marker } => ("GET", format!("/events?extended=true&marker={marker}"), Value::Null),
    }
}

fn change_request(id: &str, number: u32, change: Change, session: Option<&str>) -> (&'static str, String, Value) {
    let metadata = json!({ "v": number.to_string() });
    let tags = [format!("i{number}")];
    match change {
        Change::Open { timeout } => {
            ("POST", "/sessions".into(), json!({"heartbeat_timeout": timeout, "metadata": metadata}))
        }
        Change::Close => ("DELETE", format!("/sessions/{id}?reason={number}"), Value::Null),
        Change::Create { timeout: Some(timeout) } => {
            let body = json!({"id": id, "heartbeat_timeout": timeout, "tags": tags, "metadata": metadata});
            ("POST", "/services".into(), body)
        }
        Change::Create { timeout: None } => {
            ("POST", "/services".into(), json!({"id": id, "session_id": session, "tags": tags, "metadata": metadata}))
        }
        Change::Update => ("PUT", format!("/services/{id}"), json!({ "metadata": metadata })),
        Change::Delete => ("DELETE", format!("/services/{id}?reason={number}"), Value::Null),
        Change::Set => ("PUT", format!("/configuration/{id}"), json!({ "value": number.to_string() })),
        Change::Remove => ("DELETE", format!("/configuration/{id}?reason={number}"), Value::Null),
    }
}

fn outcome(call: &Call, answer: &Answer) -> Outcome {
    let values = || answer.body["values"].as_array().cloned().unwrap_or_default();
    let listed = |values: Vec<Value>| values.iter().map(listed).collect::<Option<Vec<_>>>();
    let found = match (answer.status, call) {
        (503, _) => return Outcome::Unavailable,
        (404, Call::Service { .. } | Call::Value { .. }) => Some(Vec::new()),
        (404, Call::Change { .. } | Call::Heartbeat { .. }) => return Outcome::Denied,
        (400, Call::Change { change: Change::Create { .. }, .. }) if is_taken(answer) => return Outcome::Denied,
        (200, Call::Heartbeat { .. }) | (201 | 204, Call::Change { .. }) => return Outcome::Done,
        (200, Call::Service { .. } | Call::Value { .. }) => listed(vec![answer.body.clone()]),
        (200, Call::Services { .. } | Call::Values { .. } | Call::Sessions) => listed(values()),
        (200, Call::Events { .. }) => return Outcome::Events(values()),
        _ => None,
    };
    found.map_or_else(|| Outcome::Wrong(format!("{} {}", answer.status, answer.body)), Outcome::Found)
}

fn is_taken(answer: &Answer) -> bool {
    answer.body["type"] == "serviceWithThisIdExists"
}

/// A service, session or value, as the harness has written it.
pub fn listed(value: &Value) -> Option<Listed> {
    let number = |value: &Value| value.as_str()?.parse().ok();
    let id = value["id"].as_str()?.to_owned();
    if value.get("value").is_some() {
        return Some(Listed { id, holder: 0, version: number(&value["value"])? });
    }
    let version = number(&value["metadata"]["v"])?;
    let holder = match value["tags"][0].as_str() {
        Some(tag) => tag.strip_prefix('i')?.parse().ok()?,
        None => version, // a session, which is never changed
    };
    Some(Listed { id, holder, version })
}

//! What all clients share: the nodes, the accounts, the clock, the numbers of changes and the log.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::line::{Line, Reply};
use super::log::{Call, Disturbance, Effect, Entry, Lease, Log, Outcome, SECOND, Time};

/// How long the contested ids are the same. Then others are used, so that the history of each stays short.
const ROUND: Time = 20 * SECOND;
/// How many services and how many values of an account clients contend for.
const CONTESTED: usize = 3;

/// How long somebody may still send a heartbeat for a lease that was left.
const LEFT: Time = 20 * SECOND;

/// How long the thread sleeps that notices stalls, and how late it may be.
const TICK: Duration = Duration::from_millis(20);
const LATE: Time = SECOND / 20;

/// How many clients of each kind there are.
pub struct Load {
    pub holders: usize,
    pub writers: usize,
}

pub struct World {
    pub nodes: Vec<SocketAddr>,
    pub accounts: Vec<Account>,
    pub seed: u64,
    /// Whether the nodes have different clocks.
    pub has_clocks: bool,
    start: Instant,
    last_number: AtomicU32,
    is_closing: AtomicBool,
    is_over: AtomicBool,
    entries: Mutex<Vec<Entry>>,
    faults: Mutex<Vec<Disturbance>>,
    leases: Mutex<Vec<(Time, Lease)>>,
}

pub struct Account {
    pub root: String,
    pub token: String,
    /// The position in the feed before everything that happens.
    pub marker: String,
}

impl World {
    /// A users file with as many accounts.
    pub fn users(accounts: usize) -> String {
        let user =
            |number| format!("[[user]]\nname = \"user{number}\"\ntenant = {}\napi_key = \"key\"\n", 100 + number);
        (0..accounts).map(user).collect()
    }

    /// The world of a registry with this users file. All nodes must answer.
    pub fn new(nodes: Vec<SocketAddr>, accounts: usize, seed: u64, has_clocks: bool) -> Self {
        let accounts = (0..accounts).map(|number| Account::log_in(&nodes, number)).collect();
        Self {
            nodes,
            accounts,
            seed,
            has_clocks,
            start: Instant::now(),
            last_number: AtomicU32::new(0),
            is_closing: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
            entries: Mutex::default(),
            faults: Mutex::default(),
            leases: Mutex::default(),
        }
    }

    pub fn now(&self) -> Time {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    pub fn number(&self) -> u32 {
        self.last_number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Whether holders and writers end. The others go on to see what becomes of what was held.
    pub fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }

    pub fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub fn random(&self, client: usize) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed.wrapping_mul(1000).wrapping_add(client as u64))
    }

    /// The pause between two requests of a client that goes on to the end.
    pub fn pause(&self, seconds: f64) {
        self.pause_until(seconds, || self.is_over());
    }

    /// The pause between two requests of a holder or a writer.
    pub fn pause_unless_closing(&self, seconds: f64) {
        self.pause_until(seconds, || self.is_closing());
    }

    fn pause_until(&self, seconds: f64, is_enough: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs_f64(seconds);
        while !is_enough() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// The ids of services or values that clients contend for now.
    pub fn contested(&self, kind: &str) -> Vec<String> {
        let round = self.now() / ROUND;
        (0..CONTESTED).map(|number| format!("{kind}-{round}-{number}")).collect()
    }

    /// Those of now and of the round before.
    pub fn known(&self, kind: &str) -> Vec<String> {
        let round = self.now() / ROUND;
        let rounds = round.saturating_sub(1)..=round;
        rounds.flat_map(|round| (0..CONTESTED).map(move |number| format!("{kind}-{round}-{number}"))).collect()
    }

    /// Leaves a lease to its timeout.
    pub fn leave(&self, lease: Lease) {
        let now = self.now();
        let mut leases = self.leases.lock().unwrap();
        leases.retain(|(left, _)| left + LEFT > now);
        leases.push((now, lease));
    }

    /// A lease that was left not long ago.
    pub fn some_lease(&self, random: &mut fastrand::Rng) -> Option<Lease> {
        let now = self.now();
        let leases = self.leases.lock().unwrap();
        let left: Vec<_> = leases.iter().filter(|(left, _)| left + LEFT > now).collect();
        (!left.is_empty()).then(|| left[random.usize(..left.len())].1.clone())
    }

    pub fn note(&self, entry: Entry) {
        self.entries.lock().unwrap().push(entry);
    }

    /// Notes when this thread did not run although it wanted to.
    pub fn note_stalls(&self) {
        while !self.is_over() {
            let from = self.now();
            sleep(TICK);
            if self.now() - from > u64::try_from(TICK.as_nanos()).unwrap() + LATE {
                self.note_fault("stall".to_owned(), from, Effect::Stall);
            }
        }
    }

    pub fn note_fault(&self, what: String, from: Time, effect: Effect) {
        let until = self.now();
        self.faults.lock().unwrap().push(Disturbance { what, from, until, effect });
    }

    /// The log so far, with the feed of each account at each node.
    pub fn log(&self) -> Log {
        let feeds = |account| (0..self.nodes.len()).map(|node| self.whole_feed(node, account)).collect();
        let feeds = (0..self.accounts.len()).map(feeds).collect();
        let (entries, faults) = (self.entries.lock().unwrap().clone(), self.faults.lock().unwrap().clone());
        Log { accounts: self.accounts.len(), entries, feeds, faults, has_clocks: self.has_clocks }
    }

    /// All events after the account's marker, page by page, as far as there are pages.
    fn whole_feed(&self, node: usize, account: usize) -> Vec<Value> {
        let mut line = Line::new(self.nodes[node]);
        let Account { root, token, marker } = &self.accounts[account];
        let (mut events, mut marker) = (Vec::new(), marker.clone());
        loop {
            let path = format!("{root}/events?wait=0&limit=1000&extended=true&marker={marker}");
            let asked = self.now();
            let reply = line.ask("GET", &path, token, &Value::Null, Duration::from_secs(30));
            let page = match reply {
                Reply::Answer(answer) if answer.status == 200 => answer.body,
                other => {
                    let outcome = Outcome::Wrong(format!("{other:?} at the end"));
                    let call = Call::Events { marker, is_repeated: false };
                    self.note(Entry { node, account, asked, answered: self.now(), call, outcome });
                    return events;
                }
            };
            let values = page["values"].as_array().unwrap();
            if values.is_empty() {
                return events;
            }
            events.extend(values.iter().cloned());
            marker = page["metadata"]["next_marker"].as_str().unwrap().to_owned();
        }
    }
}

impl Account {
    /// Logs in, and finds the end of the feed, in which there may be nothing yet.
    fn log_in(nodes: &[SocketAddr], number: usize) -> Self {
        let credentials =
            json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": format!("user{number}"), "apiKey": "key"}}});
        let mut line = Line::new(nodes[number % nodes.len()]);
        let limit = Duration::from_secs(30);
        let mut ask = |method, path: &str, token: &str, body| match line.ask(method, path, token, &body, limit) {
            Reply::Answer(answer) if answer.status == 200 => answer.body,
            Reply::Answer(answer) => panic!("{path}: {} {}", answer.status, answer.body),
            _ => panic!("{path}: no answer"),
        };
        let login = ask("POST", "/v2.0/tokens", "", credentials);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let token = text(&login["access"]["token"]["id"]);
        let root = format!("/v1.0/{}", text(&login["access"]["token"]["tenant"]["id"]));
        let feed = ask("GET", &format!("{root}/events?wait=0"), &token, Value::Null);
        Self { root, token, marker: text(&feed["metadata"]["next_marker"]) }
    }
}

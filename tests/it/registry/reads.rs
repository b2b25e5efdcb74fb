//! Reads see what is kept, and nothing that is then refused: random writers and readers of a few records, on a disk
//! that is full now and then, with the registry killed and started again. Every answer is written down, and the history
//! of each record is judged by [`linear`](crate::bench::linear).
//!
//! `LINEAR_ROUNDS=200 cargo test --test it reads_and_writes` goes on for longer.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::bench::linear::is_linearizable;
use crate::bench::{Act, Operation};
use crate::bench::{Running, clean, eventually, free_address, need, request};

const CLIENTS: usize = 6;
/// How many values, and how many services. Few, so that clients meet.
const RECORDS: u64 = 3;

/// A registry that can be killed, and whose disk can be made full.
struct Victim {
    process: Running,
}

impl Victim {
    fn start(at: &str, folder: &Path) -> Self {
        need("prlimit");
        // A write beyond the limit on file sizes is then an error, as on a full disk, and not the end.
        let script = "trap '' XFSZ; exec \"$@\"";
        let mut command = clean("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_service-registry"), "-q", "serve", "--listen", at]);
        let mut process = Running::start(command.arg("--data-dir").arg(folder));
        process.line("listening on");
        Self { process }
    }

    /// No file can be longer than this many bytes.
    fn limit(&self, bytes: &str) {
        let limited = Command::new("prlimit")
            .args([format!("--pid={}", self.process.pid), format!("--fsize={bytes}:unlimited")])
            .status();
        assert!(limited.unwrap().success());
    }

    fn kill(mut self) {
        self.process.signal(Signal::SIGKILL);
        self.process.end();
    }
}

/// What all clients share.
struct World {
    url: String,
    start: Instant,
    next_value: AtomicU64,
    answers: AtomicU64,
    refusals: AtomicU64,
    /// Reads with the content of something in them.
    sights: AtomicU64,
    is_over: AtomicBool,
    histories: Mutex<HashMap<String, Vec<Operation>>>,
    /// Ids of the sessions that are known to have been opened, and the newest token of each.
    sessions: RwLock<Vec<(String, Mutex<String>)>>,
}

/// An answer, and when it was asked for and there.
struct Answer {
    asked: u64,
    answered: u64,
    status: u16,
    body: Value,
}

impl World {
    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap()
    }

    fn new_value(&self) -> u64 {
        self.next_value.fetch_add(1, Ordering::Relaxed)
    }

    /// Asks, and notes what `act` says that was done. If no answer comes, `hoped` may happen.
    fn ask(
        &self,
        (method, path, record): (&str, &str, &str),
        body: &Value,
        hoped: Option<Act>,
        act: impl Fn(&Answer) -> Option<Act>,
    ) {
        let asked = self.now();
        let answer = request(&self.url, method, path, &if body.is_null() { String::new() } else { body.to_string() });
        let answered = self.now();
        let (status, body) = match answer {
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return, // it was never asked
            // Nothing, or a part of it.
            Err(_) | Ok((0, _)) => return self.note(record, asked, None, hoped),
            Ok((200, Value::Null)) if hoped.is_none() => return,
            Ok(answer) => answer,
        };
        self.answers.fetch_add(1, Ordering::Relaxed);
        if status == 503 {
            assert!(hoped.is_some(), "{method} {path} is refused, and changes nothing");
            self.refusals.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let act = act(&Answer { asked, answered, status, body });
        self.note(record, asked, Some(answered), act);
    }

    fn note(&self, record: &str, asked: u64, answered: Option<u64>, act: Option<Act>) {
        if let Some(act) = act {
            if matches!(act, Act::Read(Some(_))) {
                self.sights.fetch_add(1, Ordering::Relaxed);
            }
            let operation = Operation::new(asked, answered, act);
            self.histories.lock().unwrap().entry(record.to_owned()).or_default().push(operation);
        }
    }

    fn client(&self) {
        while !self.is_over.load(Ordering::Relaxed) {
            match fastrand::u32(..12) {
                0..5 => self.use_value(&format!("key-{}", fastrand::u64(..RECORDS))),
                5..9 => self.use_service(&format!("node-{}", fastrand::u64(..RECORDS))),
                9 => self.use_session(),
                _ => self.list(),
            }
        }
    }

    fn use_value(&self, id: &str) {
        let path = format!("/v1.0/1/configuration/{id}");
        let value = self.new_value();
        match fastrand::u32(..8) {
            0..3 => self.ask(("PUT", &path, id), &value_of(value), Some(Act::Set(value)), |answer| {
                expect(answer, &[204]);
                Some(Act::Set(value))
            }),
            3 => self.ask(("DELETE", &path, id), &Value::Null, Some(Act::Remove), removed),
            _ => self.ask(("GET", &path, id), &Value::Null, None, |answer| read(answer, "/value")),
        }
    }

    fn use_service(&self, id: &str) {
        let path = format!("/v1.0/1/services/{id}");
        let value = self.new_value();
        let metadata = json!({"v": value.to_string()});
        let body = json!({"id": id, "heartbeat_timeout": 120, "tags": ["all"], "metadata": metadata});
        match fastrand::u32(..8) {
            0..2 => {
                self.ask(("POST", "/v1.0/1/services", id), &body, Some(Act::Create(value)), |answer| {
                    expect(answer, &[201, 400]);
                    Some(if answer.status == 201 { Act::Create(value) } else { Act::Find })
                });
            }
            2 => self.ask(("PUT", &path, id), &json!({ "metadata": metadata }), Some(Act::Update(value)), |answer| {
                expect(answer, &[204, 404]);
                Some(if answer.status == 204 { Act::Update(value) } else { Act::Read(None) })
            }),
            3 => self.ask(("DELETE", &path, id), &Value::Null, Some(Act::Remove), removed),
            _ => self.ask(("GET", &path, id), &Value::Null, None, |answer| read(answer, "/metadata/v")),
        }
    }

    fn use_session(&self) {
        let value = self.new_value();
        let body = json!({"heartbeat_timeout": 120, "metadata": {"v": value.to_string()}});
        let sessions = self.sessions.read().unwrap();
        if sessions.len() < 3 || fastrand::u32(..20) == 0 {
            drop(sessions);
            return self.open_session(value, &body);
        }
        let (id, token) = &sessions[fastrand::usize(sessions.len().saturating_sub(4)..sessions.len())];
        let path = format!("/v1.0/1/sessions/{id}");
        match fastrand::u32(..8) {
            0..2 => self.ask(("PUT", &path, id), &body, Some(Act::Update(value)), |answer| {
                expect(answer, &[204, 404]);
                Some(if answer.status == 204 { Act::Update(value) } else { Act::Read(None) })
            }),
            2 => self.ask(("DELETE", &path, id), &Value::Null, Some(Act::Remove), removed),
            3 => {
                let mut token = token.lock().unwrap();
                let (path, shown) = (format!("{path}/heartbeat"), json!({ "token": *token }));
                let next = Mutex::new(None);
                self.ask(("POST", &path, id), &shown, None, |answer| {
                    expect(answer, &[200, 404]);
                    *next.lock().unwrap() = answer.body["token"].as_str().map(str::to_owned);
                    Some(if answer.status == 200 { Act::Find } else { Act::Read(None) })
                });
                if let Some(next) = next.into_inner().unwrap() {
                    *token = next;
                }
            }
            _ => self.ask(("GET", &path, id), &Value::Null, None, |answer| read(answer, "/metadata/v")),
        }
    }

    /// The id is known once there is a response, so no client has a session without one.
    fn open_session(&self, value: u64, body: &Value) {
        let asked = self.now();
        let Ok((201, answer)) = request(&self.url, "POST", "/v1.0/1/sessions", &body.to_string()) else { return };
        let (answered, token) = (self.now(), answer["token"].as_str().unwrap_or_default().to_owned());
        // Only the `Location` says the id, which the plain client does not read; the list tells it as well.
        let Ok((200, list)) = request(&self.url, "GET", "/v1.0/1/sessions?limit=1000", "") else { return };
        let text = value.to_string();
        let is_it = |session: &&Value| session["metadata"]["v"] == *text;
        let Some(session) = list["values"].as_array().and_then(|all| all.iter().find(is_it)) else {
            panic!("a session is not listed after it was acknowledged: {value}")
        };
        let id = session["id"].as_str().unwrap();
        self.note(id, asked, Some(answered), Some(Act::Create(value)));
        self.sessions.write().unwrap().push((id.to_owned(), Mutex::new(token)));
    }

    /// A list is a read of every record that could be in it.
    fn list(&self) {
        let sessions: Vec<String> = self.sessions.read().unwrap().iter().map(|(id, _)| id.clone()).collect();
        let fixed = |name: &str| (0..RECORDS).map(|number| format!("{name}-{number}")).collect::<Vec<_>>();
        let (path, records, content, id) = match fastrand::u32(..5) {
            0 => ("configuration", fixed("key"), "/value", "/id"),
            1 => ("services", fixed("node"), "/metadata/v", "/id"),
            2 => ("services?tag=all", fixed("node"), "/metadata/v", "/id"),
            3 => ("sessions?limit=1000", sessions, "/metadata/v", "/id"),
            _ => ("views/overview?limit=1000", sessions, "/session/metadata/v", "/session/id"),
        };
        self.ask(("GET", &format!("/v1.0/1/{path}"), ""), &Value::Null, None, |answer| {
            expect(answer, &[200]);
            let listed = answer.body["values"].as_array().unwrap();
            for record in &records {
                let entry = listed.iter().find(|entry| entry.pointer(id).unwrap() == record);
                let content = entry.map(|entry| number(entry.pointer(content).unwrap()));
                self.note(record, answer.asked, Some(answer.answered), Some(Act::Read(content)));
            }
            None
        });
    }
}

fn value_of(value: u64) -> Value {
    json!({ "value": value.to_string() })
}

fn number(text: &Value) -> u64 {
    text.as_str().unwrap().parse().unwrap()
}

fn expect(answer: &Answer, statuses: &[u16]) {
    assert!(statuses.contains(&answer.status), "{} {}", answer.status, answer.body);
}

fn removed(answer: &Answer) -> Option<Act> {
    expect(answer, &[204, 404]);
    Some(if answer.status == 204 { Act::Remove } else { Act::Read(None) })
}

fn read(answer: &Answer, content: &str) -> Option<Act> {
    expect(answer, &[200, 404]);
    Some(Act::Read((answer.status == 200).then(|| number(answer.body.pointer(content).unwrap()))))
}

#[test]
fn reads_and_writes_are_linearizable_under_full_disks_and_kills() {
    let rounds = std::env::var("LINEAR_ROUNDS").map_or(6, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let at = free_address();
    let world = World {
        url: format!("http://{at}"),
        start: Instant::now(),
        next_value: AtomicU64::new(1),
        answers: AtomicU64::new(0),
        refusals: AtomicU64::new(0),
        sights: AtomicU64::new(0),
        is_over: AtomicBool::new(false),
        histories: Mutex::default(),
        sessions: RwLock::default(),
    };
    let more = |count: &AtomicU64, by: u64| {
        let enough = count.load(Ordering::Relaxed) + by;
        eventually("enough answers", || (count.load(Ordering::Relaxed) >= enough).then_some(()));
    };
    std::thread::scope(|scope| {
        // Should this thread end early, the others end as well.
        let _end = Ending(&world.is_over);
        let mut victim = Victim::start(&at, folder.path());
        for _ in 0..CLIENTS {
            scope.spawn(|| world.client());
        }
        for round in 0..rounds {
            more(&world.answers, 150);
            // From a disk that is full at once to one that fills up.
            victim.limit(&fastrand::u64(1..20_000).to_string());
            more(&world.refusals, 10);
            if round % 3 != 0 {
                victim.limit("unlimited");
                more(&world.answers, fastrand::u64(1..100));
            }
            if round % 3 != 1 {
                victim.kill();
                victim = Victim::start(&at, folder.path());
            }
        }
        more(&world.answers, 150);
        world.is_over.store(true, Ordering::Relaxed);
    });
    let histories = world.histories.into_inner().unwrap();
    let count: usize = histories.values().map(Vec::len).sum();
    println!("{count} operations on {} records, {:?} refused", histories.len(), world.refusals);
    assert!(world.sights.into_inner() > 100, "nothing was read: this shows nothing");
    for (record, history) in histories {
        assert!(is_linearizable(&history), "{record}:\n{}", first_contradiction(&history));
    }
}

/// The end of the shortest part of a history that cannot have happened.
fn first_contradiction(history: &[Operation]) -> String {
    let mut history = history.to_vec();
    history.sort_by_key(|operation| operation.asked);
    let end = (1..=history.len()).find(|end| !is_linearizable(&history[..*end])).unwrap_or_default();
    history[end.saturating_sub(20)..end].iter().map(|operation| format!("{operation:?}\n")).collect()
}

struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

//! Replays the conversations of `cases.txt`, which explains its own format.

use std::collections::HashMap;

use serde_json::Value;
use service_registry::registry::{Config, Users};

use crate::bench::{Answer, Client, Server, USERS};

const CASES: &str = include_str!("cases.txt");

#[test]
fn recorded_conversations_hold() {
    let mut failures = Vec::new();
    let mut count = 0;
    for case in CASES.split("\n== ").skip(1) {
        count += 1;
        let (name, script) = case.split_once('\n').unwrap();
        if let Err(difference) = Case::new(name).play(script) {
            failures.push(format!("{name}: {difference}"));
        }
    }
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(count > 50, "the file was not read: {count}");
}

#[test]
fn different_response_fails_the_comparison() {
    let script =
        |expected: &str| format!("POST /services {{\"id\": \"node-1\", \"heartbeat_timeout\": 30}}\n  {expected}\n");
    for wrong in [
        "200",
        "201 {\"token\": 5}",
        "201 = {}",
        "201 {\"token\": \"<absent>\"}",
        "201\n  > Location: elsewhere",
        "201 {\"token\": \"<t>\"}\nGET /services/node-1\n  200 {\"id\": \"<t>\"}",
        "201 {\"token\": \"<int>\"}",
        "404 missing Service node-1",
        "201\n  empty",
    ] {
        assert!(Case::new("a wrong one").play(&script(wrong)).is_err(), "{wrong}");
    }
    Case::new("a right one").play(&script("201 = {\"token\": \"<uuid1>\"}")).unwrap();
}

/// One conversation: a registry of its own, a client that has logged in, and what was noted on the way.
struct Case {
    server: Server,
    client: Client,
    notes: HashMap<String, String>,
    answer: Option<Answer>,
}

type Outcome = Result<(), String>;

impl Case {
    fn new(name: &str) -> Self {
        let is_open = name.ends_with("(open)");
        let config = if is_open { Config::anonymous() } else { Config::with_users(Users::parse(USERS).unwrap()) };
        let server = Server::start(config);
        let client = if is_open { server.client() } else { server.joe() };
        let mut notes = HashMap::new();
        notes.insert("host".to_owned(), server.address.to_string());
        notes.insert("root".to_owned(), format!("http://{}{}", server.address, client.root));
        notes.insert("tenant".to_owned(), client.root.rsplit('/').next().unwrap().to_owned());
        Self { server, client, notes, answer: None }
    }

    fn play(&mut self, script: &str) -> Outcome {
        let mut lines = script.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).peekable();
        while let Some(line) = lines.next() {
            let outcome = match line.split_once(' ') {
                Some(("", _)) => self.expect(&self.fill(line.trim())),
                Some(("advance", ms)) => {
                    self.server.advance(ms.parse().unwrap());
                    Ok(())
                }
                Some(("repeat", rest)) => {
                    let (times, request) = rest.split_once(' ').unwrap();
                    let expected = lines.next().unwrap().trim();
                    (0..times.parse().unwrap()).try_for_each(|i: u32| {
                        self.notes.insert("i".to_owned(), format!("{i:03}"));
                        self.ask(request, &[]);
                        self.expect(&self.fill(expected))
                    })
                }
                Some(_) => {
                    let next_header = || lines.next_if(|line| line.starts_with("+ "));
                    let headers: Vec<&str> = std::iter::from_fn(next_header).map(|line| &line[2..]).collect();
                    self.ask(line, &headers);
                    Ok(())
                }
                None => panic!("what is {line:?}?"),
            };
            outcome.map_err(|difference| format!("{line:?}: {difference}"))?;
        }
        Ok(())
    }

    /// `METHOD PATH [BODY]`, and headers of its own. A header without a value is left out.
    fn ask(&mut self, line: &str, headers: &[&str]) {
        let line = self.fill(line);
        let mut parts = line.splitn(3, ' ');
        let (method, path, body) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap_or_default());
        let headers: Vec<String> = headers.iter().map(|header| self.fill(header)).collect();
        let mut given: Vec<(&str, &str)> = headers.iter().map(|header| header.split_once(':').unwrap()).collect();
        given.iter_mut().for_each(|(_, value)| *value = value.trim());
        if !body.is_empty() && !given.iter().any(|(name, _)| name.eq_ignore_ascii_case("Content-Type")) {
            given.push(("Content-Type", "application/json"));
        }
        let left_out =
            |name: &str| given.iter().any(|(other, value)| other.eq_ignore_ascii_case(name) && value.is_empty());
        let all = self.client.headers.clone();
        self.client.headers.retain(|(name, _)| !left_out(name));
        let sent: Vec<(&str, &str)> = given.iter().copied().filter(|(_, value)| !value.is_empty()).collect();
        self.answer = Some(self.client.send(method, path, &sent, body));
        self.client.headers = all;
    }

    fn expect(&mut self, line: &str) -> Outcome {
        let answer = self.answer.take().unwrap();
        let outcome = self.compare(line, &answer);
        let outcome = outcome.map_err(|difference| format!("{difference}; it was {answer:?}"));
        self.answer = Some(answer);
        outcome
    }

    fn compare(&mut self, line: &str, answer: &Answer) -> Outcome {
        if line == "empty" {
            return same(answer.body.is_empty(), "the body is not empty");
        }
        if let Some(keys) = line.strip_prefix("keys ") {
            return same(keys == answer.keys().join(" "), "other keys");
        }
        if let Some(header) = line.strip_prefix("> ") {
            let (name, value) = header.split_once(':').unwrap();
            let actual = answer.header(&name.to_ascii_lowercase());
            return self.text(value.trim(), actual).map_err(|difference| format!("{name}: {difference}"));
        }
        let (status, rest) = line.split_once(' ').unwrap_or((line, ""));
        same(status == answer.status.to_string(), &format!("the status is not {status}"))?;
        if let Some(fault) = fault(rest) {
            return self.json(&fault, Some(&answer.json()), false);
        }
        match rest.strip_prefix("= ") {
            Some(exact) => self.json(&serde_json::from_str(exact).unwrap(), Some(&answer.json()), true),
            None if rest.is_empty() => Ok(()),
            None => self.json(
                &serde_json::from_str(rest).unwrap_or_else(|e| panic!("{rest}: {e}")),
                Some(&answer.json()),
                false,
            ),
        }
    }

    fn json(&mut self, expected: &Value, actual: Option<&Value>, is_exact: bool) -> Outcome {
        match (expected, actual) {
            (Value::String(text), actual) if text.starts_with('<') => self.marked(text, actual),
            (_, None) => Err(format!("{expected} is missing")),
            (Value::Object(fields), Some(Value::Object(found))) => {
                same(!is_exact || fields.len() == found.len(), &format!("other keys than {:?}", fields.keys()))?;
                fields.iter().try_for_each(|(key, value)| {
                    self.json(value, found.get(key), is_exact).map_err(|difference| format!("{key}: {difference}"))
                })
            }
            (Value::Array(items), Some(Value::Array(found))) => {
                same(items.len() == found.len(), &format!("{} instead of {} items", found.len(), items.len()))?;
                items.iter().zip(found).try_for_each(|(item, found)| self.json(item, Some(found), is_exact))
            }
            (Value::String(text), Some(Value::String(found))) => self.text(text, Some(found)),
            (expected, Some(actual)) => same(expected == actual, &format!("{actual} instead of {expected}")),
        }
    }

    fn marked(&mut self, mark: &str, actual: Option<&Value>) -> Outcome {
        let text = actual.and_then(Value::as_str);
        let is = match mark {
            "<absent>" => actual.is_none(),
            "<any>" => actual.is_some_and(|value| !value.is_null()),
            "<int>" => actual.is_some_and(Value::is_u64),
            "<uuid1>" => text.is_some_and(is_uuid1),
            _ => return self.text(mark, text),
        };
        same(is, &format!("{actual:?} instead of {mark}"))
    }

    /// A text may end in `<name>`, which stores its remainder, or must be equal to what was stored before; `<!name>`
    /// must not be; `<...>` stands for anything.
    fn text(&mut self, expected: &str, actual: Option<&str>) -> Outcome {
        let Some(actual) = actual else { return same(expected == "<absent>", "missing") };
        let Some((start, name)) = expected.strip_suffix('>').and_then(|text| text.rsplit_once('<')) else {
            return same(expected == actual, &format!("{actual:?} instead of {expected:?}"));
        };
        let rest = actual.strip_prefix(start).ok_or_else(|| format!("{actual:?} does not start with {start:?}"))?;
        match name.strip_prefix('!') {
            _ if name == "..." => Ok(()),
            Some(other) => same(self.notes[other] != rest, "the same as before"),
            None => {
                let noted = self.notes.entry(name.to_owned()).or_insert_with(|| rest.to_owned());
                same(noted == rest, &format!("{rest:?} instead of {noted:?}"))
            }
        }
    }

    /// Puts in what was noted: `{name}`; and times: `{uuid1:+MS}` is an id for MS milliseconds from now.
    fn fill(&self, line: &str) -> String {
        let mut filled = line.to_owned();
        for (name, value) in &self.notes {
            filled = filled.replace(&format!("{{{name}}}"), value);
        }
        while let Some(at) = filled.find("{uuid1:") {
            let end = at + filled[at..].find('}').unwrap();
            let ms: i64 = filled[at + 7..end].parse().unwrap();
            filled.replace_range(at..=end, &uuid1(self.server.clock.wall().checked_add_signed(ms).unwrap()));
        }
        while let Some(at) = filled.find("{long:") {
            let end = at + filled[at..].find('}').unwrap();
            let (text, times) = filled[at + 6..end].split_once('*').unwrap();
            let long = text.repeat(times.parse().unwrap());
            filled.replace_range(at..=end, &long);
        }
        filled
    }
}

fn same(is: bool, difference: &str) -> Outcome {
    if is { Ok(()) } else { Err(difference.to_owned()) }
}

/// The short forms of faults.
fn fault(text: &str) -> Option<Value> {
    let (kind, rest) = text.split_once(' ')?;
    let (fault, message, details) = match kind {
        "bad" => ("badRequest", rest.to_owned(), rest.to_owned()),
        "field" => {
            let (field, rule) = rest.split_once(": ")?;
            ("badRequest", format!("Validation error for key '{field}'"), rule.to_owned())
        }
        "parameter" => {
            let (name, rule) = rest.split_once(": ")?;
            ("badRequest", format!("Invalid value for '{name}' query string parameter"), rule.to_owned())
        }
        "limit" => ("invalidLimit", "Invalid limit".to_owned(), rest.to_owned()),
        "quota" => ("limitReached", "Resource limit has been reached".to_owned(), rest.to_owned()),
        "exists" => {
            let text = format!("Service with id {rest} already exists.");
            ("serviceWithThisIdExists", text.clone(), text)
        }
        "missing" => {
            let (kind, key) = rest.split_once(' ')?;
            (
                "notFoundError",
                "object does not exist".to_owned(),
                format!("Object \"{kind}\" with key \"{key}\" does not exist"),
            )
        }
        "unauthorized" => ("unauthorizedError", "forbidden".to_owned(), rest.to_owned()),
        "nopage" => {
            let details = serde_json::json!({ "requested_path": rest });
            let message = "The page cannot be found.";
            return Some(serde_json::json!({"type": "notFoundError", "message": message, "details": details}));
        }
        _ => return None,
    };
    Some(serde_json::json!({"type": fault, "message": message, "details": details}))
}

fn is_uuid1(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
        && groups[2].starts_with('1')
        && groups[3].starts_with(['8', '9', 'a', 'b'])
}

/// A version-1 UUID for a time in milliseconds since 1970.
fn uuid1(wall: u64) -> String {
    let ticks = (wall + 12_219_292_800_000) * 10_000;
    let (low, middle, high) = (ticks & 0xffff_ffff, ticks >> 32 & 0xffff, ticks >> 48 & 0xfff);
    format!("{low:08x}-{middle:04x}-1{high:03x}-8000-000000000000")
}

//! The requests of a wrapper by their purpose: registries that answer by a script, or forward to a real one.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::json;

use super::{Misbehaving, Reply, Seen};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Login,
    Session,
    Register,
    Heartbeat,
    Deregister,
}

pub fn step(seen: &Seen) -> Option<Step> {
    match (seen.method.as_str(), seen.target.rsplit('/').next()?) {
        ("POST", "tokens") => Some(Step::Login),
        ("POST", "sessions") => Some(Step::Session),
        ("POST", "services") => Some(Step::Register),
        ("POST", "heartbeat") => Some(Step::Heartbeat),
        ("DELETE", _) => Some(Step::Deregister),
        _ => None,
    }
}

/// What the registry says to this request.
pub fn pass_on(registry: &str, seen: &Seen) -> Reply {
    let address = registry.trim_start_matches("http://");
    let Ok(mut connection) = TcpStream::connect(address) else { return Reply::Close };
    let token = seen.header("x-auth-token").unwrap_or_default();
    let request = format!(
        "{} {} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nX-Auth-Token: {token}\r\nContent-Length: {}\r\n\r\n{}",
        seen.method,
        seen.target,
        seen.body.len(),
        seen.body
    );
    let mut answer = String::new();
    if connection.write_all(request.as_bytes()).is_err() || connection.read_to_string(&mut answer).is_err() {
        return Reply::Close;
    }
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let location =
        head.lines().find_map(|line| line.to_lowercase().starts_with("location: ").then(|| line[10..].to_owned()));
    let headers = location.into_iter().map(|location| ("Location", location)).collect();
    Reply::Answer { status, headers, body: body.to_owned() }
}

/// A registry that says what `script` says of `METHOD /path` and how many of the same came before it, and what a
/// healthy one would say where `script` is silent.
pub async fn scripted_registry(mut script: impl FnMut(&str, usize) -> Option<Reply> + Send + 'static) -> Misbehaving {
    let mut counts = BTreeMap::new();
    Misbehaving::start(move |seen| {
        let line = seen.line();
        let count = counts.entry(line.clone()).or_insert(0);
        *count += 1;
        script(&line, *count - 1).unwrap_or_else(|| healthy(&line.replace("/7777/", "/")))
    })
    .await
}

fn healthy(request: &str) -> Reply {
    let token = json!({"token": "6d1ba1a0-c640-11f0-8000-000000000000"});
    match request {
        "POST /v2.0/tokens" => Reply::login("token"),
        "POST /v1.0/sessions" => Reply::created("http://x/v1.0/1/sessions/seAAAAAAAA", &token.to_string()),
        "POST /v1.0/services" => Reply::created("http://x/v1.0/1/services/web0", ""),
        "POST /v1.0/sessions/seAAAAAAAA/heartbeat" => Reply::ok(&token),
        "DELETE /v1.0/sessions/seAAAAAAAA" => Reply::no_content(),
        _ => Reply::fault(404, "notFoundError", "no"),
    }
}

//! Forwarded answers are the owner's.

use std::collections::HashMap;

use regex_lite::Regex;

use super::{Client, Node, at, header, status};
use crate::registry::model::{Clock, ManualClock};

/// Method, path, headers, body; names in braces are learned from the answers before.
const SCRIPT: &[(&str, &str, &str, &str)] = &[
    ("POST", "/v1.0/7/sessions", "", r#"{"heartbeat_timeout": 30, "metadata": {"a": "ü"}}"#),
    ("POST", "/v1.0/7/sessions/{session}/heartbeat", "", r#"{"token": "{token}"}"#),
    ("POST", "/v1.0/7/sessions/{session}/heartbeat", "", r#"{"token": "wrong"}"#),
    ("POST", "/v1.0/7/sessions/none/heartbeat", "", r#"{"token": "{token}"}"#),
    ("POST", "/v1.0/7/services", "", r#"{"id": "web", "session_id": "{session}", "tags": ["a"]}"#),
    ("POST", "/v1.0/7/services", "", r#"{"id": "web", "session_id": "{session}", "tags": ["a"]}"#),
    ("POST", "/v1.0/7/services", "", "{"),
    ("POST", "/v1.0/7/services", "", r#"{"id": "é"}"#),
    ("POST", "/v1.0/7/services", "Content-Type: text/plain\r\n", "{}"),
    ("PUT", "/v1.0/7/services/web", "", r#"{"metadata": {"port": "80"}}"#),
    ("PUT", "/v1.0/7/sessions/{session}", "", r#"{"metadata": {"b": "c"}}"#),
    ("PUT", "/v1.0/7/configuration/a//b%2Fc", "", r#"{"value": "x"}"#),
    ("GET", "/v1.0/7/configuration/a//b%2Fc", "", ""),
    ("GET", "/v1.0/7/configuration", "", ""),
    ("GET", "/v1.0/7/services", "", ""),
    ("GET", "/v1.0/7/services?limit=1&tag=a&extra=%zz", "", ""),
    ("GET", "/v1.0/7/services?wait=0", "If-None-Match: {etag}\r\n", ""),
    ("GET", "/v1.0/7/services?wait=x", "", ""),
    ("HEAD", "/v1.0/7/services", "", ""),
    ("GET", "/V1.0/7/Services/web/", "User-Agent: curl/8.0\r\n", ""),
    ("GET", "/v1.0/7/services/gone", "", ""),
    ("HEAD", "/v1.0/7/services/gone", "", ""),
    ("GET", "/v1.0/7/services/%", "", ""),
    ("GET", "/v1.0/7/sessions", "X-Forwarded-Proto: https\r\n", ""),
    ("GET", "/v1.0/7/sessions/{session}", "", ""),
    ("GET", "/v1.0/7/views/overview", "", ""),
    ("GET", "/v1.0/7/events?extended=true", "", ""),
    ("GET", "/v1.0/7/events?wait=1&limit=1", "", ""),
    ("GET", "/v1.0/7/events?marker=00000000-0000-1000-8000-000000000000", "", ""),
    ("GET", "/v1.0/7/limits", "", ""),
    ("GET", "http://elsewhere.localhost/v1.0/7/services?limit=1", "", ""),
    ("BREW", "/v1.0/7/services", "", ""),
    ("GET", "/v1.0/7/gadgets?a=b", "", ""),
    ("GET", "/services", "X-Tenant-Id: 7\r\n", ""),
    ("DELETE", "/v1.0/7/services/web?reason=done", "", ""),
    ("DELETE", "/v1.0/7/configuration/a//b%2Fc", "", ""),
    ("DELETE", "/v1.0/7/sessions/{session}", "", ""),
    ("DELETE", "/v1.0/7/sessions/{session}", "", ""),
    ("POST", "/v1.0/7/sessions", CHUNKED, ""),
];

/// A body in two chunks, up to the last line feed.
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n\r\nc\r\n{\"heartbeat_\r\nd\r\ntimeout\": 30}\r\n0\r\n";

/// Asks everything on one connection. Random parts are masked.
async fn run(mut client: Client) -> Vec<String> {
    let mut learned = HashMap::<&str, String>::new();
    let (mut answers, mut sessions) = (Vec::new(), Vec::<String>::new());
    let ids = Regex::new(r"[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}").unwrap();
    let others = Regex::new(r#"\.rh-\S+?\.ts-\d+\.v-[0-9.]+|date: .*\r\n|W/"[0-9a-f]{32}""#).unwrap();
    for (method, path, headers, body) in SCRIPT {
        let [path, headers, body] = [path, headers, body].map(|text| {
            learned.iter().fold((*text).to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
        });
        let answer = client.ask(method, &path, &headers, &body).await;
        if let Some(at) = header(&answer, "location").filter(|at| at.contains("/sessions/")) {
            let session = at.rsplit('/').next().unwrap().to_owned();
            learned.entry("session").or_insert_with(|| session.clone());
            sessions.push(session);
        }
        if let Some(etag) = header(&answer, "etag") {
            learned.insert("etag", etag.to_owned());
        }
        if let Some(token) = ids.find(&answer) {
            learned.insert("token", token.as_str().to_owned());
        }
        let masked = ids.replace_all(&answer, "ID").into_owned();
        let masked = others.replace_all(&masked, "MASKED").into_owned();
        let masked = format!("{method} {path} {masked}");
        answers.push(sessions.iter().fold(masked, |text, session| text.replace(session, "SESSION")));
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_answer_equals_the_owners() {
    let clock = Clock::manual(&ManualClock::new(1_700_000_000_000));
    let owners = [Node::owner(&clock).await, Node::owner(&clock).await];
    let front = Node::front(&clock, at(owners[1].address)).await;
    let direct = run(Client::connect(owners[0].address).await).await;
    let forwarded = run(Client::connect(front.address).await).await;
    let statuses: Vec<u16> = direct.iter().map(|answer| status(answer.split_once("HTTP/1.1").unwrap().1)).collect();
    for wanted in [200, 201, 204, 304, 400, 404] {
        assert!(statuses.contains(&wanted), "{wanted} was not tested: {statuses:?}");
    }
    for (direct, forwarded) in direct.iter().zip(&forwarded) {
        assert_eq!(direct, forwarded);
    }
}

/// The fault in the body names the response that its header names.
#[tokio::test(flavor = "multi_thread")]
async fn forwarded_fault_has_the_id_of_the_response() {
    let clock = Clock::system();
    let owner = Node::owner(&clock).await;
    let front = Node::front(&clock, at(owner.address)).await;
    let answer = Client::connect(front.address).await.ask("GET", "/v1.0/7/services/gone", "", "").await;
    let id = header(&answer, "x-response-id").unwrap();
    assert!(answer.contains(&format!("\"txnId\": \"{id}\"")), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn owner_sees_the_address_of_the_client() {
    let clock = Clock::system();
    let owner = Node::owner(&clock).await;
    let front = Node::front(&clock, at(owner.address)).await;
    let mut client = Client::connect_from("127.0.0.42", front.address).await;
    client.ask("POST", "/v1.0/7/sessions", "", r#"{"heartbeat_timeout": 30}"#).await;
    let events = Client::connect(owner.address).await.ask("GET", "/v1.0/7/events?extended=true", "", "").await;
    assert!(events.contains("127.0.0.42"), "{events}");
}

/// The owner would refuse the host that the front has.
#[tokio::test(flavor = "multi_thread")]
async fn host_is_the_clients() {
    let clock = Clock::system();
    let owner = Node::owner(&clock).await;
    let front = Node::front(&clock, at(owner.address)).await;
    let body = r#"{"heartbeat_timeout": 30}"#;
    let answer = Client::connect(front.address).await.ask("POST", "/v1.0/7/sessions", "", body).await;
    let location = header(&answer, "location").unwrap();
    assert!(location.starts_with("http://registry.test/v1.0/7/sessions/"), "{answer}");
    let mut client = Client::connect(front.address).await;
    client.send(&format!("POST /v1.0/7/sessions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
    let answer = client.rest().await;
    let location = header(&answer, "location").unwrap();
    assert!(location.starts_with(&format!("http://{}/v1.0/7/sessions/", front.address)), "{answer}");
}

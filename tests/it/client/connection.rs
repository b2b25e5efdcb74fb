//! The connection: kept, replaced when it breaks, bounded in time and size, without redirects.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use service_registry::client::{Error, NoAnswer, ServicePayload};
use service_registry::wire::Metadata;

use crate::bench::clean;
use crate::bench::faulty_server::{page, within};
use crate::bench::{Misbehaving, Reply};

#[tokio::test]
async fn fifty_heartbeats_use_one_connection() {
    let mut count = 0;
    let server = Misbehaving::start(move |_| {
        count += 1;
        Reply::ok(&json!({"token": format!("token-{count}")}))
    })
    .await;
    let client = server.client();
    let mut token = "token-0".to_owned();
    for _ in 0..50 {
        token = client.sessions().heartbeat("seAAAAAAAA", &token).await.unwrap().token;
    }
    assert_eq!(token, "token-50");
    assert_eq!(server.connections(), 1);
    let sent: Vec<_> = server.seen().iter().map(|seen| seen.json()["token"].as_str().unwrap().to_owned()).collect();
    assert_eq!(sent, (0..50).map(|count| format!("token-{count}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn kept_connection_closed_by_the_server_is_replaced() {
    let server = Misbehaving::start(|_| Reply::AnswerThenClose(Box::new(page(&json!([]), None)))).await;
    let client = server.client();
    for count in 1..=10 {
        client.sessions().list_all().await.unwrap();
        server.closed(count).await;
    }
    assert_eq!(server.lines().len(), 10);
}

#[tokio::test]
async fn one_connection_is_kept_after_a_burst() {
    let server = Misbehaving::start(|_| page(&json!([]), None)).await;
    let client = server.client();
    let calls = (0..5).map(|_| {
        let client = client.clone();
        async move { client.services().list_all().await }
    });
    let mut calls: tokio::task::JoinSet<_> = calls.collect();
    while let Some(answered) = calls.join_next().await {
        answered.unwrap().unwrap();
    }
    assert!(server.connections() > 1);
    server.closed(server.connections() - 1).await;
    client.services().list_all().await.unwrap();
    let (one, other) = tokio::join!(client.services().list_all(), client.sessions().list_all());
    assert!(one.is_ok() && other.is_ok());
}

#[tokio::test]
async fn broken_connection_retries_reads_but_not_creation() {
    let server = Misbehaving::start(|_| Reply::Close).await;
    let client = server.client();
    let error = client.sessions().list_all().await.unwrap_err();
    assert!(matches!(error, Error::Transport { why: NoAnswer::Broken, .. }), "{error}");
    assert_eq!(server.lines().len(), 2);
    let error = client.sessions().create(30, &Metadata::new()).await.unwrap_err();
    assert!(matches!(error, Error::Transport { why: NoAnswer::Broken, .. }), "{error}");
    assert!(error.is_retryable());
    assert_eq!(server.lines()[2..], ["POST /v1.0/sessions"]);
}

#[tokio::test]
async fn refused_connection_is_a_connect_error() {
    let url = Misbehaving::start(|_| Reply::Close).await.url.replace("127.0.0.1", "127.255.255.254");
    let client = service_registry::client::Client::builder().registry_url(&url).build().unwrap();
    let error = client.account().limits().await.unwrap_err();
    assert!(error.is_connect() && error.is_retryable(), "{error:?}");
    assert!(error.to_string().starts_with(&format!("cannot connect to {url}/v1.0/limits (")), "{error}");
}

#[tokio::test]
async fn time_limit_covers_silence_and_endless_responses() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec();
    for reply in [Reply::Silence, Reply::BytesThenSilence(head)] {
        let server = Misbehaving::start(move |_| reply.clone()).await;
        let client = server.builder().request_timeout(Duration::from_millis(50)).build().unwrap();
        let error = client.account().limits().await.unwrap_err();
        assert!(error.is_timeout() && error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("within 50ms"), "{error}");
    }
}

#[tokio::test]
async fn unexpected_response_is_reported_with_its_url() {
    let long = Reply::ok(&json!({"resource": "x".repeat(9 << 20)}));
    let html = Reply::Answer { status: 200, headers: vec![], body: "<html>Welcome to our WiFi</html>".to_owned() };
    for (reply, said) in [
        (html, "is not the documented JSON (line 1 column 1)"),
        (Reply::ok(&json!({"resource": "secret"})), "is not the documented JSON (line 1 column 20)"),
        (Reply::Answer { status: 200, headers: vec![], body: String::new() }, "is not the documented JSON"),
        (Reply::no_content(), "has status 204 where 200 is documented"),
        (long, "is longer than 8 MiB"),
    ] {
        let server = Misbehaving::start(move |_| reply.clone()).await;
        let error = server.client().account().limits().await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(said) && text.contains(&format!("{}/v1.0/limits", server.url)), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}

#[tokio::test]
async fn broken_http_is_a_broken_connection() {
    for bytes in
        ["HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", "SSH-2.0-OpenSSH_9.2\r\n", "HTTP/1.1 2000 OK\r\n\r\n"]
    {
        let server = Misbehaving::start(|_| Reply::Bytes(bytes.as_bytes().to_vec())).await;
        let error = server.client().account().limits().await.unwrap_err();
        assert!(matches!(error, Error::Transport { why: NoAnswer::Broken, .. }), "{bytes}: {error:?}");
    }
}

/// Interim answers are allowed in any number, and a head has no end before its last line.
#[tokio::test]
async fn endless_interim_responses_are_bounded() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    let early = b"HTTP/1.1 103 Early Hints\r\nLink: </>; rel=preload\r\n\r\n".repeat(1_000);
    let head = (b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-Long: y\r\n".to_vec());
    let line = (b"HTTP/1.1 200 OK\r\nX-Long: ".to_vec(), b"y".to_vec());
    for (first, again) in [(Vec::new(), interim), (Vec::new(), early), head, line] {
        let (reply, shown) = (Reply::Endless(first, again.clone()), String::from_utf8_lossy(&again).into_owned());
        let server = Misbehaving::start(move |_| reply.clone()).await;
        let client = server.builder().request_timeout(Duration::from_secs(600)).build().unwrap();
        let error = within("an error", client.sessions().create(30, &Metadata::new())).await.unwrap_err();
        server.closed(1).await;
        assert!(matches!(error, Error::UnexpectedResponse { .. }), "{shown}: {error:?}");
        assert!(error.to_string().contains("comes with more than any registry sends"), "{error}");
        assert_eq!(server.lines().len(), 1, "{shown}");
    }
}

#[tokio::test]
async fn interim_responses_and_long_heads_are_accepted() {
    let values = serde_json::to_string(&vec!["x".repeat(1_000); 6_000]).unwrap();
    let body = format!("{{\"resource\": {{}}, \"rate\": {{}}, \"more\": {values}}}");
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\n".repeat(100);
    let head = format!("HTTP/1.1 200 OK\r\nX-Long: {}\r\nContent-Length: {}\r\n\r\n", "x".repeat(40_000), body.len());
    let server = Misbehaving::start(move |_| Reply::Exactly([&*interim, &head, &body].concat().into_bytes())).await;
    let client = server.client();
    for _ in 0..3 {
        client.account().limits().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

/// It becomes a part of paths: `..` would lead to another resource.
#[tokio::test]
async fn location_without_an_id_is_an_error() {
    let long = format!("/v1.0/sessions/{}", "x".repeat(256));
    for location in
        ["", "/", "/v1.0/sessions/..", "/v1.0/sessions/.", "..", "/sessions/a?b", "/sessions/%2e%2e", &*long]
            .map(str::to_owned)
    {
        let reply = Reply::created(&location, "{\"token\": \"token\"}");
        let server = Misbehaving::start(move |_| reply.clone()).await;
        let error = server.client().sessions().create(30, &Metadata::new()).await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }), "{location}: {error:?}");
        assert!(error.to_string().contains("names no Location of what was created"), "{error}");
        let error = server.client().services().create("se1", "web0", &ServicePayload::default()).await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }), "{location}: {error:?}");
    }
    let server =
        Misbehaving::start(|_| Reply::created("http://h/v1.0/7777/sessions/se-A_1.~", "{\"token\": \"t\"}")).await;
    assert_eq!(server.client().sessions().create(30, &Metadata::new()).await.unwrap().id, "se-A_1.~");
}

#[tokio::test]
async fn unsendable_token_or_tenant_is_an_error() {
    let long = "t".repeat(1 << 20);
    let token = json!({ "token": long });
    let server = Misbehaving::start(move |_| Reply::ok(&token)).await;
    let error = server.client().sessions().heartbeat("se1", "token").await.unwrap_err();
    assert!(error.to_string().contains("holds a token that is too long"), "{error}");
    for (token, tenant, said) in
        [(&*long, "7777", "holds no token"), ("t", "..", "names no tenant"), ("t", &long, "names no tenant")]
    {
        let reply = Reply::ok(&json!({"access": {"token": {"id": token, "tenant": {"id": tenant}}}}));
        let server = Misbehaving::start(move |_| reply.clone()).await;
        let error = server.client_with_credentials().account().limits().await.unwrap_err();
        assert!(matches!(error, Error::UnexpectedResponse { .. }) && error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let elsewhere = Misbehaving::start(|_| Reply::ok(&json!({}))).await;
    let there = elsewhere.url.clone();
    let server = Misbehaving::start(move |seen| match seen.target.as_str() {
        "/v2.0/tokens" => Reply::login("token"),
        _ => Reply::json(302, &json!({})).with("Location", &there),
    })
    .await;
    let error = server.client_with_credentials().account().limits().await.unwrap_err();
    assert_eq!(error.status(), Some(302));
    assert!(error.to_string().ends_with("; redirects are not followed, so give the address it leads to"), "{error}");
    assert_eq!(elsewhere.connections(), 0);
}

/// Runs a test of this file again with a proxy in the environment that refuses every connection.
#[test]
fn proxy_is_not_used_for_loopback() {
    let mut again: Command = clean(std::env::current_exe().unwrap());
    for name in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        again.env(name, "http://127.255.255.254:9");
    }
    let output = again.args(["--exact", "client::connection::fifty_heartbeats_use_one_connection"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

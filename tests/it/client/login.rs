//! The login: when it happens, how often, with which credentials, and the requests before and after it.

use std::time::Duration;

use serde_json::{Value, json};
use service_registry::client::{Client, HeartBeater, HeartbeatEvent, Phase};
use time::OffsetDateTime;

use crate::bench::faulty_server::{page, skip, within};
use crate::bench::{Misbehaving, Reply, Seen};

const LOGIN: &str = "POST /v2.0/tokens";

fn limits() -> Reply {
    Reply::ok(&json!({"resource": {}, "rate": {}}))
}

/// A server whose logins give `token-1`, `token-2`, ... and that answers everything else with `script`, which is
/// told the number of the last login.
async fn server(mut script: impl FnMut(&Seen, usize) -> Reply + Send + 'static) -> Misbehaving {
    let mut logins = 0;
    Misbehaving::start(move |seen| {
        if seen.line() == LOGIN {
            logins += 1;
            return Reply::login(&format!("token-{logins}"));
        }
        script(seen, logins)
    })
    .await
}

fn is_refused(seen: &Seen, token: &str) -> bool {
    seen.header("x-auth-token") != Some(token)
}

fn unauthorized() -> Reply {
    Reply::fault(401, "unauthorizedError", "forbidden")
}

#[tokio::test]
async fn without_credentials_there_is_no_login_no_token_and_no_tenant() {
    let server = server(|_, _| limits()).await;
    server.client().account().limits().await.unwrap();
    let seen = server.seen();
    assert_eq!(server.lines(), ["GET /v1.0/limits"]);
    assert_eq!(seen[0].header("x-auth-token"), None);
    assert!(seen[0].header("user-agent").unwrap().starts_with("service-registry-wrapper/"));
}

#[tokio::test]
async fn one_login_serves_all_calls() {
    let server = server(|_, _| limits()).await;
    let client = server.client_with_credentials();
    for _ in 0..3 {
        client.clone().account().limits().await.unwrap();
    }
    let limits = "GET /v1.0/7777/limits";
    assert_eq!(server.lines(), [LOGIN, limits, limits, limits]);
    let seen = server.seen();
    let credentials = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "joe", "apiKey": "secret-key"}}});
    assert_eq!(seen[0].json(), credentials);
    assert!(seen[1..].iter().all(|seen| seen.header("x-auth-token") == Some("token-1")));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn login_at_another_host_is_used() {
    let identity = server(|_, _| limits()).await;
    let server = Misbehaving::start(|_| limits()).await;
    for auth_url in [identity.url.clone(), format!("{}/v2.0/", identity.url)] {
        let client = server.builder().credentials("joe", "key").auth_url(&auth_url).build().unwrap();
        client.account().limits().await.unwrap();
    }
    assert_eq!(identity.lines(), [LOGIN, LOGIN]);
    assert_eq!(server.seen()[0].header("x-auth-token"), Some("token-1"));
}

#[tokio::test]
async fn tenant_is_found_in_every_known_place() {
    let catalog = json!([
        {"name": "cloudFiles", "type": "object-store", "endpoints": [{"tenantId": "Mosso_1"}]},
        {"name": "cloudServers", "type": "compute", "endpoints": [{"tenantId": "7777"}]},
    ]);
    for access in [
        json!({"token": {"id": "t", "tenant": {"id": "7777"}}, "serviceCatalog": []}),
        json!({"token": {"id": "t", "tenant": {"id": 7777, "name": 7777}}}),
        json!({"token": {"id": "t", "expires": "soon"}, "serviceCatalog": catalog}),
        json!({"token": {"id": "t"}, "serviceCatalog": [{"name": "cloudServers", "endpoints": [{"tenantId": 7777}]}]}),
    ] {
        let server = Misbehaving::start(move |seen| match seen.line().as_str() {
            LOGIN => Reply::ok(&json!({"access": access.clone()})),
            _ => limits(),
        })
        .await;
        server.client_with_credentials().account().limits().await.unwrap();
        assert_eq!(server.lines()[1], "GET /v1.0/7777/limits");
    }
}

#[tokio::test]
async fn login_response_without_token_or_tenant_is_an_error() {
    for (access, said) in [
        (json!({"token": {"id": "t"}}), "names no tenant"),
        (json!({"token": {"tenant": {"id": "7"}}}), "holds no token"),
        (json!({"token": {"id": "a\nb", "tenant": {"id": "7"}}}), "holds no token"),
        (Value::Null, "holds no token"),
    ] {
        let server = Misbehaving::start(move |_| Reply::ok(&json!({"access": access.clone()}))).await;
        let error = server.client_with_credentials().account().limits().await.unwrap_err();
        assert_eq!(error.phase(), Some(Phase::Login));
        assert!(error.to_string().starts_with("logging in: ") && error.to_string().contains(said), "{error}");
    }
}

#[tokio::test]
async fn refused_token_is_replaced_and_the_call_repeated() {
    let server = server(|seen, _| if is_refused(seen, "token-2") { unauthorized() } else { limits() }).await;
    let client = server.client_with_credentials();
    client.account().limits().await.unwrap();
    client.account().limits().await.unwrap();
    let limits = "GET /v1.0/7777/limits";
    assert_eq!(server.lines(), [LOGIN, limits, LOGIN, limits, limits]);
}

#[tokio::test]
async fn second_refusal_is_returned() {
    let server = server(|_, _| unauthorized()).await;
    let error = server.client_with_credentials().account().limits().await.unwrap_err();
    assert_eq!((error.status(), error.phase(), error.is_retryable()), (Some(401), Some(Phase::Call), false));
    assert!(error.to_string().contains("401 unauthorizedError: forbidden; give a user name"), "{error}");
    assert_eq!(server.lines().len(), 4);
    assert_eq!(server.lines().iter().filter(|line| *line == LOGIN).count(), 2);
}

#[tokio::test]
async fn calls_refused_together_log_in_once() {
    let server = server(|seen, _| if is_refused(seen, "token-2") { unauthorized() } else { limits() }).await;
    let client = server.client_with_credentials();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.account().limits().await });
    }
    assert!(within("the calls", calls.join_all()).await.iter().all(Result::is_ok));
    assert_eq!(server.lines().iter().filter(|line| *line == LOGIN).count(), 2);
}

#[tokio::test]
async fn calls_share_the_failure_of_one_login() {
    let server = Misbehaving::start(|_| unauthorized()).await;
    let client = server.client_with_credentials();
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = client.clone();
        calls.spawn(async move { client.account().limits().await.unwrap_err() });
    }
    for error in within("the calls", calls.join_all()).await {
        assert_eq!((error.status(), error.phase()), (Some(401), Some(Phase::Login)));
        assert!(error.to_string().ends_with("; check user name and API key"), "{error}");
        assert!(!format!("{error:?}").contains("secret-key"), "{error:?}");
    }
    assert_eq!(server.lines(), [LOGIN]);
    client.account().limits().await.unwrap_err();
    assert_eq!(server.lines(), [LOGIN, LOGIN], "a later call tries again");
}

#[tokio::test]
async fn login_continues_without_its_caller() {
    let server = server(|_, _| limits()).await;
    let client = server.client_with_credentials();
    let (first, second) = (client.account().limits(), client.account().limits());
    let mut first = std::pin::pin!(first);
    tokio::select! {
        biased;
        _ = &mut first => panic!("no response can have arrived yet"),
        () = std::future::ready(()) => {}
    }
    within("a call beside one that is not polled", second).await.unwrap();
    within("the first one", first).await.unwrap();
    assert_eq!(server.lines().iter().filter(|line| *line == LOGIN).count(), 1);
}

#[tokio::test]
async fn call_with_a_login_keeps_its_time_limit() {
    let mut logins = 0;
    let server = Misbehaving::start(move |seen| {
        logins += usize::from(seen.line() == LOGIN);
        match seen.line().as_str() {
            LOGIN if logins == 1 => Reply::login("token-1"),
            LOGIN => Reply::Silence,
            _ => unauthorized(),
        }
    })
    .await;
    // A heartbeat has 750 ms, and a login by itself the client's 10 s.
    let mut heartbeater = HeartBeater::new(&server.client_with_credentials(), "seAAAAAAAA", "token", 3);
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let beats = heartbeater.run(|beat| {
        if let HeartbeatEvent::Failed { error, .. } = beat {
            let _ = tell.send(error.clone());
        }
    });
    let error = tokio::select! {
        lost = beats => panic!("{lost}"),
        error = within("a failed beat", told.recv()) => error.unwrap(),
    };
    assert!(error.is_timeout() && error.phase() == Some(Phase::Login), "{error}");
    assert!(error.to_string().contains("within 750ms"), "{error}");
}

#[tokio::test]
async fn secret_repeated_by_the_server_is_not_reported() {
    let server = Misbehaving::start(|seen| match seen.line().as_str() {
        LOGIN => Reply::login("token-of-length"),
        _ => Reply::fault(400, "badRequest", "what is token-of-length?"),
    })
    .await;
    let error = server.client_with_credentials().account().limits().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("token-of-length"), "{error}");
    let server = Misbehaving::start(|_| Reply::fault(401, "unauthorized", "no such key: secret-key")).await;
    let error = server.client_with_credentials().account().limits().await.unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret-key"), "{error}");
}

/// A login whose token is good for an hour.
fn hour(token: &str) -> Reply {
    let then = OffsetDateTime::now_utc() + Duration::from_secs(3600);
    let (date, time) = (then.date(), then.time());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let (hour, minute, second) = time.as_hms();
    let expires = format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000-00:00");
    Reply::ok(&json!({"access": {"token": {"id": token, "expires": expires, "tenant": {"id": "7777"}}}}))
}

#[tokio::test]
async fn token_is_renewed_in_the_background() {
    let mut logins = 0;
    let server = Misbehaving::start(move |seen| {
        if seen.line() == LOGIN {
            logins += 1;
            return if logins == 2 { Reply::Silence } else { hour(&format!("token-{logins}")) };
        }
        limits()
    })
    .await;
    let client = server.client_with_credentials();
    client.account().limits().await.unwrap();
    skip(Duration::from_secs(54 * 60)).await;
    client.account().limits().await.unwrap();
    assert_eq!(server.lines().len(), 3, "not yet due: {:?}", server.lines());
    skip(Duration::from_secs(2 * 60)).await;
    for _ in 0..3 {
        within("a call during a login that hangs", client.account().limits()).await.unwrap();
    }
    server.requests(7).await;
    assert_eq!(server.lines().iter().filter(|line| *line == LOGIN).count(), 2, "{:?}", server.lines());
    assert!(server.seen().iter().filter(|seen| seen.method == "GET").all(|seen| !is_refused(seen, "token-1")));
    skip(Duration::from_secs(5 * 60)).await; // the hanging login meets its time limit, the old token its end
    let call = async || client.account().limits().await; // the first one may still share the fate of that login
    within("a new login", async { while call().await.is_err() {} }).await;
    assert_eq!(server.seen().last().unwrap().header("x-auth-token"), Some("token-3"));
}

#[tokio::test]
async fn token_that_seems_expired_is_used() {
    let expired = "2013-01-01T00:00:00.000-00:00";
    let server = Misbehaving::start(move |seen| match seen.line().as_str() {
        LOGIN => Reply::ok(&json!({"access": {"token": {"id": "t", "expires": expired, "tenant": {"id": "7777"}}}})),
        _ => page(&json!([]), None),
    })
    .await;
    let client = server.client_with_credentials();
    client.sessions().list_all().await.unwrap();
    client.sessions().list_all().await.unwrap();
    assert_eq!(server.lines().iter().filter(|line| *line == LOGIN).count(), 1);
}

#[test]
fn invalid_settings_are_refused_without_secrets() {
    for (builder, said) in [
        (Client::builder().registry_url("localhost"), "the registry URL does not begin with http://"),
        (Client::builder().credentials("a", "b").auth_url("ftp://x"), "the auth URL begins with ftp:"),
        (Client::builder().request_timeout(Duration::ZERO), "a request timeout of zero"),
        (Client::builder().ca_file("/nowhere/ca.pem"), "cannot use the CA file /nowhere/ca.pem: "),
    ] {
        let error = builder.build().unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(!error.is_retryable());
    }
    let builder = Client::builder().credentials("joe", "secret-key");
    assert!(format!("{builder:?}").contains("joe") && !format!("{builder:?}").contains("secret-key"));
    assert_eq!(builder.build().unwrap().registry_url().as_str(), "http://127.0.0.1:7117/v1.0");
}

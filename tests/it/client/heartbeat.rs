//! Heartbeats against a registry that misbehaves: sent again, with the same token, until it says 404.

use std::time::Duration;

use serde_json::json;
use service_registry::client::{HeartBeater, HeartbeatEvent};

use crate::bench::faulty_server::within;
use crate::bench::{Misbehaving, Reply};

const OLD: &str = "6bc8d050-f86a-11e1-a89e-ca2ffe480b20";
const NEW: &str = "7d1ba1a0-f86a-11e1-a89e-ca2ffe480b20";
/// The shortest timeout there is: a beat has 750 ms.
const TIMEOUT: u32 = 3;

fn lost() -> Reply {
    let message = format!("Object \"HeartbeatMarker\" with key \"{NEW}\" does not exist");
    Reply::fault(404, "notFoundError", &message)
}

#[tokio::test]
async fn failed_heartbeat_is_repeated_with_the_same_token() {
    let mut script = vec![
        Reply::fault(500, "internalError", "Internal Error"),
        Reply::Close,
        Reply::Bytes(b"nonsense\r\n\r\n".to_vec()),
        Reply::Silence,
        Reply::ok(&json!({"token": ""})),
        Reply::ok(&json!({"toke": 1})),
        Reply::fault(401, "unauthorizedError", "forbidden"),
        Reply::fault(400, "rateLimitReached", "Rate limit has been reached."),
        Reply::ok(&json!({"token": NEW})),
        lost(),
    ]
    .into_iter();
    let server = Misbehaving::start(move |_| script.next().unwrap()).await;
    let mut heartbeater = HeartBeater::new(&server.client(), "seAAAAAAAA", OLD, TIMEOUT);
    let mut beats = Vec::new();
    let error = within(
        "the end of the session",
        heartbeater.run(|beat| match beat {
            HeartbeatEvent::Failed { error, retry_in, .. } => beats.push((Some(error.to_string()), retry_in)),
            HeartbeatEvent::Accepted { .. } => beats.push((None, Duration::ZERO)),
            _ => {}
        }),
    )
    .await;
    assert!(error.is_not_found(), "{error}");
    assert!(!format!("{error} {error:?}").contains(NEW), "the token is told: {error:?}");

    let failed: Vec<_> = beats[..8].iter().map(|(error, _)| error.as_deref().unwrap()).collect();
    for (error, part) in failed.iter().zip([
        "500",
        "ended",
        "did not reply with HTTP",
        "within 750ms",
        "empty token",
        "JSON",
        "401",
        "400",
    ]) {
        assert!(error.contains(part), "{failed:#?}");
    }
    assert_eq!(beats[0].1, Duration::ZERO, "the first retry is at once");
    assert!(beats[1..8].iter().all(|(_, pause)| (100..=750).contains(&pause.as_millis())), "{beats:?}");
    assert_eq!(beats[8..], [(None, Duration::ZERO)]);

    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.line() == "POST /v1.0/sessions/seAAAAAAAA/heartbeat"));
    let tokens: Vec<_> = seen.iter().map(|seen| seen.json()["token"].as_str().unwrap().to_owned()).collect();
    assert!(tokens[..9].iter().all(|token| token == OLD), "{tokens:?}");
    assert_eq!(tokens[9], NEW);
    for two in seen[1..9].windows(2) {
        assert!(two[1].at - two[0].at >= Duration::from_millis(100), "{:?}", two[1].at - two[0].at);
    }
    let regular = (seen[9].at - seen[8].at).as_secs_f64();
    assert!(regular > 0.6 * 0.95 * 3.0 - 0.01, "{regular} s after an accepted beat");
    assert_eq!(heartbeater.token(), NEW);
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let mut script = vec![
        Reply::fault(503, "systemFailureError", "Internal Error").with("Retry-After", "1"),
        Reply::fault(503, "systemFailureError", "Internal Error").with("Retry-After", "3600"),
        lost(),
    ]
    .into_iter();
    let server = Misbehaving::start(move |_| script.next().unwrap_or(Reply::Silence)).await;
    let mut heartbeater = HeartBeater::new(&server.client(), "seAAAAAAAA", OLD, TIMEOUT);
    let mut pauses = Vec::new();
    let record = |beat: HeartbeatEvent<'_>| {
        if let HeartbeatEvent::Failed { retry_in, error, .. } = beat {
            pauses.push((error.retry_after().unwrap().as_secs(), retry_in.as_secs_f64()));
        }
    };
    within("the end of the session", heartbeater.run(record)).await;
    let [(1, first), (3600, second)] = pauses[..] else { panic!("{pauses:?}") };
    assert!((1.0..=1.05).contains(&first), "{first}");
    let both = first + second;
    assert!((1.9..=2.2).contains(&both), "no longer than two thirds of the timeout: {both}");
}

#[tokio::test]
async fn refused_heartbeat_token_ends_the_heartbeats() {
    let server = Misbehaving::start(|_| Reply::fault(400, "badRequest", "Validation error for key 'token'")).await;
    let mut heartbeater = HeartBeater::new(&server.client(), "seAAAAAAAA", "nonsense", TIMEOUT);
    let error = within("the end", heartbeater.run(|_| {})).await;
    assert_eq!((error.status(), error.is_not_found()), (Some(400), false));
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn refused_login_token_keeps_the_session() {
    let mut refused = false;
    let server = Misbehaving::start(move |seen| match seen.line().as_str() {
        "POST /v2.0/tokens" => Reply::login("login"),
        _ if !std::mem::replace(&mut refused, true) => Reply::fault(401, "unauthorizedError", "forbidden"),
        _ => lost(),
    })
    .await;
    let client = server.client_with_credentials();
    let error = within("the end", HeartBeater::new(&client, "seAAAAAAAA", OLD, TIMEOUT).run(|_| {})).await;
    assert!(error.is_not_found());
    let (login, beat) = ("POST /v2.0/tokens", "POST /v1.0/7777/sessions/seAAAAAAAA/heartbeat");
    assert_eq!(server.lines(), [login, beat, login, beat]);
}

#[tokio::test]
async fn started_heartbeater_reports_the_loss_of_its_session() {
    let server = Misbehaving::start(|_| lost()).await;
    let mut heartbeater = HeartBeater::new(&server.client(), "seAAAAAAAA", OLD, TIMEOUT);
    heartbeater.start();
    heartbeater.start();
    assert!(within("the loss", heartbeater.lost()).await.is_not_found());
    assert_eq!(server.lines().len(), 1, "started once");
    heartbeater.start();
    server.requests(2).await;
}

#[tokio::test]
async fn stopped_or_dropped_heartbeater_ends_its_request() {
    let server = Misbehaving::start(|_| Reply::Silence).await;
    let client = server.client();
    let mut heartbeater = HeartBeater::new(&client, "seAAAAAAAA", OLD, 120);
    heartbeater.start();
    server.requests(1).await;
    heartbeater.stop();
    server.closed(1).await;
    heartbeater.start();
    server.requests(2).await;
    drop(heartbeater);
    server.closed(2).await;
}

/// The wrapper runs it in a task of its own, so the future has to be able to move there.
#[tokio::test]
async fn dropped_run_can_be_continued() {
    let mut count = 0;
    let server = Misbehaving::start(move |_| {
        count += 1;
        if count == 1 { Reply::ok(&json!({"token": NEW})) } else { lost() }
    })
    .await;
    let mut heartbeater = HeartBeater::new(&server.client(), "seAAAAAAAA", OLD, 120);
    let (told, accepted) = tokio::sync::oneshot::channel();
    let mut told = Some(told);
    tokio::select! {
        _ = heartbeater.run(move |event| if let HeartbeatEvent::Accepted { .. } = event {
            told.take().map(|told| told.send(()));
        }) => panic!("the next beat is 68 s away"),
        accepted = within("a beat", accepted) => accepted.unwrap(),
    }
    let error = within("the end", tokio::spawn(async move { heartbeater.run(|_| {}).await })).await.unwrap();
    assert!(error.is_not_found());
    assert_eq!(server.seen()[1].json()["token"], NEW);
}

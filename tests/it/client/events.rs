//! The events poller: every event once and in order, over pages, failures and a registry that was set up anew.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use service_registry::client::Client;

use crate::bench::faulty_server::within;
use crate::bench::{Misbehaving, Reply, Seen};

/// Entries of a page.
const LIMIT: usize = 3;

type Events = Arc<Mutex<Vec<Value>>>;

fn event(number: usize) -> Value {
    json!({"id": format!("id-{number:04}"), "timestamp": number, "type": "service.join", "payload": {}})
}

fn marker(seen: &Seen) -> Option<&str> {
    let query = seen.target.split_once('?')?.1;
    query.split('&').find_map(|pair| pair.strip_prefix("marker="))
}

/// Answers as a registry does: the marker is inclusive, the next page begins with the first event not given.
fn feed(events: &Events, seen: &Seen) -> Reply {
    let events = events.lock().unwrap();
    let from = marker(seen).unwrap_or_default();
    let mut rest = events.iter().filter(|event| event["id"].as_str().unwrap() >= from);
    let values: Vec<_> = rest.by_ref().take(LIMIT).collect();
    let next = rest.next().map(|event| &event["id"]);
    let metadata =
        json!({"count": values.len(), "limit": LIMIT, "marker": null, "next_marker": next, "next_href": null});
    Reply::ok(&json!({"values": values, "metadata": metadata}))
}

/// The numbers of the next events; failures on the way are passed over.
async fn next(poller: &mut service_registry::client::EventsPoller, count: usize) -> Vec<usize> {
    let mut numbers = Vec::new();
    while numbers.len() < count {
        if let Ok(event) = within("an event", poller.next()).await {
            numbers.push(usize::try_from(event.timestamp).unwrap());
        }
    }
    numbers
}

#[tokio::test]
async fn page_too_long_is_read_in_parts() {
    let events: Events = Arc::default();
    *events.lock().unwrap() = (1..=2).map(event).collect();
    let all = events.clone();
    let server = Misbehaving::start(move |seen| {
        let limit = seen.target.split(['?', '&']).find_map(|pair| pair.strip_prefix("limit="));
        match limit.map_or(100, |limit| limit.parse().unwrap()) {
            0..=3 => feed(&all, seen),
            _ => Reply::ok(&json!("x".repeat(9 << 20))),
        }
    })
    .await;
    let mut poller = server.client().events().poller().every(Duration::from_secs(3600));
    assert_eq!([1, 2], *next(&mut poller, 2).await);
    let error = server.client().sessions().list_all().await.unwrap_err();
    assert!(error.to_string().contains("is not the documented JSON"), "a page of its kind in the end: {error}");
}

#[tokio::test]
async fn every_event_is_returned_once_despite_failures() {
    let events: Events = Arc::default();
    let (all, mut count) = (events.clone(), 0);
    let server = Misbehaving::start(move |seen| {
        count += 1;
        match count % 7 {
            2 => Reply::Close,
            4 => Reply::fault(500, "internalError", "Internal Error"),
            6 => Reply::Answer { status: 200, headers: vec![], body: "<html>".to_owned() },
            _ => feed(&all, seen),
        }
    })
    .await;
    let mut poller = server.client().events().poller().every(Duration::from_millis(1));
    let mut had = 0;
    for batch in [1, 2, 3, 4, 6, 7, 10, 1, 30] {
        events.lock().unwrap().extend((had..had + batch).map(event));
        assert_eq!(next(&mut poller, batch).await, (had..had + batch).collect::<Vec<_>>());
        had += batch;
        assert_eq!(poller.marker(), Some(format!("id-{:04}", had - 1).as_str()));
    }
    let silence = tokio::time::timeout(Duration::from_millis(50), async { while poller.next().await.is_err() {} });
    assert!(silence.await.is_err(), "an event too many");
}

#[tokio::test]
async fn pages_follow_without_a_pause_and_a_failure_is_returned_once() {
    let events: Events = Arc::new(Mutex::new((0..10).map(event).collect()));
    let server = Misbehaving::start(move |seen| feed(&events, seen)).await;
    let mut poller = server.client().events().poller().every(Duration::from_secs(3600)).of_type("service.join");
    assert_eq!(next(&mut poller, 10).await, (0..10).collect::<Vec<_>>());
    let asked = ["", "marker=id-0003&", "marker=id-0006&", "marker=id-0009&"];
    let asked = asked.map(|marker| format!("GET /v1.0/events?{marker}type=service.join"));
    assert_eq!(server.lines(), asked);

    let server = Misbehaving::start(|_| Reply::fault(503, "systemFailureError", "Internal Error")).await;
    let mut poller = server.client().events().poller().every(Duration::from_secs(3600));
    assert_eq!(within("a failure", poller.next()).await.unwrap_err().status(), Some(503));
    assert!(tokio::time::timeout(Duration::from_millis(50), poller.next()).await.is_err(), "told twice");
    assert_eq!(server.lines().len(), 1);
}

/// A registry reads this many old events for one request, whether or not one of them has the requested type.
#[tokio::test]
async fn empty_page_with_next_marker_is_followed() {
    let server = Misbehaving::start(|seen| {
        let (values, next) = match marker(seen) {
            None => (vec![], Some("id-0003")),
            Some("id-0003") => (vec![], Some("id-0006")),
            Some("id-0006") => (vec![event(7)], None),
            other => panic!("{other:?}"),
        };
        let metadata = json!({"count": values.len(), "limit": 100, "next_marker": next});
        Reply::ok(&json!({"values": values, "metadata": metadata}))
    })
    .await;
    let mut poller = server.client().events().poller().every(Duration::from_millis(1));
    assert_eq!(next(&mut poller, 1).await, [7]);
}

#[tokio::test]
async fn restarted_program_continues_after_its_marker() {
    let events: Events = Arc::new(Mutex::new((0..5).map(event).collect()));
    let server = Misbehaving::start(move |seen| feed(&events, seen)).await;
    let client: Client = server.client();
    let mut poller = client.events().poller();
    assert_eq!(next(&mut poller, 2).await, [0, 1]);
    let marker = poller.marker().unwrap().to_owned();
    let mut poller = client.events().poller().after(marker);
    assert_eq!(next(&mut poller, 3).await, [2, 3, 4]);
}

/// Its marker is older than the account, which the registry refuses for ever.
#[tokio::test]
async fn new_registry_is_read_from_its_beginning() {
    let server = Misbehaving::start(|seen| match marker(seen) {
        Some("old") => {
            Reply::fault(400, "badRequest", "from parameter must be greater than or equal to the account creation date")
        }
        _ => feed(&Arc::new(Mutex::new(vec![event(0)])), seen),
    })
    .await;
    let mut poller = server.client().events().poller().after("old").every(Duration::from_millis(1));
    assert_eq!(within("an event", poller.next()).await.unwrap().timestamp, 0);
}

#[tokio::test]
async fn other_refusals_of_a_marker_are_returned() {
    let server = Misbehaving::start(|_| Reply::fault(400, "badRequest", "Invalid UUID")).await;
    let mut poller = server.client().events().poller().after("nonsense");
    assert_eq!(within("a refusal", poller.next()).await.unwrap_err().status(), Some(400));
    assert_eq!(poller.marker(), Some("nonsense"));
}

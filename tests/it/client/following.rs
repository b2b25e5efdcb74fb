//! Streams of events and lists: nothing is missed and nothing comes twice, whatever happens to the registry.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use service_registry::client::{
    Client, Error, Followed, ListOptions, ServiceFilter, ServicePayload, ServiceUpdate, Watched,
};
use service_registry::registry::Config;
use service_registry::wire::{Event, Metadata, Service};

use crate::bench::authority::Authority;
use crate::bench::durable::start;
use crate::bench::faulty_server::{page, within};
use crate::bench::{Misbehaving, Registry, Reply, Seen, Server, USERS, eventually, free_address, request};

fn client(url: &str) -> Client {
    Client::builder().registry_url(url).build().unwrap()
}

/// The next event or list; interruptions are passed over.
async fn next<T>(stream: &mut (impl Stream<Item = Result<T, Error>> + Unpin), is: fn(&T) -> bool) -> T {
    loop {
        let item = within("an item", stream.next()).await.unwrap().unwrap();
        if is(&item) {
            return item;
        }
    }
}

async fn event(stream: &mut (impl Stream<Item = Result<Followed, Error>> + Unpin)) -> Event {
    match next(stream, |item| !matches!(item, Followed::Interrupted(_))).await {
        Followed::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

async fn list(stream: &mut (impl Stream<Item = Result<Watched, Error>> + Unpin)) -> Vec<String> {
    match next(stream, |item| matches!(item, Watched::List(_))).await {
        Watched::List(services) => services.iter().map(id).collect(),
        other => panic!("{other:?}"),
    }
}

fn id(service: &Service) -> String {
    match service {
        Service::InSession(service) => service.id.clone(),
        Service::Own(service) => service.id.clone(),
    }
}

/// Ids of services, after these events.
fn replay(events: &[Event]) -> BTreeSet<String> {
    let mut listed = BTreeSet::new();
    for event in events {
        let id = event.payload["id"].as_str().unwrap_or_default().to_owned();
        match event.kind.as_str() {
            "service.join" => assert!(listed.insert(id)),
            "service.remove" | "service.timeout" => assert!(listed.remove(&id)),
            _ => {}
        }
    }
    listed
}

/// Every event of the feed, as a reader of pages gets it.
fn all_events(url: &str) -> Vec<String> {
    let (mut all, mut marker) = (Vec::new(), String::new());
    loop {
        let (_, page) = request(url, "GET", &format!("/v1.0/1/events?limit=1000{marker}"), "").unwrap();
        let ids = page["values"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned());
        all.extend(ids);
        match page["metadata"]["next_marker"].as_str() {
            Some(next) => marker = format!("&marker={next}"),
            None => return all,
        }
    }
}

/// Registers and removes services and sets values, until it is told to stop. What fails is left out.
fn change(url: &str, is_over: &AtomicBool) {
    for number in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let id = format!("web-{}", number % 7);
        let value = json!({"value": number.to_string()}).to_string();
        let service = json!({"id": id, "heartbeat_timeout": 120}).to_string();
        for (method, path, body) in [
            ("POST", "/v1.0/1/services".to_owned(), service),
            ("PUT", "/v1.0/1/configuration/key".to_owned(), value),
            ("DELETE", format!("/v1.0/1/services/web-{}", (number + 3) % 7), String::new()),
        ] {
            let _ = request(url, method, &path, &body); // the registry may be away
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_feed_is_complete_and_in_order_through_kills() {
    let (folder, at) = (tempfile::tempdir().unwrap(), free_address());
    let mut registry = start(&at, folder.path());
    let url = registry.url.clone();
    assert_eq!(request(&url, "PUT", "/v1.0/1/configuration/key", r#"{"value": "first"}"#).unwrap().0, 204);
    let first = all_events(&url).remove(0);
    let client = client(&url);
    let mut followed = client.events().follow(Some(&first));
    let mut watched = client.services().watch(ServiceFilter::default());
    let is_over = Arc::new(AtomicBool::new(false));
    let changing = thread::spawn({
        let (url, is_over) = (url.clone(), is_over.clone());
        move || change(&url, &is_over)
    });
    let mut events = Vec::new();
    for _ in 0..5 {
        for _ in 0..50 {
            events.push(event(&mut followed).await);
        }
        registry.process.signal(Signal::SIGKILL);
        registry.process.end();
        registry = start(&at, folder.path());
    }
    is_over.store(true, Ordering::Relaxed);
    changing.join().unwrap();
    let all = all_events(&url);
    while events.len() < all.len() - 1 {
        events.push(event(&mut followed).await);
    }
    assert_eq!(events.iter().map(|event| event.id.as_str()).collect::<Vec<_>>(), all[1..]);
    let listed = client.services().list(&ListOptions::default()).await.unwrap();
    let listed: BTreeSet<String> = listed.services.iter().map(id).collect();
    assert_eq!(replay(&events), listed);
    while list(&mut watched).await.into_iter().collect::<BTreeSet<_>>() != listed {}
}

#[tokio::test]
async fn follower_without_a_marker_begins_now_and_selects_types() {
    let registry = Registry::start();
    let client = client(&registry.url);
    client.configuration().set("key", "before").await.unwrap();
    let mut all = pin!(client.events().follow(None));
    let mut removals = pin!(client.events().follow(None).of_type("configuration_value.remove"));
    let changes = async {
        // A follower has no position before it was polled; its first answer is not visible.
        for number in 0.. {
            client.configuration().set("key", &number.to_string()).await.unwrap();
            client.configuration().remove("key").await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (first, removal) = tokio::select! {
        () = changes => unreachable!(),
        both = async { tokio::join!(event(&mut all), event(&mut removals)) } => both,
    };
    assert_ne!(first.payload["new_value"], "before");
    assert_eq!(removal.kind, "configuration_value.remove");
}

#[tokio::test]
async fn registry_that_was_set_up_anew_is_followed_from_its_beginning() {
    let at = free_address();
    let mut registry = Registry::start_at(&at, &[]);
    let client = client(&registry.url);
    client.configuration().set("key", "old").await.unwrap();
    let first = all_events(&registry.url).remove(0);
    let mut followed = client.events().follow(Some(&first));
    client.configuration().set("key", "older").await.unwrap();
    assert_eq!(event(&mut followed).await.payload["new_value"], "older");
    registry.process.signal(Signal::SIGKILL);
    registry.process.end();
    assert!(matches!(within("the outage", followed.next()).await, Some(Ok(Followed::Interrupted(_)))));
    // The account of the new one begins five seconds before its first request.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let registry = Registry::start_at(&at, &[]);
    eventually("the registry", || request(&registry.url, "GET", "/v1.0/1/limits", "").ok());
    client.configuration().set("key", "new").await.unwrap();
    let again = next(&mut followed, |item| !matches!(item, Followed::Interrupted(_))).await;
    assert!(matches!(again, Followed::StartedAgain), "{again:?}");
    assert_eq!(event(&mut followed).await.payload["new_value"], "new");
}

#[tokio::test]
async fn marker_older_than_the_events_starts_again_and_says_so() {
    let server = Server::start(Config::anonymous().events_retention(Duration::from_secs(600)));
    let client = client(&format!("http://{}", server.address));
    client.configuration().set("key", "1").await.unwrap();
    let first = all_events(&format!("http://{}", server.address)).remove(0);
    client.configuration().set("key", "2").await.unwrap();
    server.advance(900_000);
    client.configuration().set("key", "3").await.unwrap();
    let mut followed = client.events().follow(Some(&first));
    assert!(matches!(within("an item", followed.next()).await, Some(Ok(Followed::StartedAgain))));
    assert_eq!(event(&mut followed).await.payload["new_value"], "3");
}

#[tokio::test]
async fn final_error_is_the_last_item() {
    let server = Misbehaving::start(|_| Reply::fault(401, "unauthorizedError", "forbidden")).await;
    let mut followed = server.client().events().follow(Some("x"));
    let mut watched = server.client().services().watch(ServiceFilter::tag("www"));
    let mut copy = server.client().services().copy(ServiceFilter::default());
    assert_eq!(within("an error", followed.next()).await.unwrap().unwrap_err().status(), Some(401));
    assert!(within("the end", followed.next()).await.is_none());
    assert_eq!(within("an error", watched.next()).await.unwrap().unwrap_err().status(), Some(401));
    assert!(within("the end", watched.next()).await.is_none());
    for _ in 0..2 {
        assert_eq!(within("an error", copy.changed()).await.unwrap_err().status(), Some(401));
    }
    assert_eq!((copy.current().version, copy.current().interrupted.is_some()), (0, true));
}

/// Version 0.1.0: markers are inclusive, nothing waits, lists have no tags.
fn old_registry(events: &Mutex<Vec<Value>>, services: &Mutex<Value>, seen: &Seen) -> Reply {
    if seen.target.contains("/services") {
        return page(&services.lock().unwrap(), None);
    }
    let events = events.lock().unwrap();
    let marker = seen.target.split(['?', '&']).find_map(|pair| pair.strip_prefix("marker=")).unwrap_or_default();
    let mut rest = events.iter().filter(|event| event["id"].as_str().unwrap() >= marker);
    let values: Vec<&Value> = rest.by_ref().take(2).collect();
    page(&json!(values), rest.next().and_then(|event| event["id"].as_str()))
}

#[tokio::test]
async fn registry_that_does_not_wait_is_polled() {
    let event_of =
        |number: usize| json!({"id": format!("id-{number}"), "timestamp": number, "type": "x", "payload": {}});
    let events: Arc<Mutex<Vec<Value>>> = Arc::new(Mutex::new((0..5).map(event_of).collect()));
    let service =
        |id: &str, seen: u64| json!({"id": id, "tags": [], "metadata": {}, "heartbeat_timeout": 30, "last_seen": seen});
    let services = Arc::new(Mutex::new(json!([service("web-1", 1)])));
    let server = Misbehaving::start({
        let (events, services) = (events.clone(), services.clone());
        move |seen| old_registry(&events, &services, seen)
    })
    .await;
    let client = server.client();
    let all = std::mem::take(&mut *events.lock().unwrap());
    let mut from_nothing = client.events().follow(None);
    assert!(tokio::time::timeout(Duration::from_millis(100), from_nothing.next()).await.is_err(), "there is nothing");
    *events.lock().unwrap() = all;
    assert_eq!(event(&mut from_nothing).await.timestamp, 0);
    let mut after = client.events().follow(Some("id-2"));
    assert_eq!((event(&mut after).await.timestamp, event(&mut after).await.timestamp), (3, 4));
    let mut from_now = client.events().follow(None);
    assert!(tokio::time::timeout(Duration::from_millis(100), from_now.next()).await.is_err(), "nothing is new");
    events.lock().unwrap().push(event_of(5));
    assert_eq!((event(&mut from_now).await.timestamp, event(&mut after).await.timestamp), (5, 5));

    let mut watched = client.services().watch(ServiceFilter::default());
    assert_eq!(list(&mut watched).await, ["web-1"]);
    *services.lock().unwrap() = json!([service("web-1", 2)]);
    let heartbeat = tokio::time::timeout(Duration::from_millis(2500), watched.next()).await;
    assert!(heartbeat.is_err(), "a heartbeat is no change");
    *services.lock().unwrap() = json!([service("web-1", 3), service("web-2", 3)]);
    assert_eq!(list(&mut watched).await, ["web-1", "web-2"]);
}

/// With users and TLS; the users are replaced in the meantime.
#[tokio::test]
async fn copy_has_a_version_for_every_change_of_its_services() {
    let authority = Authority::new();
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), USERS).unwrap();
    let registry = authority.serve(&["--users", users.path().to_str().unwrap()]);
    let builder = || {
        let url = registry.url.replace("127.0.0.1", "localhost");
        Client::builder().registry_url(&url).credentials("joe", "joes-key").ca_file(authority.path("ca"))
    };
    let client = builder().build().unwrap();
    let session = client.sessions().create(60, &Metadata::new()).await.unwrap();
    let payload = |tag: &str| ServicePayload { tags: vec![tag.to_owned()], metadata: Metadata::new() };
    let mut copy = client.services().copy(ServiceFilter::tag("www"));
    let mut watched = builder().build().unwrap().services().watch(ServiceFilter::tag("www"));
    assert_eq!(list(&mut watched).await, [""; 0]);
    assert_eq!(within("a version", copy.changed()).await.unwrap().version, 1);
    client.services().create(&session.id, "db-1", &payload("db")).await.unwrap();
    client.services().create(&session.id, "web-1", &payload("www")).await.unwrap();
    assert_eq!(list(&mut watched).await, ["web-1"]);
    let second = within("a version", copy.changed()).await.unwrap();
    assert_eq!((second.version, second.services.iter().map(id).collect::<Vec<_>>()), (2, vec!["web-1".to_owned()]));
    let metadata = Some(Metadata::from([("port".to_owned(), "1".to_owned())]));
    client.services().update("web-1", &ServiceUpdate { metadata, ..ServiceUpdate::default() }).await.unwrap();
    assert_eq!(within("a version", copy.changed()).await.unwrap().version, 3);
    assert_eq!(copy.current().version, 3);
    client.sessions().remove(&session.id).await.unwrap();
    assert_eq!(within("a version", copy.changed()).await.unwrap().services.len(), 0);
}

/// More than a page: each page is watched.
#[tokio::test]
async fn change_on_any_page_of_a_long_list_is_seen() {
    let registry = Registry::start_with(&["-q"]);
    let client = client(&registry.url);
    let session = client.sessions().create(120, &Metadata::new()).await.unwrap();
    for number in 1000..2010 {
        client.services().create(&session.id, &format!("web-{number}"), &ServicePayload::default()).await.unwrap();
    }
    let mut watched = client.services().watch(ServiceFilter::default());
    assert_eq!(list(&mut watched).await.len(), 1010);
    for (removed, left) in [("web-2005", 1009), ("web-1005", 1008)] {
        client.services().remove(removed).await.unwrap();
        assert_eq!(list(&mut watched).await.len(), left);
    }
}

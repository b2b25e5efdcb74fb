//! Services: an id that is in use, pages of lists, and the cached list.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use service_registry::client::{ListOptions, ServicePayload};
use service_registry::wire::Service;

use crate::bench::faulty_server::page;
use crate::bench::{Misbehaving, Reply};

fn payload() -> ServicePayload {
    let metadata = [("port".to_owned(), "8000".to_owned())].into();
    ServicePayload { tags: vec!["api".to_owned(), "www".to_owned()], metadata }
}

fn service(id: &str, session: &str) -> Value {
    json!({"id": id, "session_id": session, "tags": [], "metadata": {}})
}

fn exists() -> Reply {
    Reply::fault(400, "serviceWithThisIdExists", "Service with id web0 already exists.")
}

fn created() -> Reply {
    Reply::created("https://host/v1.0/7777/services/web0", "")
}

fn ids(services: &[Service]) -> Vec<&str> {
    fn id(service: &Service) -> &str {
        match service {
            Service::InSession(service) => &service.id,
            Service::Own(service) => &service.id,
        }
    }
    services.iter().map(id).collect()
}

#[tokio::test]
async fn id_in_use_is_waited_for() {
    let mut count = 0;
    let server = Misbehaving::start(move |seen| match seen.method.as_str() {
        "GET" => Reply::ok(&service("web0", "seOther000")),
        _ => {
            count += 1;
            if count < 4 { exists() } else { created() }
        }
    })
    .await;
    let (client, start) = (server.client(), Instant::now());
    let services = client.services().retry_every(Duration::from_millis(30));
    assert_eq!(services.register("seMine0000", "web0", &payload()).await.unwrap(), "web0");
    assert!(start.elapsed() >= Duration::from_millis(90));
    let posts: Vec<_> = server.seen().into_iter().filter(|seen| seen.method == "POST").collect();
    assert_eq!(posts.len(), 4);
    let body = json!({"id": "web0", "session_id": "seMine0000", "tags": ["api", "www"], "metadata": {"port": "8000"}});
    assert!(posts.iter().all(|seen| seen.json() == body));
}

#[tokio::test]
async fn waiting_for_an_id_ends_and_other_refusals_return_at_once() {
    let server = Misbehaving::start(|seen| match seen.method.as_str() {
        "GET" => Reply::ok(&service("web0", "seOther000")),
        _ => exists(),
    })
    .await;
    let client = server.client();
    let services = client.services().retry_every(Duration::from_millis(300)).retry_for(Duration::from_secs(1));
    let error = services.register("seMine0000", "web0", &payload()).await.unwrap_err();
    assert!(error.is_fault("serviceWithThisIdExists") && error.is_retryable(), "{error}");
    let attempts = server.lines().iter().filter(|line| line.starts_with("POST")).count();
    assert!((2..=4).contains(&attempts), "{attempts}: four, or fewer on a busy machine");

    let server = Misbehaving::start(|_| Reply::fault(404, "notFoundError", "object does not exist")).await;
    let error = server.client().services().register("seGone0000", "web0", &payload()).await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(server.lines().len(), 1);
}

/// The first answer was lost: the id is taken by the very session that asks for it.
#[tokio::test]
async fn existing_service_gets_the_payload() {
    let server = Misbehaving::start(|seen| match seen.method.as_str() {
        "GET" => Reply::ok(&service("web0", "seMine0000")),
        "PUT" => Reply::no_content(),
        _ => exists(),
    })
    .await;
    let id = server.client().services().register("seMine0000", "web0", &payload()).await.unwrap();
    assert_eq!(id, "web0");
    assert_eq!(server.lines(), ["POST /v1.0/services", "GET /v1.0/services/web0", "PUT /v1.0/services/web0"]);
    assert_eq!(server.seen()[2].json(), json!({"tags": ["api", "www"], "metadata": {"port": "8000"}}));
}

#[tokio::test]
async fn all_pages_are_read() {
    let server = Misbehaving::start(|seen| match seen.target.as_str() {
        "/v1.0/services?tag=api&limit=1000" => page(&json!([service("a00", "s"), service("b00", "s")]), Some("c00")),
        "/v1.0/services?tag=api&limit=1000&marker=c00" => page(&json!([service("c00", "s")]), Some("d00")),
        "/v1.0/services?tag=api&limit=1000&marker=d00" => page(&json!([service("d00", "s")]), None),
        other => panic!("{other}"),
    })
    .await;
    let list = server.client().services().list_all_for_tag("api").await.unwrap();
    assert_eq!(ids(&list.services), ["a00", "b00", "c00", "d00"]);
    assert!(list.next_marker.is_none() && list.stale.is_none());
}

#[tokio::test]
async fn circular_pages_are_an_error() {
    for circle in [["c00", "c00"], ["c00", "b00"]] {
        let mut next = circle.into_iter();
        let server = Misbehaving::start(move |_| page(&json!([service("a00", "s")]), next.next())).await;
        let error = server.client().services().list_all().await.unwrap_err();
        assert!(error.to_string().contains("has a next_marker that does not lead on"), "{error}");
        assert_eq!(server.lines().len(), 2);
    }
}

#[tokio::test]
async fn last_list_is_returned_as_stale_during_an_outage() {
    let mut count = 0;
    let server = Misbehaving::start(move |_| {
        count += 1;
        match count {
            1 | 6 => page(&json!([service("a00", "s")]), Some("b00")),
            2 => Reply::fault(503, "systemFailureError", "Internal Error"),
            3 | 4 => Reply::Close, // reading is tried twice
            5 => Reply::Answer { status: 200, headers: vec![], body: "<html>".to_owned() },
            _ => Reply::fault(400, "badRequest", "no"),
        }
    })
    .await;
    let client = server.client();
    let options = ListOptions { limit: Some(1), marker: None };
    let asked = Instant::now();
    assert!(client.services().list_for_tag("api", &options).await.unwrap().stale.is_none());
    for why in ["503", "ended", "documented JSON"] {
        let list = client.clone().services().list_for_tag("api", &options).await.unwrap();
        assert_eq!((ids(&list.services), list.next_marker.as_deref()), (vec!["a00"], Some("b00")));
        let stale = list.stale.unwrap();
        assert!(stale.error.to_string().contains(why), "{}", stale.error);
        assert!(stale.age > Duration::ZERO && stale.age <= asked.elapsed());
    }
    assert!(client.services().list_for_tag("api", &options).await.unwrap().stale.is_none());
    let error = client.services().list_for_tag("api", &options).await.unwrap_err();
    assert_eq!(error.status(), Some(400), "a refusal is an answer, not an absence");
}

#[tokio::test]
async fn list_is_not_answered_with_another_lists_cache() {
    let server = Misbehaving::start(|seen| match seen.target.as_str() {
        "/v1.0/services?limit=1000" => page(&json!([]), None),
        _ => Reply::Close,
    })
    .await;
    let client = server.client();
    client.services().list_all().await.unwrap();
    assert!(client.services().list(&ListOptions::default()).await.unwrap_err().is_retryable());
    assert!(client.services().list_all_for_tag("api").await.unwrap_err().is_retryable());
}

//! Every call of the API: the request, and the result of a recorded response.

use serde_json::{Value, json};
use service_registry::client::{Client, EventOptions, ListOptions, ServicePayload, ServiceUpdate, SessionUpdate};
use service_registry::wire::{Metadata, Service};

use crate::bench::faulty_server::page;
use crate::bench::{Misbehaving, Reply};

/// A client of a server that gives this answer, and the server.
async fn told(reply: Reply) -> (Misbehaving, Client) {
    let server = Misbehaving::start(move |_| reply.clone()).await;
    let client = server.client();
    (server, client)
}

/// The one request that came: its line and its body.
fn only(server: &Misbehaving) -> (String, Value) {
    let seen = server.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].header("content-type"), Some("application/json"));
    (seen[0].line(), seen[0].json())
}

fn metadata() -> Metadata {
    [("region".to_owned(), "dfw".to_owned())].into()
}

#[tokio::test]
async fn sessions_are_created_with_their_token() {
    let created = Reply::created(
        "https://dfw.registry.api.rackspacecloud.com/v1.0/7777/sessions/seMkzI0mxC",
        r#"{"token": "6bc8d050-f86a-11e1-a89e-ca2ffe480b20"}"#,
    );
    let (server, client) = told(created).await;
    let session = client.sessions().create(30, &metadata()).await.unwrap();
    assert_eq!(session.id, "seMkzI0mxC");
    assert_eq!(session.token, "6bc8d050-f86a-11e1-a89e-ca2ffe480b20");
    assert_eq!(session.heartbeater.token(), session.token);
    assert!(!format!("{session:?}").contains("6bc8d050"), "{session:?}");
    let body = json!({"heartbeat_timeout": 30, "metadata": {"region": "dfw"}});
    assert_eq!(only(&server), ("POST /v1.0/sessions".to_owned(), body));
}

#[tokio::test]
async fn created_response_without_a_location_is_an_error() {
    for location in ["", "https://host/v1.0/7777/sessions/"] {
        let (_server, client) = told(Reply::created(location, r#"{"token": "x"}"#)).await;
        let error = client.sessions().create(30, &metadata()).await.unwrap_err();
        assert!(error.to_string().contains("names no Location"), "{error}");
    }
}

#[tokio::test]
async fn sessions_are_read_changed_and_removed() {
    let recorded = json!({"id": "seDMRMcCQh", "metadata": {"a": "b"}, "heartbeat_timeout": 30, "last_seen": null});
    let (server, client) = told(Reply::ok(&recorded)).await;
    let session = client.sessions().get("seDMRMcCQh").await.unwrap();
    assert_eq!((session.heartbeat_timeout, session.last_seen), (30, None));
    assert_eq!(only(&server).0, "GET /v1.0/sessions/seDMRMcCQh");

    let (server, client) = told(page(&json!([recorded]), Some("seXXXXXXXX"))).await;
    let options = ListOptions { limit: Some(1), marker: Some("seA".to_owned()) };
    let sessions = client.sessions().list(&options).await.unwrap();
    assert_eq!((sessions.values.len(), sessions.metadata.next_marker.as_deref()), (1, Some("seXXXXXXXX")));
    assert_eq!(only(&server).0, "GET /v1.0/sessions?limit=1&marker=seA");

    let (server, client) = told(Reply::no_content()).await;
    let update = SessionUpdate { heartbeat_timeout: Some(60), ..SessionUpdate::default() };
    client.sessions().update("seDMRMcCQh", &update).await.unwrap();
    assert_eq!(only(&server), ("PUT /v1.0/sessions/seDMRMcCQh".to_owned(), json!({"heartbeat_timeout": 60})));

    let (server, client) = told(Reply::no_content()).await;
    client.sessions().remove("seDMRMcCQh").await.unwrap();
    assert_eq!(only(&server).0, "DELETE /v1.0/sessions/seDMRMcCQh");
}

#[tokio::test]
async fn service_is_created_with_an_empty_response() {
    let (server, client) = told(Reply::created("http://host/v1.0/7777/services/dfw1-db1", "")).await;
    let payload = ServicePayload { tags: vec!["db".to_owned()], metadata: metadata() };
    assert_eq!(client.services().create("seMkzI0mxC", "dfw1-db1", &payload).await.unwrap(), "dfw1-db1");
    let body = json!({"id": "dfw1-db1", "session_id": "seMkzI0mxC", "tags": ["db"], "metadata": {"region": "dfw"}});
    assert_eq!(only(&server), ("POST /v1.0/services".to_owned(), body));
}

#[tokio::test]
async fn services_of_both_generations_are_read() {
    let in_session = json!({"id": "db1", "session_id": "seFoo", "tags": ["db"], "metadata": {"port": "9160"}});
    let own =
        json!({"id": "db2", "tags": [], "metadata": {}, "heartbeat_timeout": 30, "last_seen": 1_352_851_860_000_u64});
    let (server, client) = told(page(&json!([in_session, own]), None)).await;
    let list = client.services().list(&ListOptions::default()).await.unwrap();
    assert!(matches!(&list.services[0], Service::InSession(service) if service.session_id == "seFoo"));
    assert!(matches!(&list.services[1], Service::Own(service) if service.last_seen == Some(1_352_851_860_000)));
    assert_eq!(only(&server).0, "GET /v1.0/services");

    let (server, client) = told(Reply::ok(&own)).await;
    assert!(matches!(client.services().get("db2").await.unwrap(), Service::Own(_)));
    assert_eq!(only(&server).0, "GET /v1.0/services/db2");
}

#[tokio::test]
async fn services_are_listed_by_tag_changed_and_removed() {
    let (server, client) = told(page(&json!([]), None)).await;
    client.services().list_for_tag("a&b", &ListOptions::default()).await.unwrap();
    assert_eq!(only(&server).0, "GET /v1.0/services?tag=a%26b");

    let (server, client) = told(Reply::no_content()).await;
    let update = ServiceUpdate { metadata: Some(metadata()), ..ServiceUpdate::default() };
    client.services().update("db1", &update).await.unwrap();
    assert_eq!(only(&server), ("PUT /v1.0/services/db1".to_owned(), json!({"metadata": {"region": "dfw"}})));

    let (server, client) = told(Reply::no_content()).await;
    client.services().remove("db1").await.unwrap();
    assert_eq!(only(&server).0, "DELETE /v1.0/services/db1");
}

#[tokio::test]
async fn configuration_paths_are_those_of_the_registry() {
    let id = "/production/cassandra/listen_ip";
    let (server, client) = told(Reply::ok(&json!({"id": id, "value": "127.0.0.1"}))).await;
    assert_eq!(client.configuration().get(id).await.unwrap(), "127.0.0.1");
    assert_eq!(only(&server).0, "GET /v1.0/configuration//production/cassandra/listen_ip");

    for namespace in ["/production/cassandra/", "production/cassandra", "/production/cassandra"] {
        let (server, client) = told(page(&json!([{"id": id, "value": "127.0.0.1"}]), None)).await;
        let values = client.configuration().list_for_namespace(namespace, &ListOptions::default()).await.unwrap();
        assert_eq!(values.values[0].id, id);
        assert_eq!(only(&server).0, "GET /v1.0/configuration/production/cassandra/");
    }

    let (server, client) = told(Reply::no_content()).await;
    client.configuration().set("some-key", "new").await.unwrap();
    assert_eq!(only(&server), ("PUT /v1.0/configuration/some-key".to_owned(), json!({"value": "new"})));

    let (server, client) = told(Reply::no_content()).await;
    client.configuration().remove(id).await.unwrap();
    assert_eq!(only(&server).0, "DELETE /v1.0/configuration//production/cassandra/listen_ip");

    let (server, client) = told(page(&json!([]), None)).await;
    assert!(client.configuration().list(&ListOptions::default()).await.unwrap().values.is_empty());
    assert_eq!(only(&server).0, "GET /v1.0/configuration");
}

#[tokio::test]
async fn limits_overview_and_events_are_read() {
    let recorded = json!({
        "resource": {"session": 100, "service": 200, "configuration_value": 1000},
        "rate": {"/.*": {"limit": 500_000, "used": 7, "window": "24.0 hours"}},
    });
    let (server, client) = told(Reply::ok(&recorded)).await;
    let limits = client.account().limits().await.unwrap();
    assert_eq!((limits.resource["service"], limits.rate["/.*"].used), (200, 7));
    assert_eq!(only(&server).0, "GET /v1.0/limits");

    let session = json!({"id": "seBlTTbxKK", "metadata": {}, "heartbeat_timeout": 30, "last_seen": 1});
    let service = json!({"id": "db1", "session_id": "seBlTTbxKK", "tags": [], "metadata": {}});
    let (server, client) = told(page(&json!([{"session": session, "services": [service]}]), None)).await;
    let overview = client.views().overview(&ListOptions::default()).await.unwrap();
    assert_eq!(overview.values[0].services[0].id, "db1");
    assert_eq!(only(&server).0, "GET /v1.0/views/overview");

    let event = json!({
        "id": "6bc8d050-f86a-11e1-a89e-ca2ffe480b20", "timestamp": 1_346_967_146_370_u64,
        "type": "services.timeout", "payload": [service],
    });
    let (server, client) = told(page(&json!([event]), None)).await;
    let options = EventOptions {
        limit: Some(5),
        marker: Some("m".to_owned()),
        kind: Some("services.timeout".to_owned()),
        extended: true,
    };
    let events = client.events().list(&options).await.unwrap();
    assert_eq!(
        (events.values[0].kind.as_str(), &events.values[0].payload[0]["id"]),
        ("services.timeout", &json!("db1"))
    );
    assert_eq!(only(&server).0, "GET /v1.0/events?limit=5&marker=m&type=services.timeout&extended=true");
}

#[tokio::test]
async fn id_that_would_change_the_path_is_not_sent() {
    let (server, client) = told(Reply::no_content()).await;
    let (services, sessions, configuration) = (client.services(), client.sessions(), client.configuration());
    for id in ["", ".", ".."] {
        assert!(services.remove(id).await.is_err() && services.get(id).await.is_err(), "{id:?}");
        assert!(sessions.remove(id).await.is_err() && sessions.heartbeat(id, "t").await.is_err(), "{id:?}");
        assert!(configuration.remove(id).await.is_err(), "{id:?}");
    }
    for id in ["/", "/ns/", "/ns/../key"] {
        assert!(configuration.set(id, "v").await.is_err(), "{id:?}");
    }
    assert!(configuration.list_all_for_namespace("//").await.is_err());
    assert!(server.lines().is_empty(), "{:?}", server.lines());
    services.remove("a/b?c").await.unwrap();
    assert_eq!(server.lines(), ["DELETE /v1.0/services/a%2Fb%3Fc"]);
}

#[tokio::test]
async fn fault_is_reported_without_control_characters() {
    let fault = json!({
        "type": "badRequest", "code": 400, "message": "Validation error for key 'tags'\u{1b}[2J\r\n",
        "details": "Not an array", "txnId": ".rh-1",
    });
    let (server, client) = told(Reply::json(400, &fault)).await;
    let error = client.services().create("se", "web0", &ServicePayload::default()).await.unwrap_err();
    let expected = format!(
        "POST {}/v1.0/services was refused with 400 badRequest: Validation error for key 'tags'[2J: Not an array",
        server.url,
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.fault().unwrap().txn_id, ".rh-1");
    assert!(error.is_fault("badRequest") && !error.is_retryable() && !error.is_not_found());
}

/// The whole of the fault table, and statuses that registries do not send but proxies do.
#[tokio::test]
async fn every_fault_is_retryable_or_not() {
    for (kind, status, retryable) in [
        ("badRequest", 400, false),
        ("serviceWithThisIdExists", 400, true),
        ("invalidLimit", 400, false),
        ("badRequestHttpsOnly", 400, false),
        ("limitReached", 400, true),
        ("rateLimitReached", 400, true),
        ("unauthorizedError", 401, false),
        ("forbiddenError", 403, false),
        ("notFoundError", 404, false),
        ("requestTooLargeError", 413, false),
        ("internalError", 500, true),
        ("notImplementedError", 501, false),
        ("systemFailureError", 503, true),
        ("", 408, true),
        ("", 429, true),
        ("", 502, true),
        ("", 504, true),
    ] {
        let reply = if kind.is_empty() {
            Reply::Answer { status, headers: vec![], body: "<html>".to_owned() }
        } else {
            Reply::fault(status, kind, "no")
        };
        let (_server, client) = told(reply).await;
        let error = client.services().get("web0").await.unwrap_err();
        assert_eq!(error.status(), Some(status), "{kind}");
        assert_eq!(error.fault().map_or("", |fault| fault.kind.as_str()), kind);
        assert_eq!(error.is_retryable(), retryable, "{kind} {status}");
        assert_eq!(error.is_not_found(), status == 404, "{kind} {status}");
    }
}

/// An open registry says itself what to do about a foreign host.
#[tokio::test]
async fn forbidden_host_gets_the_registrys_cure_alone() {
    let cure = "start the registry with --host-name=web";
    let page = Reply::Answer { status: 403, headers: vec![], body: "<html>".to_owned() };
    for (reply, end) in [(Reply::fault(403, "forbiddenError", cure), cure), (page, "that this registry knows")] {
        let (_server, client) = told(reply).await;
        let error = client.services().get("web0").await.unwrap_err().to_string();
        assert!(error.ends_with(end), "{error}");
    }
}

#[tokio::test]
async fn parts_of_a_session_are_joined() {
    let entry = |session: &str, services: &[&str]| {
        let services: Vec<_> = services.iter().map(|id| json!({"id": id, "session_id": session})).collect();
        json!({"session": {"id": session, "heartbeat_timeout": 30}, "services": services})
    };
    let server = Misbehaving::start(move |seen| {
        let (values, next) = match seen.target.split_once("marker=") {
            None => ([entry("seA", &["api-1"]), entry("seB", &["api-2"])], Some("seB:api-3")),
            Some(_) => ([entry("seB", &["api-3", "api-4"]), entry("seC", &[])], None),
        };
        let metadata = json!({"count": 2, "limit": 1000, "next_marker": next});
        Reply::ok(&json!({"values": values, "metadata": metadata}))
    })
    .await;
    let all = server.client().views().overview_all().await.unwrap();
    let all: Vec<_> = all.iter().map(|entry| (entry.session.id.as_str(), entry.services.len())).collect();
    assert_eq!(all, [("seA", 1), ("seB", 3), ("seC", 0)]);
}

//! `/prometheus`: the services as Prometheus discovers them.

use serde_json::{Value, json};
use service_registry::registry::{Config, Users};

use crate::bench::Server;
use crate::bench::scrape::{Fetched, fetch};

fn found(server: &Server, path: &str, headers: &[(&str, &str)]) -> Vec<Value> {
    let Fetched { status, head, body } = fetch(server.address, path, headers);
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: application/json; charset=utf-8"), "{head}");
    let list: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    list.as_array().unwrap().clone()
}

#[test]
fn services_are_targets_with_labels() {
    let server = Server::open();
    let mut client = server.client();
    assert_eq!(found(&server, "/v1.0/prometheus", &[]), [] as [Value; 0]);
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    let metadata = json!({"address": "10.0.0.1", "port": "8080", "metrics": "9100", "rack.no": "7"});
    let service = json!({"id": "api-1", "session_id": session, "tags": ["api", "eu"], "metadata": metadata});
    client.create("/services", service);
    client.create(
        "/services",
        json!({"id": "db-1", "heartbeat_timeout": 30, "metadata": {"address": "[2001:db8::1]:5432"}}),
    );
    client.create("/services", json!({"id": "no-address", "heartbeat_timeout": 30}));
    let all = found(&server, "/v1.0/1/prometheus", &[]);
    let prefix = "__meta_service_registry_";
    let label = |name: &str| format!("{prefix}{name}");
    assert_eq!(
        all,
        [
            json!({"targets": ["10.0.0.1:8080"], "labels": {
                label("account"): "1",
                label("id"): "api-1",
                label("metadata_address"): "10.0.0.1",
                label("metadata_metrics"): "9100",
                label("metadata_port"): "8080",
                label("metadata_rack_no"): "7",
                label("session"): session,
                label("tags"): ",api,eu,",
            }}),
            json!({"targets": ["[2001:db8::1]:5432"], "labels": {
                label("account"): "1",
                label("id"): "db-1",
                label("metadata_address"): "[2001:db8::1]:5432",
                label("tags"): "",
            }}),
        ]
    );
    let targets = |query: &str| -> Vec<String> {
        let all = found(&server, &format!("/v1.0/prometheus?{query}"), &[]);
        all.iter().map(|group| group["targets"][0].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(targets("tag=api&port=metrics"), ["10.0.0.1:9100"]);
    assert_eq!(targets("port=9200"), ["10.0.0.1:9200", "[2001:db8::1]:9200"]);
    assert_eq!(targets("tag=api&tag=us"), [] as [&str; 0]);
    assert_eq!(targets("metadata.rack.no=7"), ["10.0.0.1:8080"]);
    assert_eq!(fetch(server.address, "/v1.0/prometheus?port=0", &[]).status, 400);
    server.advance(30_300);
    assert_eq!(targets(""), [] as [&str; 0]);
}

/// More than one piece, and among them many without a target.
#[test]
fn long_list_is_whole() {
    let server = Server::open();
    let mut client = server.client();
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 120}));
    for number in 0..1_500 {
        let metadata =
            if number % 5 == 4 { json!({"address": "10.0.0.1", "port": number.to_string()}) } else { json!({}) };
        let id = format!("service-{number:04}");
        client.create("/services", json!({"id": id, "session_id": session, "tags": ["all"], "metadata": metadata}));
    }
    for query in ["", "?tag=all"] {
        let all = found(&server, &format!("/v1.0/prometheus{query}"), &[]);
        let ports: Vec<String> =
            all.iter().map(|group| group["targets"][0].as_str().unwrap()[9..].to_owned()).collect();
        let expected: Vec<String> = (0..1_500).filter(|number| number % 5 == 4).map(|n| n.to_string()).collect();
        assert_eq!(ports, expected);
    }
}

#[test]
fn users_show_their_key_or_a_token() {
    let text = "[[user]]\nname = 'joe'\ntenant = 7777\napi_key = 'joes-key'\n[[user]]\nname = 'prometheus'\ntenant = 7777\n\
                api_key = 'p'\nrole = 'read'\n[[user]]\nname = 'ann'\ntenant = 8888\napi_key = 'anns-key'\n";
    let server = Server::start(Config::with_users(Users::parse(text).unwrap()));
    let mut joe = server.joe();
    let metadata = json!({"address": "10.0.0.1:80"});
    joe.create("/services", json!({"id": "web", "heartbeat_timeout": 30, "metadata": metadata}));
    let token = joe.headers.iter().find(|(name, _)| name == "X-Auth-Token").unwrap().1.clone();
    let bearer = format!("Bearer {token}");
    let reader = "Basic cHJvbWV0aGV1czpw"; // prometheus:p
    for path in ["/v1.0/prometheus", "/v1.0/7777/prometheus"] {
        for header in [("Authorization", reader), ("Authorization", &*bearer), ("X-Auth-Token", &*token)] {
            assert_eq!(found(&server, path, &[header]).len(), 1, "{path} {header:?}");
        }
        let ask = |headers: &[(&str, &str)]| fetch(server.address, path, headers).status;
        assert_eq!(ask(&[]), 401);
        assert_eq!(ask(&[("Authorization", "Basic cHJvbWV0aGV1czp4")]), 401);
        assert_eq!(ask(&[("Authorization", "Basic !")]), 400);
    }
    let of_ann = [("Authorization", "Basic YW5uOmFubnMta2V5")]; // ann:anns-key
    assert_eq!(fetch(server.address, "/v1.0/7777/prometheus", &of_ann).status, 401, "another account");
    assert_eq!(found(&server, "/v1.0/prometheus", &of_ann), [] as [Value; 0]);
    assert_eq!(fetch(server.address, "/v1.0/7777/services", &[("Authorization", reader)]).status, 401);
}

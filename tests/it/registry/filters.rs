//! The filters of the list of services.

use serde_json::{Value, json};

use crate::bench::{Client, Server};

/// The ids on all pages of a list.
fn ids(client: &mut Client, query: &str) -> Vec<String> {
    let (mut ids, mut next) = (Vec::new(), format!("/services?{query}"));
    loop {
        let answer = client.get(&next);
        assert_eq!(answer.status, 200, "{query}: {answer:?}");
        let page = answer.json();
        ids.extend(page["values"].as_array().unwrap().iter().map(|service| service["id"].as_str().unwrap().to_owned()));
        let Some(href) = page["metadata"]["next_href"].as_str() else { return ids };
        next = format!("@/v1.0/{}", href.split("/v1.0/").nth(1).unwrap());
    }
}

fn fill(client: &mut Client) {
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    for (id, tags, metadata) in [
        ("api-1", &["web", "x"][..], json!({"zone": "a", "näme=x": "a&b"})),
        ("api-2", &["web"], json!({"zone": "b"})),
        ("db-1", &["db", "x"], json!({"zone": "a"})),
        ("db-2", &["db", "web", "x"], json!({"zone": "a", "role": "main"})),
        ("dbx-1", &["db", "web", "x"], json!({"zone": "a"})),
    ] {
        client.create("/services", json!({"id": id, "session_id": session, "tags": tags, "metadata": metadata}));
    }
}

#[test]
fn filters_of_services_are_combined_and_paged() {
    let server = Server::open();
    let mut client = server.client();
    fill(&mut client);
    for (query, expected) in [
        ("tag=web&tag=x", &["api-1", "db-2", "dbx-1"][..]),
        ("tag=x&tag=web&tag=x", &["api-1", "db-2", "dbx-1"]),
        ("tag=web&tag=none", &[]),
        ("metadata.zone=a", &["api-1", "db-1", "db-2", "dbx-1"]),
        ("metadata.zone=a&metadata.role=main", &["db-2"]),
        ("metadata.zone=a&metadata.zone=b", &[]),
        ("metadata.n%C3%A4me%3Dx=a%26b", &["api-1"]),
        ("metadata.zone=main", &[]),
        ("id_prefix=db", &["db-1", "db-2", "dbx-1"]),
        ("id_prefix=db-", &["db-1", "db-2"]),
        ("id_prefix=db-1", &["db-1"]),
        ("id_prefix=e", &[]),
        ("id_prefix=db&tag=web&metadata.zone=a", &["db-2", "dbx-1"]),
        ("Tag=db&metadata=x&metadata_zone=a&ID_PREFIX=z", &["api-1", "api-2", "db-1", "db-2", "dbx-1"]),
    ] {
        for limit in ["", "&limit=1", "&limit=2", "&marker=api-0"] {
            assert_eq!(ids(&mut client, &format!("{query}{limit}")), expected, "{query}{limit}");
        }
    }
    assert_eq!(ids(&mut client, "id_prefix=db&marker=db-2"), ["db-2", "dbx-1"]);
}

#[test]
fn filter_that_breaks_a_rule_is_refused() {
    let server = Server::open();
    let mut client = server.client();
    let many = |parameter: &str, count: usize| vec![parameter; count].join("&");
    let long = format!("metadata.{}=x", "k".repeat(256));
    for (query, parameter, rule) in [
        ("tag=web&tag=", "tag", "String is not in range (3..65)"),
        ("tag=a%20bc&tag=web", "tag", "Invalid characters"),
        (&many("tag=web", 11), "tag", "Given 11 times; the most is 10"),
        ("metadata.=x", "metadata", "Key : String is not in range (1..255)"),
        ("metadata.zone=", "metadata", "Value for key 'zone': String is not in range (1..255)"),
        (&long, "metadata", &format!("Key {}: String is not in range (1..255)", "k".repeat(256))),
        (&many("metadata.zone=a", 21), "metadata", "Given 21 times; the most is 20"),
        ("id_prefix=", "id_prefix", "String is not in range (3..65)"),
        ("id_prefix=a/b", "id_prefix", "Invalid characters"),
        ("id_prefix=abc&id_prefix=abc", "id_prefix", "Given 2 times; the most is 1"),
    ] {
        let answer = client.get(&format!("/services?{query}"));
        assert_eq!(answer.fault(), (400, "badRequest".into(), rule.to_owned()), "{query}");
        let message = format!("Invalid value for '{parameter}' query string parameter");
        assert_eq!(answer.json()["message"], Value::String(message));
    }
}

/// The registry releases its lock in between, and the page goes on.
#[test]
fn services_far_apart_are_on_one_page() {
    let server = Server::open();
    let mut client = server.client();
    for number in 0..2_500 {
        let zone = if number % 1_200 == 7 { "b" } else { "a" };
        let body = json!({"id": format!("node-{number:04}"), "heartbeat_timeout": 120, "metadata": {"zone": zone}});
        client.create("/services", body);
    }
    let expected = ["node-0007", "node-1207", "node-2407"];
    assert_eq!(client.get("/services?metadata.zone=b").json()["metadata"]["count"], 3);
    for query in ["metadata.zone=b", "metadata.zone=b&limit=1", "metadata.zone=b&limit=2"] {
        assert_eq!(ids(&mut client, query), expected, "{query}");
    }
}

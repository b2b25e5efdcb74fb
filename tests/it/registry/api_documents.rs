//! The documents that users read: the examples of docs/api.md, run as they stand there, and `/openapi.json`.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};
use service_registry::wire;

use crate::bench::{Client, Server, USERS};
use crate::bench::{Registry, clean, need};

const METHODS: [&str; 4] = ["get", "post", "put", "delete"];

fn document(client: &mut Client) -> Value {
    let answer = client.get("@/openapi.json");
    assert_eq!(answer.status, 200);
    serde_json::from_str(&answer.body).unwrap()
}

/// Every operation of the document: method, path, and what is said about it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS.iter().filter(|method| item.get(method).is_some()) {
            all.push((method.to_uppercase(), path.clone(), item[*method].clone()));
        }
    }
    all
}

#[test]
fn openapi_lists_exactly_the_routes() {
    let server = Server::open();
    let mut client = server.client();
    let document = document(&mut client);
    let described: BTreeSet<String> =
        operations(&document).iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let paths: BTreeSet<&str> = described.iter().map(|operation| operation.split(' ').nth(1).unwrap()).collect();
    for path in paths {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            let path_here = path.replace("{tenantId}", "1").replace(['{', '}'], "");
            let answer = client.send(method, &format!("@{path_here}"), &[("Content-Type", "application/json")], "");
            let is_page = !answer.body.contains("The page cannot be found.");
            assert_eq!(is_page, described.contains(&format!("{method} {path}")), "{method} {path}: {answer:?}");
        }
    }
    assert_eq!(described.len(), 24, "is there a new one? {described:?}");
}

/// The members of objects in answers are those that the description names, and all of them.
#[test]
fn openapi_lists_the_members_of_responses() {
    let server = Server::open();
    let mut client = server.client();
    let document = document(&mut client);
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    client.create("/services", json!({"id": "own-1", "heartbeat_timeout": 30}));
    client.create("/services", json!({"id": "member-1", "session_id": session}));
    assert_eq!(client.put("/configuration/key", json!({"value": "abc"})).status, 204);
    let login = json!({"auth": {"passwordCredentials": {"username": "a", "password": "b"}}});
    let heartbeat = format!("/sessions/{session}/heartbeat");
    for (schema, answer, pointer) in [
        ("Session", client.get(&format!("/sessions/{session}")), ""),
        ("OwnService", client.get("/services/own-1"), ""),
        ("SessionService", client.get("/services/member-1"), ""),
        ("Overview", client.get("/views/overview"), "/values/0"),
        ("ConfigurationValue", client.get("/configuration/key"), ""),
        ("Event", client.get("/events"), "/values/0"),
        ("PageMetadata", client.get("/events"), "/metadata"),
        ("Limits", client.get("/limits"), ""),
        ("Token", client.post(&heartbeat, json!({ "token": token })), ""),
        ("Fault", client.get("/services/nothing"), ""),
        ("Access", client.send("POST", "@/v2.0/tokens", &[], login.to_string()), ""),
    ] {
        let answer = answer.json();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        let described = &document["components"]["schemas"][schema];
        let required: BTreeSet<String> =
            described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        let found = names(answer.pointer(pointer).unwrap());
        let properties = names(&described["properties"]);
        if schema == "Event" {
            // It has members that are there only if something is known.
            assert!(found.is_subset(&properties) && required.is_subset(&found), "{found:?}");
            continue;
        }
        assert_eq!((&found, &found), (&properties, &required), "{schema}");
    }
}

/// Where that is asked for, services have the members of both forms, and the same everywhere else.
#[test]
fn service_shape_union_shows_members_of_both_forms() {
    let registry = Registry::start_with(&["--service-shape=union"]);
    let mut client = Client::new(registry.url.strip_prefix("http://").unwrap().parse().unwrap());
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    client.create("/services", json!({"id": "own-1", "heartbeat_timeout": 40, "tags": ["web"]}));
    client.create("/services", json!({"id": "member-1", "session_id": session, "tags": ["web"]}));
    client.put(&format!("/sessions/{session}"), json!({"heartbeat_timeout": 50}));
    client.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token }));
    let seen = client.get(&format!("/sessions/{session}")).json()["last_seen"].clone();
    assert!(seen.is_u64(), "{seen}");
    let own = json!({"id": "own-1", "session_id": null, "tags": ["web"], "metadata": {}, "heartbeat_timeout": 40,
        "last_seen": null});
    let member = json!({"id": "member-1", "session_id": session, "tags": ["web"], "metadata": {},
        "heartbeat_timeout": 50, "last_seen": seen});
    let keys = ["id", "session_id", "tags", "metadata", "heartbeat_timeout", "last_seen"];
    for (id, expected) in [("own-1", &own), ("member-1", &member)] {
        let answer = client.get(&format!("/services/{id}"));
        assert_eq!((&answer.json(), answer.keys()), (expected, keys.to_vec()));
    }
    for path in ["/services", "/services?tag=web"] {
        assert_eq!(client.get(path).json()["values"], json!([member, own]), "{path}");
    }
    let plain = json!({"id": "member-1", "session_id": session, "tags": ["web"], "metadata": {}});
    assert_eq!(client.get("/views/overview").json()["values"][0]["services"][0], plain);
    assert_eq!(client.get("/events").json()["values"][1]["payload"], plain);
    // Our own client tells them apart all the same.
    let read = |service: &Value| serde_json::from_value::<wire::Service>(service.clone()).unwrap();
    assert!(matches!(read(&own), wire::Service::Own(_)) && matches!(read(&member), wire::Service::InSession(_)));
    // All that the description requires of either is there.
    let document = document(&mut client);
    for schema in ["OwnService", "SessionService"] {
        let required = document["components"]["schemas"][schema]["required"].as_array().unwrap();
        assert!(required.iter().all(|name| keys.contains(&name.as_str().unwrap())), "{schema}");
    }
}

/// What the description takes for the id of a value the registry takes as well, and nothing else.
#[test]
fn openapi_pattern_accepts_configuration_ids() {
    let server = Server::open();
    let mut client = server.client();
    let document = document(&mut client);
    let described = [
        &document["components"]["parameters"]["configurationId"]["schema"],
        &document["components"]["schemas"]["ConfigurationValue"]["properties"]["id"],
    ];
    let mut ids: Vec<String> =
        [2, 3, 170, 171, 500].iter().flat_map(|length| ["a".repeat(*length), "/a.".repeat(*length)]).collect();
    let spaces = |count: usize, length: usize| format!("/{}", "n".repeat(length)).repeat(count);
    for (count, length, key) in [(1, 2, 3), (1, 50, 3), (1, 51, 3), (10, 3, 3), (11, 3, 3), (8, 50, 91), (8, 50, 92)] {
        ids.push(format!("{}/{}", spaces(count, length), "k".repeat(key)));
    }
    let mut random = fastrand::Rng::with_seed(7);
    ids.extend((0..300).map(|_| {
        let length = random.usize(3..16);
        (0..length).map(|_| char::from(*random.choice(b"aaab//.-").unwrap())).collect::<String>()
    }));
    let mut taken = 0;
    for id in ids.iter().filter(|id| !id.ends_with('/') && (id.starts_with('/') || !id.contains('/'))) {
        let path = format!("/configuration/{}", id.replace('/', "%2F"));
        let status = client.put(&path, json!({"value": "x"})).status;
        taken += u32::from(status == 204);
        for schema in described {
            let pattern = regex_lite::Regex::new(schema["pattern"].as_str().unwrap()).unwrap();
            let lengths = schema["minLength"].as_u64().unwrap()..=schema["maxLength"].as_u64().unwrap();
            let is_described = lengths.contains(&(id.len() as u64)) && pattern.is_match(id);
            assert_eq!(status, if is_described { 204 } else { 400 }, "{id}");
        }
    }
    assert!(taken > 50, "{taken}");
}

#[test]
fn openapi_references_resolve() {
    fn check(whole: &Value, part: &Value) {
        match part {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    assert!(whole.pointer(&reference[1..]).is_some(), "{reference}");
                }
                members.values().for_each(|member| check(whole, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(whole, item)),
            _ => {}
        }
    }
    let document = document(&mut Server::open().client());
    check(&document, &document);
}

/// The commands of docs/api.md, all in one shell, one after the other, against a registry with the users it names.
/// After each command stands what it prints; `...` there stands for anything.
#[test]
fn examples_of_the_api_document_hold() {
    need("curl");
    need("python3");
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/api.md")).unwrap();
    let users = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(users.path(), USERS).unwrap();
    let registry = Registry::start_with(&["--users", users.path().to_str().unwrap()]);
    let (mut script, mut expected) = ("set -eu\n".to_owned(), Vec::new());
    let blocks: Vec<&str> = text.split("```").collect();
    for (at, block) in blocks.iter().enumerate() {
        let Some(command) = block.strip_prefix("sh\n") else { continue };
        script += command;
        let next = blocks.get(at + 2).and_then(|next| next.strip_prefix("text\n").or(next.strip_prefix("json\n")));
        let printed = next.filter(|_| blocks[at + 1].trim().is_empty()).unwrap_or_default();
        script += "echo '--- end of example'\n";
        expected.push((command, printed));
    }
    assert!(expected.len() > 10, "the examples are not found");
    let url = registry.url.as_str();
    let output = clean("bash").args(["-c", &script]).env("REGISTRY", url).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}\n{errors}");
    for ((command, printed), said) in expected.iter().zip(said.split("--- end of example\n")) {
        assert!(is_like(printed.trim(), said.replace('\r', "").trim()), "{command}\nprinted:\n{said}\nnot:\n{printed}");
    }
}

/// Whether a text is another one in which `...` may stand for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split("...");
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut is_exact = true;
    for part in parts {
        is_exact = part.is_empty();
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    is_exact && pattern.ends_with("...") || rest.is_empty()
}

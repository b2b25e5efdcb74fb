//! Expiry: when it happens, and when not.

use std::time::Duration;

use serde_json::{Value, json};
use service_registry::registry::Config;

use crate::bench::Registry;
use crate::bench::{Answer, Client, Server};

fn beat(client: &mut Client, id: &str, token: &str) -> Answer {
    client.post(&format!("/services/{id}/heartbeat"), json!({ "token": token }))
}

fn create(client: &mut Client, id: &str, timeout: u64) -> String {
    client.create("/services", json!({"id": id, "heartbeat_timeout": timeout})).1
}

#[test]
fn late_heartbeat_is_accepted_until_its_lease_is_expired() {
    let server = Server::open();
    let mut client = server.client();
    let token = create(&mut client, "node-1", 3);
    server.advance(3_100);
    assert_eq!(client.get("/limits").status, 200, "this does not look");
    assert_eq!(client.get("/configuration/").status, 200, "nor does this");
    assert_eq!(beat(&mut client, "node-1", &token).status, 200);
}

/// No later than the timeout and a second, even without any request.
#[test]
fn silent_leases_expire_without_a_request() {
    let server = Server::open();
    let mut client = server.client();
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 3}));
    let own = create(&mut client, "node-1", 3);
    server.advance(3_500);
    let answer = client.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token }));
    assert_eq!(answer.fault().2, format!("Object \"Session\" with key \"{session}\" does not exist"));
    assert_eq!(beat(&mut client, "node-1", &own).status, 404);
}

#[test]
fn no_request_sees_an_overdue_lease() {
    let looks: [fn(&mut Client) -> Answer; 9] = [
        |client| client.get("/services"),
        |client| client.get("/services/node-1"),
        |client| client.post("/services", json!({"id": "node-2", "heartbeat_timeout": 30})),
        |client| client.put("/services/node-1", json!({})),
        |client| client.delete("/services/node-1"),
        |client| client.get("/sessions"),
        |client| client.get("/views/overview"),
        |client| client.get("/events"),
        |client| client.put("/configuration/key", json!({"value": "x"})),
    ];
    for (at, look) in looks.iter().enumerate() {
        let server = Server::open();
        let mut client = server.client();
        let token = create(&mut client, "node-1", 3);
        server.advance(3_000);
        look(&mut client);
        assert_eq!(beat(&mut client, "node-1", &token).status, 404, "look {at}");
    }
}

/// The process was stopped, or the machine asleep: the heartbeats of that time are only read afterwards.
#[test]
fn pause_of_the_server_expires_no_lease() {
    let server = Server::open();
    let mut client = server.client();
    let (alive, dead) = (create(&mut client, "alive", 3), create(&mut client, "dead", 3));
    server.clock.jump(Duration::from_secs(20));
    assert_eq!(client.get("/services").json()["metadata"]["count"], 2);
    let next = beat(&mut client, "alive", &alive).json()["token"].as_str().unwrap().to_owned();
    server.advance(2_900);
    assert_eq!(beat(&mut client, "alive", &next).status, 200);
    server.advance(1_000);
    let values = client.get("/services").json()["values"].clone();
    assert_eq!((values[0]["id"].as_str(), values.as_array().map(Vec::len)), (Some("alive"), Some(1)));
    assert_eq!(beat(&mut client, "dead", &dead).status, 404);
}

#[test]
fn step_of_the_system_clock_expires_no_lease() {
    let server = Server::open();
    let mut client = server.client();
    create(&mut client, "node-1", 3);
    server.clock.step_forward(Duration::from_secs(3_600));
    assert_eq!(client.get("/services/node-1").status, 200);
    server.advance(3_000);
    assert_eq!(client.get("/services/node-1").status, 404);
}

/// Whatever happens, a poller that goes on from the last id it saw sees every event once and in order.
#[test]
fn poller_sees_every_event() {
    poll_while_services_change(6);
}

#[test]
fn poller_sees_every_event_while_the_clock_is_set() {
    poll_while_services_change(8);
}

/// With more than 6 `kinds` of steps, the clock is set forward and back.
fn poll_while_services_change(kinds: u8) {
    let server = Server::open();
    let mut client = server.client();
    let mut random = fastrand::Rng::with_seed(3);
    let mut seen: Vec<String> = Vec::new();
    let start = client.get("/events").json();
    assert_eq!(start["values"], json!([]));
    create(&mut client, "first", 30);
    poll(&mut client, &mut seen);
    for round in 0..400 {
        match random.u8(0..kinds) {
            0 | 1 => {
                let id = format!("node-{}", random.u8(0..30));
                client.post("/services", json!({"id": id, "heartbeat_timeout": random.u8(3..7)}));
            }
            2 => {
                let (id, _) = client.create("/sessions", json!({"heartbeat_timeout": random.u8(3..7)}));
                client.post("/services", json!({"id": format!("in-{round}"), "session_id": id}));
            }
            3 => {
                client.put("/configuration/key", json!({"value": round.to_string()}));
            }
            4 => {
                client.delete(&format!("/services/node-{}", random.u8(0..30)));
            }
            5 => server.advance(random.u64(0..2_000)),
            6 => server.clock.step_forward(Duration::from_secs(random.u64(0..7_200))),
            _ => server.clock.step_back(Duration::from_secs(random.u64(0..7_200))),
        }
        if random.bool() {
            poll(&mut client, &mut seen);
        }
    }
    poll(&mut client, &mut seen);
    let all: Vec<String> = ids(&client.get(&format!("/events?limit=1000&marker={}", seen[0])).json());
    assert_eq!(seen, all);
    let times: Vec<u128> = all.iter().map(|id| time(id)).collect();
    assert!(times.is_sorted() && times.windows(2).all(|pair| pair[0] != pair[1]), "ids do not rise");
    assert!(all.len() > 200, "{}", all.len());
}

fn poll(client: &mut Client, seen: &mut Vec<String>) {
    let marker = seen.last().map(|id| format!("&marker={id}")).unwrap_or_default();
    let page = client.get(&format!("/events?limit=1000{marker}")).json();
    let known = seen.last().cloned();
    seen.extend(ids(&page).into_iter().filter(|id| Some(id) != known.as_ref()));
}

fn ids(page: &Value) -> Vec<String> {
    page["values"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

/// What ids are ordered by: the time in them, then the rest.
fn time(id: &str) -> u128 {
    let groups: Vec<&str> = id.split('-').collect();
    u128::from_str_radix(&[&groups[2][1..], groups[1], groups[0], groups[3], groups[4]].concat(), 16).unwrap()
}

#[test]
fn strict_feed_hides_removals_of_services_in_sessions() {
    let server = Server::start(Config::anonymous().strict_feed(true));
    let mut client = server.client();
    let (session, _) = client.create("/sessions", json!({"heartbeat_timeout": 3}));
    client.create("/services", json!({"id": "web-1", "session_id": session}));
    create(&mut client, "own-1", 30);
    client.delete("/services/web-1");
    client.delete("/services/own-1");
    server.advance(3_000);
    let events = client.get("/events").json();
    let kinds: Vec<&str> =
        events["values"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["service.join", "service.join", "service.remove", "services.timeout"]);
}

/// Two old clients beat for a session whose id they have lost.
#[test]
fn lenient_heartbeat_without_an_id_renews_its_tokens_owner() {
    for is_lenient in [false, true] {
        let server = Server::start(Config::anonymous().lenient_heartbeats(is_lenient));
        let mut client = server.client();
        let (_, in_session) = client.create("/sessions", json!({"heartbeat_timeout": 3}));
        create(&mut client, "other", 3);
        let own = create(&mut client, "own-1", 3);
        server.advance(2_000);
        for (nobody, token) in [("null", &in_session), ("None", &own)] {
            let path = format!("/sessions/{nobody}/heartbeat");
            let answer = client.post(&path, json!({ "token": token }));
            if !is_lenient {
                let missing = format!("Object \"Session\" with key \"{nobody}\" does not exist");
                assert_eq!((answer.status, answer.fault().2), (404, missing));
                continue;
            }
            assert_eq!(answer.status, 200);
            assert_eq!(client.post(&path, json!({ "token": token })).body, answer.body, "the answer may be lost");
            let next = answer.json()["token"].clone();
            assert_eq!(client.post(&path, json!({ "token": next })).status, 200);
            assert_eq!(client.post(&path, json!({ "token": token })).status, 404, "it is too old");
            assert_eq!(client.post("/sessions/nobody/heartbeat", json!({ "token": next })).status, 404);
        }
        server.advance(1_500);
        let counts = ["/sessions", "/services"].map(|path| client.get(path).json()["metadata"]["count"].clone());
        assert_eq!(counts, if is_lenient { [1, 1] } else { [0, 0] });
        assert_eq!(client.post("/sessions/null/heartbeat", json!({ "token": "x" })).status, 400);
    }
}

/// The program and its option.
#[test]
fn serve_accepts_lenient_heartbeats_on_demand() {
    for (options, status) in [(&[][..], 404), (&["--lenient-heartbeats"], 200)] {
        let registry = Registry::start_with(options);
        let mut client = Client::new(registry.url.strip_prefix("http://").unwrap().parse().unwrap());
        let (_, token) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
        assert_eq!(client.post("/sessions/null/heartbeat", json!({ "token": token })).status, status);
    }
}

#[test]
fn events_older_than_thirty_days_are_gone() {
    let server = Server::open();
    let mut client = server.client();
    client.put("/configuration/key", json!({"value": "old"}));
    let first = ids(&client.get("/events").json()).remove(0);
    server.advance(30 * 24 * 3_600_000 + 1);
    client.put("/configuration/key", json!({"value": "new"}));
    let events = client.get(&format!("/events?marker={first}")).json();
    assert_eq!(events["values"].as_array().map(Vec::len), Some(1));
}

/// Leases whose timeouts fall into the same millisecond expire in the order in which they were last heard.
#[test]
fn timeouts_of_one_millisecond_keep_the_order_of_heartbeats() {
    let server = Server::open();
    let mut client = server.client();
    create(&mut client, "longer", 20);
    server.advance(10_000);
    let ids: Vec<String> = (0..80).map(|number| format!("node-{number:02}")).collect();
    for id in &ids {
        create(&mut client, id, 10);
    }
    server.advance(11_000);
    let events = client.get("/events?limit=1000&type=service.timeout").json();
    let told: Vec<&str> =
        events["values"].as_array().unwrap().iter().map(|event| event["payload"]["id"].as_str().unwrap()).collect();
    let expected: Vec<&str> = std::iter::once("longer").chain(ids.iter().map(String::as_str)).collect();
    assert_eq!(told, expected);
}

/// The original could store tags of one and two characters, but not list services by them.
#[test]
fn short_tags_can_be_searched_for() {
    let server = Server::open();
    let mut client = server.client();
    client.create("/services", json!({"id": "node-1", "heartbeat_timeout": 30, "tags": ["db", "x"]}));
    for tag in ["db", "x"] {
        assert_eq!(client.get(&format!("/services?tag={tag}")).json()["metadata"]["count"], 1, "{tag}");
    }
    for tag in ["", "'", "a%20b"] {
        assert_eq!(client.get(&format!("/services?tag={tag}")).status, 400, "{tag}");
    }
}

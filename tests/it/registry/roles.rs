//! Users that may only read, and users with two keys.

use serde_json::json;
use service_registry::registry::{Config, Users};

use crate::bench::users::{address, hash_of, key_login, with_users};
use crate::bench::{Client, Server};

const WRITER: &str = "[[user]]\nname = 'joe'\ntenant = 7777\napi_key = 'joes-key'\n";
const READER: &str = "[[user]]\nname = 'eve'\ntenant = 7777\napi_key = 'eves-key'\nrole = 'read'\n";

#[test]
fn reader_may_only_read() {
    let server = Server::start(Config::with_users(Users::parse(&format!("{WRITER}{READER}")).unwrap()));
    let (mut joe, mut eve) = (server.joe(), server.client().logged_in("eve", "eves-key"));
    let (session, token) = joe.create("/sessions", json!({"heartbeat_timeout": 30}));
    assert_eq!(joe.put("/configuration//prod/key", json!({"value": "v"})).status, 204);
    for path in ["/services", "/sessions", "/events", "/limits", "/configuration//prod/key", "/views/overview"] {
        let answer = eve.get(path);
        assert_eq!((answer.status, answer.header("x-role")), (200, Some("read")), "{path}");
        assert_eq!(eve.send("HEAD", path, &[], "").status, 200, "{path}");
        assert_eq!(joe.get(path).header("x-role"), None, "{path}");
    }
    let beat = format!("/sessions/{session}/heartbeat");
    let service = json!({"id": "a", "heartbeat_timeout": 30});
    let refused = [
        eve.post("/sessions", json!({"heartbeat_timeout": 30})),
        eve.post("/services", service),
        eve.post(&beat, json!({ "token": token })),
        eve.put(&format!("/sessions/{session}"), json!({"heartbeat_timeout": 60})),
        eve.put("/configuration//prod/key", json!({"value": "w"})),
        eve.delete("/configuration//prod/key"),
        eve.delete(&format!("/sessions/{session}")),
        eve.send("PATCH", "/nothing", &[], ""),
    ];
    for answer in refused {
        let (status, kind, details) = answer.fault();
        assert_eq!((status, &*kind), (403, "forbiddenError"));
        assert!(details.contains("role = \"read\""), "{details}");
        assert_eq!(answer.header("x-role"), Some("read"));
    }
    assert_eq!(joe.get("/configuration//prod/key").json()["value"], "v");
    assert_eq!(joe.post(&beat, json!({ "token": token })).status, 200);
}

#[test]
fn role_holds_for_tokens_that_are_in_use() {
    let (mut registry, file) = with_users(WRITER);
    let mut joe = Client::new(address(&registry)).logged_in("joe", "joes-key");
    for (role, status) in [("read", 403), ("write", 204)] {
        std::fs::write(file.path(), format!("{WRITER}role = '{role}'\n")).unwrap();
        registry.process.line("--users: read again");
        assert_eq!(joe.put("/configuration/key", json!({"value": role})).status, status, "{role}");
    }
}

/// The order in docs/access.md: add the new key, change the programs, remove the old key.
#[test]
fn key_is_replaced_without_an_interruption() {
    let user = |keys: &str| format!("[[user]]\nname = 'joe'\ntenant = 7777\n{keys}\n");
    let (old, new) = (hash_of("old-key"), hash_of("new-key"));
    for [first, both, last] in [
        ["api_key = 'old-key'".to_owned(), "api_keys = ['old-key', 'new-key']".into(), "api_keys = ['new-key']".into()],
        [
            format!("api_key_hash = '{old}'"),
            format!("api_key_hashes = ['{old}', '{new}']"),
            format!("api_key_hash = '{new}'"),
        ],
    ] {
        let (mut registry, file) = with_users(&user(&first));
        let address = address(&registry);
        let mut early = Client::new(address).logged_in("joe", "old-key");
        assert_eq!(key_login(&mut Client::new(address), "joe", "new-key"), 401);

        std::fs::write(file.path(), user(&both)).unwrap();
        registry.process.line("--users: read again");
        assert_eq!(early.get("/services").status, 200, "its key is still there");
        let mut late = Client::new(address).logged_in("joe", "new-key");
        assert_eq!(key_login(&mut Client::new(address), "joe", "old-key"), 200);
        assert_eq!(key_login(&mut Client::new(address), "joe", "another-key"), 401);

        std::fs::write(file.path(), user(&last)).unwrap();
        registry.process.line("--users: read again");
        assert_eq!((early.get("/services").status, late.get("/services").status), (401, 200));
        assert_eq!(key_login(&mut Client::new(address), "joe", "old-key"), 401);
        assert_eq!(key_login(&mut Client::new(address), "joe", "new-key"), 200);
    }
}

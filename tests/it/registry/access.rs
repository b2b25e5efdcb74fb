//! Access: users and their keys, tenants, changes of the users file, TLS, and refused clients.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use service_registry::registry::{Config, Users};

use crate::bench::authority::Authority;
use crate::bench::users::{address, hash_key, hash_of, key_login, login, with_users};
use crate::bench::{Client, Server, USERS};
use crate::bench::{Registry, Running, clean};

fn hashed_users() -> String {
    let (key, password) = (hash_of("anns-key\n"), hash_of("anns-password"));
    format!("[[user]]\nname = 'ann'\ntenant = 8888\napi_key_hash = '{key}'\npassword_hash = '{password}'\n")
}

#[test]
fn user_with_a_hashed_key_logs_in() {
    let server = Server::start(Config::with_users(Users::parse(&hashed_users()).unwrap()));
    let mut client = server.client();
    assert_eq!(key_login(&mut client, "ann", "joes-key"), 401);
    for _ in 0..2 {
        assert_eq!(key_login(&mut client, "ann", "anns-key"), 200);
        assert_eq!(key_login(&mut client, "ann", "anns-password"), 401, "a password is no key");
        assert_eq!(login(&mut client, "passwordCredentials", "password", "ann", "anns-password"), 200);
        assert_eq!(key_login(&mut client, "bob", "anns-key"), 401);
    }
    assert_eq!(server.client().logged_in("ann", "anns-key").get("/services").status, 200);
}

#[test]
fn unhashable_key_is_refused() {
    for (input, why) in
        [("", "there is no key"), ("a\nb\n", "more than one line"), (&*"x".repeat(5_000), "longer than")]
    {
        let output = hash_key(input);
        assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn token_is_valid_for_a_day() {
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    let mut joe = server.joe();
    server.advance(24 * 3_600_000 - 1);
    assert_eq!(joe.get("/services").status, 200);
    server.advance(1);
    assert_eq!(joe.get("/services").status, 401);
    assert_eq!(server.joe().get("/services").status, 200);
}

/// One that was made while the clock was a year ahead would be good for as long, once the clock is right again.
#[test]
fn token_from_the_future_is_void() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(Config::with_users(Users::parse(USERS).unwrap()).data_dir(folder.path()));
    let made_ahead = |by: Duration| {
        let mut server = start();
        server.clock.step_forward(by);
        let joe = server.joe();
        server.stop();
        joe.headers.iter().find(|(name, _)| name == "X-Auth-Token").unwrap().1.clone()
    };
    let (soon, year) = (Duration::from_secs(59), Duration::from_secs(365 * 86_400));
    let (slightly_off, far_off) = (made_ahead(soon), made_ahead(year));
    let server = start();
    let status = |token: &str| server.joe().send("GET", "/services", &[("X-Auth-Token", token)], "").status;
    assert_eq!((status(&slightly_off), status(&far_off)), (200, 401));
    let body = json!({"auth": {"token": {"id": far_off}}});
    assert_eq!(server.client().post("@/v2.0/tokens", body).status, 401, "and it is exchanged for no other");
}

/// Every resource of one tenant, asked for by the other one: in its own name, and in the owner's.
#[test]
fn tenants_are_separate() {
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    let mut joe = server.joe();
    let mut ann = server.client().logged_in("ann", "anns-key");
    let (session, session_token) = joe.create("/sessions", json!({"heartbeat_timeout": 30}));
    let (own, own_token) = joe.create("/services", json!({"id": "own-1", "heartbeat_timeout": 30, "tags": ["tag"]}));
    let (member, _) = joe.create("/services", json!({"id": "member-1", "session_id": session, "tags": ["tag"]}));
    assert_eq!(joe.put("/configuration//prod/key", json!({"value": "secret"})).status, 204);
    let everything = |client: &mut Client| {
        ["/sessions", "/services", "/services?tag=tag", "/views/overview", "/events", "/configuration"]
            .map(|path| client.get(path).body)
            .concat()
    };
    let of_joe = everything(&mut joe);
    for part in [&session, &own, &member, "secret"] {
        assert!(of_joe.contains(part), "{part} is missing: {of_joe}");
    }
    let of_ann = everything(&mut ann);
    for part in [&session, &own, &member, "secret", "prod", "7777"] {
        assert!(!of_ann.contains(part), "{part} is shown: {of_ann}");
    }
    let single = [
        ("GET", format!("/sessions/{session}"), json!({})),
        ("PUT", format!("/sessions/{session}"), json!({"metadata": {"a": "b"}})),
        ("DELETE", format!("/sessions/{session}"), json!({})),
        ("POST", format!("/sessions/{session}/heartbeat"), json!({ "token": session_token })),
        ("GET", format!("/services/{own}"), json!({})),
        ("PUT", format!("/services/{own}"), json!({"tags": []})),
        ("DELETE", format!("/services/{member}"), json!({})),
        ("POST", format!("/services/{own}/heartbeat"), json!({ "token": own_token })),
        ("POST", "/services".to_owned(), json!({"id": "thief-1", "session_id": session})),
        ("GET", "/configuration//prod/key".to_owned(), json!({})),
        ("DELETE", "/configuration//prod/key".to_owned(), json!({})),
    ];
    for (method, path, body) in &single {
        assert_eq!(ann.send(method, path, &[], body.to_string()).status, 404, "{method} {path}");
        let body = body.to_string();
        assert_eq!(ann.send(method, &format!("@/v1.0/7777{path}"), &[], &body).status, 401, "{method} {path}");
        let tenant = [("X-Tenant-Id", "7777")];
        assert_eq!(ann.send(method, path, &tenant, &body).status, 401, "{method} {path} by header");
        assert_eq!(ann.send(method, &format!("@/v1.0{path}"), &tenant, &body).status, 401, "{method} {path} by header");
    }
    assert_eq!(everything(&mut joe), of_joe, "and nothing has changed");
    ann.create("/services", json!({"id": own, "heartbeat_timeout": 30}));
    assert_eq!(ann.put("/configuration//prod/key", json!({"value": "mine"})).status, 204);
    assert_eq!(joe.get("/configuration//prod/key").json()["value"], "secret");
}

#[test]
fn new_users_file_takes_effect() {
    let (mut registry, file) = with_users(USERS);
    let address = address(&registry);
    let mut joe = Client::new(address).logged_in("joe", "joes-key");
    let mut ann = Client::new(address).logged_in("ann", "anns-key");

    let new = USERS.replace("anns-key", "anns-new-key");
    std::fs::write(file.path(), &new).unwrap();
    registry.process.line("--users: read again");
    assert_eq!(key_login(&mut Client::new(address), "ann", "anns-new-key"), 200);
    assert_eq!(key_login(&mut Client::new(address), "ann", "anns-key"), 401);
    assert_eq!(ann.get("/services").status, 401, "her token is void");
    assert_eq!(joe.get("/services").status, 200, "his is not");

    std::fs::write(file.path(), "[[user]]\nname = 'eve'\n").unwrap();
    let line = registry.process.line("what was read before stays in force");
    assert!(line.contains("--users: users file: ") && line.contains("missing field `tenant`"), "{line}");
    assert_eq!(joe.get("/services").status, 200);

    std::fs::write(file.path(), "").unwrap();
    assert!(registry.process.line("what was read before stays in force").contains("no [[user]]"));
    assert_eq!(joe.get("/services").status, 200);

    // Replaced by another file under the same name, as editors and platforms do.
    let other = tempfile::NamedTempFile::new_in(file.path().parent().unwrap()).unwrap();
    std::fs::write(other.path(), new.replace("joes-key", "joes-new-key")).unwrap();
    std::fs::rename(other.path(), file.path()).unwrap();
    registry.process.line("--users: read again");
    assert_eq!(joe.get("/services").status, 401);
    registry.process.signal(Signal::SIGHUP);
    registry.process.line("--users: read again");
    assert_eq!(key_login(&mut Client::new(address), "joe", "joes-new-key"), 200);
}

/// Guessers wait. The right user at another address does not, nor do clients with a token.
#[test]
fn guessing_slows_no_other_login() {
    let (registry, _file) = with_users(&format!("{USERS}{}", hashed_users().replace("'ann'", "'eve'")));
    let address = address(&registry);
    let mut joe = Client::new(address).logged_in("joe", "joes-key");
    let (id, mut token) = joe.create("/sessions", json!({"heartbeat_timeout": 30}));
    let guess = |(number, name): (usize, &'static str)| {
        std::thread::spawn(move || {
            let mut client = Client::new(address);
            let bodies = (0..40)
                .map(|n| json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": name, "apiKey": format!("{number}-{n}")}}}));
            let answers = bodies.map(|body| client.send("POST", "@/v2.0/tokens", &[], body.to_string()));
            answers.take(8).map(|answer| answer.fault().2).collect::<Vec<_>>()
        })
    };
    let guessers: Vec<_> = ["joe", "eve"].repeat(12).into_iter().enumerate().map(guess).collect();
    let start = Instant::now();
    let mut elsewhere = Client::from(address, "127.0.0.2"); // one connection: thousands would use up the ports
    let mut beats = 0;
    while !guessers.iter().all(std::thread::JoinHandle::is_finished) || beats < 100 {
        let answer = joe.post(&format!("/sessions/{id}/heartbeat"), json!({ "token": token }));
        assert_eq!(answer.status, 200);
        token = answer.json()["token"].as_str().unwrap().to_owned();
        assert_eq!(key_login(&mut elsewhere, "joe", "joes-key"), 200);
        beats += 1;
    }
    let said: Vec<String> = guessers.into_iter().flat_map(|guesser| guesser.join().unwrap()).collect();
    // 96 guesses at one name, 0.1 s apart at least after the first ones, take this long even where none is put off.
    let is_slowed = start.elapsed() > Duration::from_secs(5);
    let is_put_off = said.iter().any(|details| details.starts_with("Too many failed logins"));
    assert!(is_slowed || is_put_off, "no guesser was slowed: {said:?}");
}

/// They say the same for ever, as fast as they are answered. When that is the key again, they come in.
#[test]
fn programs_with_an_old_key_lock_no_other_out() {
    let (mut registry, file) = with_users(&hashed_users());
    let address = address(&registry);
    let (tell, told) = std::sync::mpsc::channel();
    for tell in vec![tell; 12] {
        std::thread::spawn(move || {
            let mut client = Client::new(address);
            while tell.send(key_login(&mut client, "ann", "old-key")).is_ok() {}
        });
    }
    for status in told.iter().take(20) {
        assert_eq!(status, 401);
    }
    for _ in 0..8 {
        assert_eq!(key_login(&mut Client::new(address), "ann", "anns-key"), 200);
    }
    let key = hash_of("old-key");
    std::fs::write(file.path(), format!("[[user]]\nname = 'ann'\ntenant = 8888\napi_key_hash = '{key}'\n")).unwrap();
    registry.process.line("--users: read again");
    assert_eq!(key_login(&mut Client::new(address), "ann", "old-key"), 200);
    assert!(told.iter().any(|status| status == 200));
}

#[test]
fn remote_open_registry_needs_its_option() {
    let registry = Registry::start_at("0.0.0.0:0", &["--open", "--host-name", "registry.internal,other"]);
    let port = address(&registry).port();
    let mut client = Client::new(SocketAddr::from(([127, 0, 0, 1], port)));
    let mut status = |host: &str, origin: Option<&str>| {
        let headers: Vec<_> = [("Host", host)].into_iter().chain(origin.map(|origin| ("Origin", origin))).collect();
        client.send("POST", "@/v1.0/sessions", &headers, "{\"heartbeat_timeout\":30}").status
    };
    for host in ["localhost", "127.0.0.1:7117", "registry.internal", "other:80", &format!("127.0.0.1:{port}")] {
        assert_eq!(status(host, None), 201, "{host}");
        assert_eq!(status(host, Some(&format!("http://{host}"))), 201, "{host}");
        assert_eq!(status(host, Some("null")), 403, "{host}");
        assert_eq!(status(host, Some("http://example.org")), 403, "{host}");
    }
    for host in ["example.org", "0.0.0.0", "192.0.2.1", "localhost.example.org", ""] {
        assert_eq!(status(host, None), 403, "{host}");
    }
}

#[test]
fn wrapper_registers_by_tls_with_a_trusted_authority() {
    let authority = Authority::new();
    let mut registry = authority.serve(&[]);
    assert!(authority.wraps(&registry, &authority.path("ca"), &[]));
    let other = Authority::new();
    assert!(!authority.wraps(&registry, &other.path("ca"), &[]), "signed by another authority");
    // The certificate changes: the new one counts.
    for file in ["ca", "server.key", "server"] {
        std::fs::copy(other.path(file), authority.path(file)).unwrap();
    }
    registry.process.signal(Signal::SIGHUP);
    registry.process.line("--tls-cert: read again");
    assert!(authority.wraps(&registry, &other.path("ca"), &[]));
    // A broken one does not.
    std::fs::write(authority.path("server"), "").unwrap();
    registry.process.line("no certificate in it");
    assert!(authority.wraps(&registry, &other.path("ca"), &[]));
    // Clients that do not speak TLS, or send nothing, do not block others.
    let mut plain = TcpStream::connect(address(&registry)).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(authority.wraps(&registry, &other.path("ca"), &[]));
}

#[test]
fn client_without_a_required_certificate_is_refused() {
    let authority = Authority::new();
    authority.sign("client", "web0");
    let (ca, certificate, key) = (authority.path("ca"), authority.path("client"), authority.path("client.key"));
    let registry = authority.serve(&["--tls-client-ca", &ca]);
    assert!(!authority.wraps(&registry, &ca, &[]));
    assert!(authority.wraps(&registry, &ca, &["--client-cert", &certificate, "--client-key", &key]));
    let other = Authority::new();
    other.sign("client", "web0");
    let (certificate, key) = (other.path("client"), other.path("client.key"));
    assert!(!authority.wraps(&registry, &ca, &["--client-cert", &certificate, "--client-key", &key]));
}

#[test]
fn invalid_tls_file_is_refused_by_name() {
    let (authority, other) = (Authority::new(), Authority::new());
    let refused = |options: &[&str]| {
        let mut process = Running::start(
            clean(env!("CARGO_BIN_EXE_service-registry"))
                .args(["serve", "--in-memory", "--listen", "127.0.0.1:0"])
                .args(options),
        );
        assert_ne!(process.end().code(), Some(0));
        process.said_to_the_end()
    };
    let (certificate, key, foreign) =
        (authority.path("server"), authority.path("server.key"), other.path("server.key"));
    for (cert, key, option, named) in [
        (&*certificate, &*foreign, "--tls-key", &*foreign),
        ("/no/such/file", &key, "--tls-cert", "/no/such/file"),
        (&key, &key, "--tls-key", "no certificate in it"),
        (&certificate, "/no/such/key", "--tls-key", "no private key"),
    ] {
        let said = refused(&["--tls-cert", cert, "--tls-key", key]);
        assert!(said.contains(&format!("{option}: TLS: ")) && said.contains(named), "{said}");
    }
    assert!(refused(&["--tls-cert", &certificate]).contains("--tls-key"));
    assert!(Path::new(&certificate).exists());
}

#[test]
fn login_response_names_https() {
    let authority = Authority::new();
    let registry = authority.serve(&[]);
    let url = registry.url.replace("127.0.0.1", "localhost");
    crate::bench::need("curl");
    let body = json!({"auth": {"passwordCredentials": {"username": "a", "password": "b"}}}).to_string();
    let output = clean("curl")
        .args(["-sS", "--cacert", &authority.path("ca"), "-d", &body, "-H", "Content-Type: application/json"])
        .arg(format!("{url}/v2.0/tokens"))
        .output()
        .unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!(answer["access"]["serviceCatalog"][0]["endpoints"][0]["publicURL"], json!(format!("{url}/v1.0/1")));
}

/// The original wrapper sends such logins when it is run as documented.
#[test]
fn open_registry_accepts_logins_without_credentials() {
    let server = Server::open();
    let key = "RAX-KSKEY:apiKeyCredentials";
    for body in [
        json!({}),
        json!({"auth": {}}),
        json!({"auth": {key: {"username": "", "apiKey": ""}}}),
        json!({"auth": {key: {"username": 7, "apiKey": 7}}}),
    ] {
        assert_eq!(server.client().send("POST", "@/v2.0/tokens", &[], body.to_string()).status, 200, "{body}");
    }
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    assert_eq!(server.client().send("POST", "@/v2.0/tokens", &[], "{}").status, 400);
}

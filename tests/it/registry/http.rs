//! Rules of all requests: bodies, connections, malformed input.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::RcvBuf};
use serde_json::json;
use service_registry::registry::{Config, Error, Registry, Timeouts, Tls, TlsFiles, Users};

use crate::bench::DEADLINE;
use crate::bench::authority::Authority;
use crate::bench::registry::{connect, connect_from, read_answer};
use crate::bench::{Client, Server, USERS};
use crate::bench::{Registry as Serving, Running, clean, eventually, free_address, need};

fn beat(server: &Server, from: &mut Client) {
    let (id, token) = server.client().create("/sessions", json!({"heartbeat_timeout": 30}));
    let answer = from.post(&format!("/sessions/{id}/heartbeat"), json!({ "token": token }));
    assert_eq!(answer.status, 200);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::open();
    let mut connection = connect(server.address);
    for _ in 0..50 {
        let request = format!("GET /v1.0/1/services HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
        connection.get_mut().write_all(request.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut connection, false).status, 200);
    }
}

#[test]
fn chunked_body_has_the_same_size_limit() {
    let server = Server::open();
    let mut client = server.client();
    let headers = [("Transfer-Encoding", "chunked")];
    let short = "5\r\n{\"val\r\nb\r\nue\": \"abc\"}\r\n0\r\n\r\n";
    assert_eq!(client.send("PUT", "/configuration/key", &headers, short).status, 204);
    assert_eq!(client.get("/configuration/key").json()["value"], "abc");
    let long = format!("{}0\r\n\r\n", format!("3e8\r\n{}\r\n", "z".repeat(1_000)).repeat(5));
    let answer = client.send("PUT", "/configuration/key", &headers, long);
    assert_eq!((answer.status, answer.header("connection")), (413, Some("close")));
    let answer = client.send("PUT", "/configuration/key", &headers, "zz\r\n");
    assert_eq!((answer.status, answer.header("connection")), (400, Some("close")), "these are no chunks");
}

/// Ids may be longer than markers were once.
#[test]
fn values_with_long_ids_are_listed_completely() {
    let server = Server::open();
    let mut client = server.client();
    for number in 0..3 {
        let id = format!("{}/key-{number}", format!("/{}", "n".repeat(50)).repeat(9));
        assert_eq!(client.put(&format!("/configuration/{id}"), json!({"value": "x"})).status, 204);
    }
    let first = client.get("/configuration?limit=1").json();
    let next = first["metadata"]["next_href"].as_str().unwrap().split_once("/v1.0").unwrap().1.to_owned();
    let next = client.get(&format!("@/v1.0{next}"));
    assert_eq!((next.status, next.json()["metadata"]["count"].as_u64()), (200, Some(1)));
}

/// As the original Java client writes them, unless the type says that they are something else.
#[test]
fn body_may_be_utf_8_or_latin_1() {
    let server = Server::open();
    let mut client = server.client();
    let mut set = |key: &str, kind: &str, body: &[u8]| {
        let about = format!("Host: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}", body.len());
        let head = format!("PUT /v1.0/1/configuration/{key} HTTP/1.1\r\n{about}\r\n\r\n");
        client.exchange(&[head.as_bytes(), body].concat(), false).status
    };
    let latin_1 = b"{\"value\": \"caf\xe9 \xdf\"}";
    assert_eq!(set("utf-8", "application/json", "{\"value\": \"caf\u{e9} \u{20ac}\"}".as_bytes()), 204);
    assert_eq!(set("latin-1", "application/json", latin_1), 204);
    assert_eq!(set("said", "application/json; charset=UTF-8", latin_1), 400);
    assert_eq!(set("neither", "application/json", b"{\"value\": \xe9}"), 400);
    assert_eq!(server.client().get("/configuration/utf-8").json()["value"], "caf\u{e9} \u{20ac}");
    assert_eq!(server.client().get("/configuration/latin-1").json()["value"], "caf\u{e9} \u{df}");
}

#[test]
fn large_body_is_refused_before_it_is_sent() {
    let server = Server::open();
    let mut client = server.client();
    let head =
        format!("PUT /v1.0/1/configuration/key HTTP/1.1\r\nHost: {}\r\nContent-Length: 1000000\r\n", server.address);
    let answer = client.exchange(format!("{head}Expect: 100-continue\r\n\r\n").as_bytes(), false);
    assert_eq!(answer.status, 413);
    let whole = [format!("{head}\r\n").as_bytes(), &[b'z'; 1_000_000]].concat();
    assert_eq!(client.exchange(&whole, false).status, 413, "and a client that sends it anyway sees the response");
}

#[test]
fn old_and_odd_forms_of_http_are_accepted() {
    let server = Server::open();
    let answer = server.client().exchange(b"GET /v1.0/1/services HTTP/1.0\r\n\r\n", false);
    assert_eq!(answer.status, 200);
    let absolute = format!("GET http://{0}/v1.0/1/services?limit=1 HTTP/1.1\r\nHost: {0}\r\n\r\n", server.address);
    assert_eq!(server.client().exchange(absolute.as_bytes(), false).status, 200);
}

/// By RFC 9112, 3.2: `Host` exactly once, and of a target in absolute form the host in it counts.
#[test]
fn request_must_name_one_host() {
    let users = || Config::with_users(Users::parse(USERS).unwrap());
    for server in [Server::open(), Server::start(users())] {
        let ask = |head: &str| server.client().exchange(format!("{head}\r\n\r\n").as_bytes(), false);
        for hosts in ["", "\r\nHost: localhost\r\nHost: localhost", "\r\nHost: localhost\r\nhost: 127.0.0.1"] {
            for target in ["/", "/v1.0/1/services", "http://localhost/"] {
                let answer = ask(&format!("GET {target} HTTP/1.1{hosts}"));
                assert_eq!((answer.status, &*answer.fault().1), (400, "badRequest"), "{target} {hosts:?}");
            }
        }
        assert_eq!(ask("GET / HTTP/1.0\r\nHost: localhost\r\nHost: localhost").status, 400);
        assert_eq!(ask("GET / HTTP/1.0").status, 200);
    }
    let server = Server::open();
    let ask = |head: &str| server.client().exchange(format!("{head}\r\n\r\n").as_bytes(), false).status;
    assert_eq!(ask("GET http://example.org/v1.0/1/services HTTP/1.1\r\nHost: localhost"), 403);
    assert_eq!(ask("GET http://localhost/v1.0/1/services HTTP/1.1\r\nHost: example.org"), 200);
    let own = "GET http://localhost:1/v1.0/1/services HTTP/1.1\r\nHost: example.org\r\nOrigin: http://";
    assert_eq!((ask(&format!("{own}localhost:1")), ask(&format!("{own}example.org"))), (200, 403));
}

#[test]
fn giant_heads_are_refused() {
    let server = Server::open();
    for head in [
        format!("GET /v1.0/1/services?{} HTTP/1.1\r\n", "x".repeat(100_000)),
        format!("GET /v1.0/1/services HTTP/1.1\r\nX: {}\r\n", "x".repeat(100_000)),
        format!("GET /v1.0/1/services HTTP/1.1\r\n{}", "X: y\r\n".repeat(1_000)),
    ] {
        let mut connection = connect(server.address);
        let _ = connection.get_mut().write_all(format!("{head}\r\n").as_bytes()); // the registry may close the connection before that
        let mut answer = String::new();
        let _ = connection.read_to_string(&mut answer);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    beat(&server, &mut server.client());
}

fn ask(connection: &mut BufReader<TcpStream>) -> u16 {
    let request = "GET /v1.0/1/services HTTP/1.1\r\nHost: localhost\r\n\r\n";
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    read_answer(connection, false).status
}

/// Waits for the other side to close.
fn is_closed(mut connection: BufReader<TcpStream>) -> bool {
    // Unlike `read`, goes on after a stop of this process.
    connection.read_exact(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof)
}

#[test]
fn connection_above_the_limit_evicts_an_idle_one() {
    let server = Server::start(Config::anonymous().max_connections(3));
    let mut elsewhere = connect_from([127, 0, 0, 2].into(), server.address);
    assert_eq!(ask(&mut elsewhere), 200);
    let mut polite = connect(server.address);
    assert_eq!(ask(&mut polite), 200);
    let silent = connect(server.address);
    let mut next = connect(server.address);
    assert_eq!(ask(&mut next), 200);
    assert!(is_closed(silent), "it never asked anything");
    let mut another = connect(server.address);
    assert_eq!(ask(&mut another), 200);
    assert!(is_closed(polite), "it was idle longest");
    assert_eq!((ask(&mut next), ask(&mut another), ask(&mut elsewhere)), (200, 200, 200));
}

#[test]
fn registry_that_is_dropped_drops_its_connections() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let registry = Registry::bind(Config::anonymous(), TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
    let address = registry.local_addr();
    let serving = runtime.spawn(registry.serve(std::future::pending()));
    let mut idle = connect(address);
    assert_eq!(ask(&mut idle), 200);
    let mut busy = connect(address);
    let half =
        b"POST /v1.0/1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    busy.get_mut().write_all(half).unwrap();
    let mut line = String::new();
    busy.read_line(&mut line).unwrap();
    assert!(line.contains("100"), "{line}");
    serving.abort();
    assert!(is_closed(idle));
    busy.read_line(&mut line).unwrap(); // the end of the answer so far
    assert!(is_closed(busy));
}

/// Each of the limits is short once, and the others so long that the test would give up before them.
#[test]
fn connections_that_wait_too_long_are_closed() {
    let (short, long) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let all = Timeouts { idle: long, newcomer: long, head: long, body: long, handshake: long, unread: long };
    let server = |timeouts| Server::start(Config::anonymous().timeouts(timeouts));
    let head = b"POST /v1.0/1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n";

    let newcomers = server(Timeouts { newcomer: short, ..all });
    let mut known = connect(newcomers.address);
    assert_eq!(ask(&mut known), 200);
    assert!(is_closed(connect(newcomers.address)), "it never asked anything");
    assert_eq!(ask(&mut known), 200, "it has asked, and may be silent for as long");

    let idlers = server(Timeouts { idle: short, ..all });
    let mut idle = connect(idlers.address);
    assert_eq!((ask(&mut idle), ask(&mut idle)), (200, 200));
    assert!(is_closed(idle), "it was silent after a request");

    let tricklers = server(Timeouts { head: short, ..all });
    for asked_before in [false, true] {
        let mut trickling = connect(tricklers.address);
        assert!(!asked_before || ask(&mut trickling) == 200);
        trickling.get_mut().write_all(head).unwrap(); // without the empty line that ends it
        assert!(is_closed(trickling), "its head did not come; asked before: {asked_before}");
    }

    let bodies = server(Timeouts { body: short, ..all });
    let mut slow = connect(bodies.address);
    slow.get_mut().write_all(&[head, &b"\r\n{"[..]].concat()).unwrap();
    let answer = read_answer(&mut slow, false);
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "its body did not come");
    assert!(is_closed(slow));

    let authority = Authority::new();
    let [certificate, key] = ["server", "server.key"].map(|name| authority.path(name).into());
    let tls = Tls::read(&TlsFiles { certificate, key, client_ca: None }).unwrap();
    let timeouts = Timeouts { handshake: short, ..all };
    let with_tls = Server::start(Config::anonymous().tls(tls).timeouts(timeouts));
    let mut hesitant = connect(with_tls.address);
    hesitant.get_mut().write_all(&[22, 3, 1]).unwrap(); // the beginning of a first record
    assert!(is_closed(hesitant), "it did not finish its handshake");
}

/// Its requests are not answered in advance, which would take as much memory as it likes, and it is cut off.
#[test]
fn client_that_reads_no_responses_is_disconnected() {
    let timeouts = Timeouts { unread: Duration::from_secs(1), ..Timeouts::default() };
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()).timeouts(timeouts));
    let mut joe = server.joe();
    for n in 0..100 {
        assert_eq!(joe.put(&format!("/configuration/key-{n}"), json!({"value": "x".repeat(1_000)})).status, 204);
    }
    assert!(joe.get("/configuration").body.len() > 100_000);

    let mut deaf = connect(server.address).into_inner();
    deaf.set_write_timeout(Some(DEADLINE)).unwrap();
    setsockopt(&deaf, RcvBuf, &4096).unwrap(); // otherwise it grows while the client does not read
    let (_, token) = joe.headers.iter().find(|(name, _)| name == "X-Auth-Token").unwrap();
    let request =
        format!("GET {}/configuration HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: {token}\r\n\r\n", joe.root);
    let cut = loop {
        if let Err(error) = deaf.write_all(request.as_bytes()) {
            break error.kind();
        }
    };
    assert!(matches!(cut, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{cut}");
    let answered = joe.get("/limits").json()["rate"]["/.*"]["used"].as_u64().unwrap();
    assert!(answered < 12, "{answered} of them: what the buffers on the way take is less than a megabyte");
}

#[test]
fn half_closed_connection_is_answered() {
    let server = Server::open();
    let mut connection = connect(server.address);
    connection.get_mut().write_all(b"GET /v1.0/1/services HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    connection.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_answer(&mut connection, false).status, 200);
    assert!(is_closed(connection));
}

/// The original Twisted client does not read such an answer, and logs in and asks again.
#[test]
fn refused_token_closes_the_connection() {
    let server = Server::start(Config::with_users(Users::parse(USERS).unwrap()));
    let mut connection = connect(server.address);
    let request = "GET /v1.0/7777/services HTTP/1.1\r\nHost: localhost\r\nX-Auth-Token: void\r\n\r\n";
    connection.get_mut().write_all(request.as_bytes()).unwrap();
    let answer = read_answer(&mut connection, false);
    assert_eq!((answer.status, answer.header("connection")), (401, Some("close")));
    assert!(is_closed(connection));
}

#[test]
fn stop_does_not_wait_for_idle_connections() {
    let mut server = Server::open();
    let mut client = server.client();
    assert_eq!(client.get("/services").status, 200);
    let start = std::time::Instant::now();
    server.stop();
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

/// A program that embeds a registry cannot open it to other machines by mistake.
#[test]
fn open_registry_refuses_a_remote_listener() {
    let listener = || std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let refused = Registry::bind(Config::anonymous(), listener());
    assert!(matches!(refused, Err(Error::NotLoopback(_))), "{refused:?}");
    assert!(Registry::bind(Config::with_users(Users::parse(USERS).unwrap()), listener()).is_ok());
}

#[test]
fn registry_alone_has_no_view_of_a_cluster() {
    let server = Server::open();
    for path in ["/views/cluster", "/Views/Cluster/"] {
        let answer = server.client().get(path);
        assert_eq!((answer.status, answer.json()["type"].as_str()), (404, Some("notFoundError")), "{path}");
        assert!(answer.body.contains("not part of a cluster"), "{answer:?}");
    }
}

/// Requests made of parts that mean something and parts that do not: whatever comes of it, it is an answer.
#[test]
fn random_requests_are_answered() {
    let server = Server::open();
    let mut client = server.client();
    let mut random = fastrand::Rng::with_seed(11);
    let parts = [
        "services",
        "sessions",
        "configuration",
        "events",
        "views",
        "overview",
        "cluster",
        "limits",
        "heartbeat",
        "",
        "node-1",
        "%2F",
        "%00",
        "%ff",
        "..",
        "key",
        "a b".split(' ').next().unwrap(),
        "%20",
        "seAAAAAAAA",
        "1",
        "v1.0",
    ];
    let queries = [
        "",
        "?",
        "?limit=1",
        "?limit=x",
        "?marker=%00",
        "?tag=web",
        "?type=service.join",
        "?marker=6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "?&&=&",
    ];
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "{\"id\":\"node-1\",\"heartbeat_timeout\":3}",
        "{\"heartbeat_timeout\":1e308}",
        "{\"value\":\"\\u0000\"}",
        "{\"token\":\"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"}",
        "{\"tags\":[[]],\"id\":{}}",
        "\u{feff}{}",
        "{\"id\":\"node-1\",\"session_id\":\"seAAAAAAAA\"}",
        "[[[[[[[[",
        "\"\\ud800\"",
        "-",
        "{\"auth\":{\"token\":[]}}",
    ];
    for _ in 0..3_000 {
        let path: Vec<&str> = (0..random.usize(0..5)).map(|_| parts[random.usize(..parts.len())]).collect();
        let start = *random.choice(&["/", "@/v1.0/", "@/v1.0/1/", "@/", "@/v2.0/tokens/"]).unwrap();
        let path = format!("{start}{}{}", path.join("/"), random.choice(queries).unwrap());
        let method = random.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "PATCH"]).unwrap();
        let body = random.choice(bodies).unwrap();
        let answer = client.send(method, &path, &[], body);
        assert!(answer.status < 500, "{method} {path} {body}: {answer:?}");
        server.advance(random.u64(0..500));
    }
    beat(&server, &mut client);
}

/// No token is asked for, and nothing is given away that the API does not tell.
#[test]
fn browser_gets_a_page() {
    for config in [Config::anonymous(), Config::with_users(Users::parse(USERS).unwrap())] {
        let is_open = format!("{config:?}").contains("users: None");
        let server = Server::start(config);
        let mut client = server.client();
        let page = client.send("GET", "@/", &[], "");
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=UTF-8")));
        let version = concat!("service-registry ", env!("CARGO_PKG_VERSION"));
        for part in [version, "\"openapi.json\"", "/v1.0/"] {
            assert!(page.body.contains(part), "{part}: {page:?}");
        }
        for foreign in ["src=", "http://", "https://", "import "] {
            assert!(!page.body.contains(foreign), "{foreign}: {page:?}");
        }
        let policy = page.header("content-security-policy").unwrap();
        for rule in ["default-src 'none'; ", "script-src 'sha256-", "style-src 'sha256-", "connect-src 'self';"] {
            assert!(policy.contains(rule), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));

        let head = client.send("HEAD", "@/", &[], "");
        assert_eq!((head.status, &*head.body), (200, ""));
        let same = ["content-length", "content-type", "content-security-policy", "cache-control"];
        assert!(
            same.iter().all(|name| head.header(name).is_some() && head.header(name) == page.header(name)),
            "{head:?}"
        );
        assert_eq!(client.send("GET", "@/?from=bookmark", &[], "").body, page.body);

        for (method, path) in [("POST", "@/"), ("DELETE", "@/"), ("GET", "@//"), ("GET", "@/index.html")] {
            assert_eq!(client.send(method, path, &[], "").status, 404, "{method} {path}");
        }
        let refused = if is_open { 403 } else { 200 };
        assert_eq!(client.send("GET", "@/", &[("Host", "example.org")], "").status, refused);
        assert_eq!(client.send("GET", "@/", &[("Origin", "http://example.org")], "").status, refused);
    }
}

/// What proxies ask by default whether a server is up. Nothing is granted to web pages.
#[test]
fn options_of_the_root_are_answered_without_a_token() {
    for config in [Config::anonymous(), Config::with_users(Users::parse(USERS).unwrap())] {
        let server = Server::start(config);
        let ask = |head: &str| server.client().exchange(format!("OPTIONS {head}\r\n\r\n").as_bytes(), false);
        for (head, methods) in [
            ("/ HTTP/1.0", "GET, HEAD, OPTIONS"),
            ("/ HTTP/1.1\r\nHost: localhost", "GET, HEAD, OPTIONS"),
            ("* HTTP/1.1\r\nHost: localhost", "GET, HEAD, POST, PUT, DELETE, OPTIONS"),
        ] {
            let answer = ask(head);
            assert_eq!((answer.status, answer.header("allow"), &*answer.body), (204, Some(methods), ""), "{head}");
            let grants = answer.headers.iter().any(|(name, _)| name.starts_with("access-control"));
            assert!(!grants, "{answer:?}");
        }
        for path in ["/openapi.json", "/v2.0/tokens", "/index.html", "//"] {
            assert_eq!(ask(&format!("{path} HTTP/1.0")).status, 404, "{path}");
        }
    }
}

#[test]
fn haproxy_with_its_default_check_finds_the_registry_up() {
    need("haproxy");
    let registry = Serving::start();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let server = registry.url.strip_prefix("http://").unwrap();
    let config = format!(
        "global\n    stats socket {}\ndefaults\n    mode http\n    timeout connect 5s\n    timeout client 5s\n    \
         timeout server 5s\nlisten registry\n    bind {}\n    option httpchk\n    \
         server one {server} check inter 100ms\n",
        path("stats"),
        free_address()
    );
    std::fs::write(path("config"), config).unwrap();
    let mut haproxy = Running::start(clean("haproxy").args(["-db", "-f", &path("config")]));
    let state = eventually("the result of a check", || {
        assert!(!haproxy.has_ended(), "{}", haproxy.said());
        let mut stats = UnixStream::connect(path("stats")).ok()?;
        stats.write_all(b"show stat\n").unwrap();
        let mut table = String::new();
        stats.read_to_string(&mut table).unwrap();
        let mut rows = table.trim_start_matches("# ").lines().map(|line| line.split(',').collect::<Vec<_>>());
        let names = rows.next()?;
        let server = rows.find(|row| row.starts_with(&["registry", "one"]))?;
        let field = |name| server[names.iter().position(|known| *known == name).unwrap()].to_owned();
        // Before the first check the server counts as up. An asterisk marks that the next one runs.
        let result = field("check_status").trim_start_matches("* ").to_owned();
        result.starts_with('L').then(|| [field("status"), result, field("check_code")])
    });
    assert_eq!(state, ["UP", "L7OK", "204"]);
}

/// Bytes that are no requests at all.
#[test]
fn random_bytes_do_not_stop_the_registry() {
    let server = Server::open();
    let mut random = fastrand::Rng::with_seed(12);
    for _ in 0..200 {
        let mut connection = connect(server.address);
        let length = random.usize(1..400);
        let noise: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
        connection.get_mut().write_all(&noise).unwrap();
    }
    beat(&server, &mut server.client());
}

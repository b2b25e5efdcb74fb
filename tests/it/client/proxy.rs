//! Through a proxy of the environment.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::authority::authority_for;
use crate::bench::{Misbehaving, Reply};
use crate::bench::{clean, need};

/// Asks through the proxy that the environment names: in a process of its own, since it is this one's environment else.
async fn ask(variable: &str, proxy: &str, url: &str, authority: Option<&std::path::Path>) {
    let mut again: Command = clean(std::env::current_exe().unwrap());
    again.env(variable, proxy).env("ASKED_URL", url);
    authority.map(|file| again.env("ASKED_CA", file));
    again.args(["--exact", "client::proxy::child_process_calls_through_the_environments_proxy", "--ignored"]);
    let output = tokio::task::spawn_blocking(move || again.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[tokio::test]
#[ignore = "the other tests run it, in a process whose environment names a proxy"]
async fn child_process_calls_through_the_environments_proxy() {
    let mut client = service_registry::client::Client::builder().registry_url(&std::env::var("ASKED_URL").unwrap());
    if let Ok(file) = std::env::var("ASKED_CA") {
        client = client.ca_file(file);
    }
    let client = client.build().unwrap();
    client.account().limits().await.unwrap();
    client.account().limits().await.unwrap();
}

/// What is asked for in each environment.
const URLS: [&str; 10] = [
    "http://registry.test:7117/v1.0/limits",
    "http://www.registry.test:7117/v1.0/limits",
    "http://notregistry.test:7117/v1.0/limits",
    "http://registry.test.:7117/v1.0/limits",
    "http://192.0.2.7:7117/v1.0/limits",
    "http://192.0.3.7:7117/v1.0/limits",
    "http://[2001:db8::1]:7117/v1.0/limits",
    "https://registry.test:7117/v1.0/limits",
    "https://192.0.2.7:7117/v1.0/limits",
    "https://[2001:db8::1]:7117/v1.0/limits",
];

/// How long a request may take that no proxy answers.
const IN_VAIN: Duration = Duration::from_secs(10);

#[tokio::test]
#[ignore = "the other tests run it, in a process whose environment names a proxy"]
async fn child_process_asks_for_every_url() {
    let asked = URLS.map(|url| {
        let base = url.trim_end_matches("/limits");
        let client = service_registry::client::Client::builder().registry_url(base).request_timeout(IN_VAIN);
        let client = client.build().unwrap();
        async move { drop(client.account().limits().await) }
    });
    asked.into_iter().collect::<tokio::task::JoinSet<_>>().join_all().await;
}

/// The requests that reach a proxy in this environment, where `PROXY` stands for its address: the client's and curl's.
async fn proxied(environment: Vec<(&'static str, &'static str)>) -> [BTreeSet<String>; 2] {
    let mut this: Command = clean(std::env::current_exe().unwrap());
    this.args(["--exact", "client::proxy::child_process_asks_for_every_url", "--ignored"]);
    let mut curl = clean("curl");
    curl.args(["-q", "--silent", "--parallel", "--insecure", "--max-time", &IN_VAIN.as_secs().to_string()]);
    for url in URLS {
        curl.args(["--globoff", "--output", "/dev/null", url]);
    }
    let mut seen = [BTreeSet::new(), BTreeSet::new()];
    for (mut command, seen) in [this, curl].into_iter().zip(&mut seen) {
        let proxy = Misbehaving::start(|_| Reply::fault(502, "internalError", "no")).await;
        let address = proxy.url.trim_start_matches("http://");
        command.envs(environment.iter().map(|(name, value)| (name, value.replace("PROXY", address))));
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        seen.extend(proxy.lines());
    }
    seen
}

#[tokio::test]
async fn proxy_variables_mean_what_they_mean_to_curl() {
    need("curl");
    let all = ("all_proxy", "http://PROXY");
    let lists = [
        "*",
        " *",
        "*,other.test",
        "other.test,*",
        "registry.test",
        ".registry.test",
        "REGISTRY.Test",
        "registry.test.",
        "*.registry.test",
        "test",
        "est",
        "registry.test:7117",
        "192.0.2.7",
        "192.0.2.7:7117",
        "192.0.2.0/24",
        "192.0.2.0/33",
        "192.0.2.0/x",
        "192.0.2",
        "2001:db8::1",
        "other.test 192.0.2.7",
        "other.test, 192.0.2.7",
        "other.test,,192.0.2.7",
        "other.test ,registry.test,",
        ",",
        "",
        "http://registry.test",
    ];
    let mut environments: Vec<_> = lists.iter().map(|list| vec![all, ("no_proxy", *list)]).collect();
    let dead = "http://127.255.255.254:9";
    environments.extend([
        vec![("http_proxy", "http://PROXY")],
        vec![("http_proxy", "PROXY")],
        vec![("http_proxy", "http://joe:secret@PROXY/")],
        vec![("https_proxy", "http://PROXY")],
        vec![("HTTPS_PROXY", "http://PROXY")],
        vec![("ALL_PROXY", "http://PROXY")],
        vec![("https_proxy", "http://PROXY"), ("HTTPS_PROXY", dead)],
        vec![("https_proxy", ""), ("HTTPS_PROXY", "http://PROXY")],
        vec![all, ("ALL_PROXY", dead)],
        vec![all, ("http_proxy", "")],
        vec![all, ("http_proxy", dead)],
        vec![all, ("HTTPS_PROXY", dead)],
        vec![all, ("NO_PROXY", "registry.test")],
        vec![all, ("no_proxy", "192.0.2.7"), ("NO_PROXY", "*")],
        vec![all, ("no_proxy", ""), ("NO_PROXY", "*")],
    ]);
    // All at once: those that no proxy answers take long where the network is silent.
    let asked = environments.into_iter().map(async |environment| (environment.clone(), proxied(environment).await));
    for (environment, [client, curl]) in asked.collect::<tokio::task::JoinSet<_>>().join_all().await {
        assert_eq!(client, curl, "{environment:?}");
    }
}

/// curl promises the same, but version 7.88 compares an IPv6 address like a name, and none knows length 0.
#[tokio::test]
async fn no_proxy_excludes_networks() {
    let all = ("all_proxy", "http://PROXY");
    for (list, excluded, left) in [
        ("2001:db8::/32", "2001:", 8),
        ("2001:DB8:0:0::1", "2001:", 8),
        ("2001:db8:8000::/33", "nothing", 10),
        ("::/0", "2001:", 8),
        ("0.0.0.0/0", "192.0.", 7),
    ] {
        let [seen, _] = proxied(vec![all, ("no_proxy", list)]).await;
        assert!(seen.len() == left && !seen.iter().any(|line| line.contains(excluded)), "{list}: {seen:?}");
    }
}

/// curl does not read it, because a web server may set it from a header of a request. It says so by another variable.
#[tokio::test]
async fn http_proxy_in_upper_case_counts_outside_of_a_web_server() {
    let named = ("HTTP_PROXY", "http://PROXY");
    assert_eq!(proxied(vec![named]).await[0].len(), 7);
    assert!(proxied(vec![named, ("REQUEST_METHOD", "GET")]).await[0].is_empty());
}

#[tokio::test]
async fn proxy_that_is_not_for_http_is_named() {
    let output = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"))
        .args(["--id=web0", "--registry-url=http://192.0.2.7", "--abort-on-failure", "--retries=1", "true"])
        .env("ALL_PROXY", "socks5://127.0.0.1:1080")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ALL_PROXY names a socks5 proxy, which is not supported"), "{said}");
}

#[tokio::test]
async fn http_goes_to_the_proxy_with_its_password() {
    let proxy = Misbehaving::start(|_| Reply::limits()).await;
    let url = proxy.url.replace("http://", "http://joe:secret@");
    ask("http_proxy", &url, "http://registry.test:7117", None).await;
    assert_eq!(proxy.lines(), ["GET http://registry.test:7117/v1.0/limits"; 2]);
    let seen = &proxy.seen()[1];
    assert_eq!(seen.header("proxy-authorization"), Some("Basic am9lOnNlY3JldA=="));
    assert_eq!(seen.header("host"), Some("registry.test:7117"));
    assert_eq!(proxy.connections(), 1);
}

#[tokio::test]
async fn https_goes_through_a_tunnel() {
    let (file, tls) = authority_for("registry.test");
    let server = Misbehaving::start_with(|_| Reply::limits(), Some(tls)).await;
    let port = server.url.rsplit(':').next().unwrap().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("http://joe:secret@{}", listener.local_addr().unwrap());
    let tunnel = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 Established\r\n\r\n").await.unwrap();
        let mut there = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        copy_bidirectional(&mut stream, &mut there).await.ok();
        String::from_utf8(head).unwrap()
    });
    ask("https_proxy", &proxy, "https://registry.test", Some(file.path())).await;
    let head = tunnel.await.unwrap();
    assert!(head.starts_with("CONNECT registry.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nProxy-Authorization: Basic am9lOnNlY3JldA==\r\n"), "{head}");
    assert_eq!(server.lines(), ["GET /v1.0/limits"; 2]);
    assert!(!server.seen()[0].headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("proxy-authorization")));
}

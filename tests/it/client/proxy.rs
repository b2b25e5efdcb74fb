//! Through a proxy of the environment.

use std::process::Command;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::bench::authority::authority_for;
use crate::bench::clean;
use crate::bench::{Misbehaving, Reply};

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

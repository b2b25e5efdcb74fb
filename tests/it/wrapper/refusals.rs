//! Every refusal that a registry, or what stands in its place, may give the wrapper: each message names the option, the
//! variable or the file that cures it.

use std::net::TcpListener;

use crate::bench::authority::Authority;
use crate::bench::users::{address, with_users};
use crate::bench::{Misbehaving, Registry, Reply, clean};

/// What the wrapper says about a registration that fails.
fn said(url: &str, options: &[&str]) -> String {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.args(["--id=web9", "--abort-on-failure", "--retries=1", "--registry-url", url]).args(options).arg("true");
    let output = command.output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(100), "{url} {options:?}: {text}");
    text
}

fn assert_cures(cases: &[(&str, String, &[&str])]) {
    for (case, text, parts) in cases {
        assert!(parts.iter().all(|part| text.contains(part)), "{case}: {parts:?} in {text}");
    }
}

#[test]
fn refusal_of_the_registry_names_its_cure() {
    let users = "[[user]]\nname = \"joe\"\ntenant = 7777\napi_key = \"joes-key\"\nlimits = { service = 0 }\n";
    let (with_users, _file) = with_users(users);
    let open = Registry::start();
    let key = |key: &str| ["--username=joe".to_owned(), format!("--api-key={key}")];
    let with_key = |text: &str| said(&with_users.url, &key(text).each_ref().map(String::as_str));
    let by_name = format!("http://registry.internal:{}", address(&open).port());
    let proxy = ["http_proxy", &open.url];
    let foreign_host = {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
        command.env(proxy[0], proxy[1]).args(["--id=web9", "--abort-on-failure", "--retries=1", "--registry-url"]);
        String::from_utf8(command.args([&by_name, "true"]).output().unwrap().stderr).unwrap()
    };
    assert_cures(&[
        ("no credentials", said(&with_users.url, &[]), &["401", "--username, --api-key-file"]),
        ("wrong key", with_key("other"), &["logging in", "401", "--username, --api-key-file"]),
        ("quota", with_key("joes-key"), &["limitReached", "7777"]),
        ("foreign host", foreign_host, &["403", "--host-name=registry.internal"]),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_of_another_server_names_its_cure() {
    let page = || Reply::Answer {
        status: 404,
        headers: vec![("Content-Type", "text/html".to_owned())],
        body: "<html>".into(),
    };
    let no_registry = Misbehaving::start(move |_| page()).await;
    let moved = Misbehaving::start(|_| Reply::json(301, &serde_json::json!({})).with("Location", "http://a/")).await;
    let invalid = Misbehaving::start(|_| Reply::fault(400, "badRequest", "Validation error for key 'metadata'")).await;
    let narrow = Misbehaving::start(|_| Reply::json(413, &serde_json::json!({}))).await;
    let broken = Misbehaving::start(|_| Reply::json(502, &serde_json::json!({}))).await;
    let (nobody, text) = (TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(), "not HTTP\r\n\r\n");
    let garbage = Misbehaving::start(move |_| Reply::Bytes(text.into())).await;
    tokio::task::spawn_blocking(move || {
        assert_cures(&[
            ("page", said(&no_registry.url, &[]), &["404", "no registry answers like this", "--registry-url"]),
            ("redirect", said(&moved.url, &[]), &["301", "give the address it leads to", "--registry-url"]),
            ("invalid", said(&invalid.url, &[]), &["400", "Validation error for key 'metadata'"]),
            ("too large", said(&narrow.url, &[]), &["413", "shorten", "--metadata, --tags"]),
            ("gateway", said(&broken.url, &[]), &["502", "check the address", "--registry-url"]),
            ("no server", said(&format!("http://{nobody}"), &[]), &["cannot connect", "--registry-url"]),
            ("no HTTP", said(&garbage.url, &[]), &["did not reply with HTTP", "--registry-url"]),
        ]);
    })
    .await
    .unwrap();
}

#[test]
fn refusal_of_tls_names_its_cure() {
    let (authority, other) = (Authority::new(), Authority::new());
    let registry = authority.serve(&[]);
    let demanding = authority.serve(&["--tls-client-ca", &authority.path("ca")]);
    authority.sign_expired("expired", "localhost");
    std::fs::rename(authority.path("expired"), authority.path("server")).unwrap();
    std::fs::rename(authority.path("expired.key"), authority.path("server.key")).unwrap();
    let expired = authority.serve(&[]);
    let url = |registry: &Registry| format!("https://localhost:{}", address(registry).port());
    let (ca, other) = (authority.path("ca"), other.path("ca"));
    let own = ["--ca-file", &ca];
    assert_cures(&[
        ("unknown authority", said(&url(&registry), &["--ca-file", &other]), &["cannot trust", "--ca-file"]),
        ("wrong name", said(&registry.url, &own), &["another name", "localhost", "--registry-url"]),
        ("expired", said(&url(&expired), &own), &["not valid now", "renew it"]),
        ("client certificate", said(&url(&demanding), &own), &["client certificate", "--client-cert, --client-key"]),
        ("plain", said(&url(&registry).replace("https", "http"), &[]), &["https://", "--registry-url"]),
    ]);
}

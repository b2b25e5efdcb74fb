//! https: trusted authorities only, and mixed with http where login and registry differ.

use serde_json::json;
use tokio_rustls::TlsAcceptor;

use crate::bench::authority::authority_for;
use crate::bench::{Misbehaving, Reply};

fn authority() -> (tempfile::NamedTempFile, TlsAcceptor) {
    authority_for("localhost")
}

#[tokio::test]
async fn registry_is_trusted_by_its_authority_only() {
    let (file, tls) = authority();
    let server = Misbehaving::start_with(|_| Reply::limits(), Some(tls)).await;
    server.builder().ca_file(file.path()).build().unwrap().account().limits().await.unwrap();
    assert_eq!(server.lines(), ["GET /v1.0/limits"]);

    let (another, _) = authority();
    let error = server.builder().ca_file(another.path()).build().unwrap().account().limits().await.unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("certificate"), "{error}");
    let by_address = server.url.replace("localhost", "127.0.0.1");
    let client = server.builder().registry_url(&by_address).ca_file(file.path()).build().unwrap();
    let error = client.account().limits().await.unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("certificate"), "{error}");
    assert_eq!(server.lines().len(), 1);
}

#[tokio::test]
async fn login_and_registry_may_differ_in_tls() {
    let (file, tls) = authority();
    let answer = |seen: &crate::bench::Seen| match seen.line().as_str() {
        "POST /v2.0/tokens" => Reply::login("token"),
        _ => Reply::limits(),
    };
    let secure = Misbehaving::start_with(answer, Some(tls)).await;
    let plain = Misbehaving::start(answer).await;
    for (registry, auth) in [(&plain, &secure), (&secure, &plain)] {
        let client = registry.builder().auth_url(&auth.url).credentials("joe", "key").ca_file(file.path());
        client.build().unwrap().account().limits().await.unwrap();
    }
    let both = ["GET /v1.0/7777/limits", "POST /v2.0/tokens"];
    assert_eq!(
        (secure.lines(), plain.lines()),
        ([both[1], both[0]].map(str::to_owned).to_vec(), both.map(str::to_owned).to_vec())
    );
}

/// There is a bound to what is read of a connection; it begins anew with each request.
#[tokio::test]
async fn long_responses_pass_tls() {
    let (file, tls) = authority();
    let long = json!({"resource": {}, "rate": {}, "more": "x".repeat(8_000_000)});
    let server = Misbehaving::start_with(move |_| Reply::ok(&long), Some(tls)).await;
    let client = server.builder().ca_file(file.path()).build().unwrap();
    for _ in 0..5 {
        client.account().limits().await.unwrap();
    }
    assert_eq!(server.connections(), 1);
}

#[test]
fn ca_file_without_a_certificate_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = service_registry::client::Client::builder().ca_file(file.path()).build().unwrap_err();
    assert!(error.to_string().contains("no certificate in it; give a file of PEM certificates"), "{error}");
}

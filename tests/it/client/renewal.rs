//! Authorities that are replaced while a client lives.

use std::fs;
use std::time::Instant;

use crate::bench::authority::authority_for;
use crate::bench::{DEADLINE, Misbehaving, Reply};

/// A server that closes each connection after one answer, or keeps it.
async fn server(keeps: bool, tls: tokio_rustls::TlsAcceptor) -> Misbehaving {
    let limits = Reply::limits();
    let reply = if keeps { limits } else { Reply::AnswerThenClose(Box::new(limits)) };
    Misbehaving::start_with(move |_| reply.clone(), Some(tls)).await
}

#[tokio::test]
async fn replaced_ca_file_is_read_for_the_next_connection() {
    let (good, tls) = authority_for("localhost");
    let (wrong, _) = authority_for("localhost");
    let server = server(true, tls).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::copy(&wrong, &file).unwrap();
    let client = server.builder().ca_file(&file).build().unwrap();
    let error = client.account().limits().await.unwrap_err();
    assert!(error.is_connect() && error.to_string().contains("cannot trust"), "{error}");
    fs::copy(&good, &file).unwrap();
    // On a busy machine it may be read too late for the first connection.
    let deadline = Instant::now() + DEADLINE;
    while let Err(error) = client.account().limits().await {
        assert!(Instant::now() < deadline, "{error}");
    }
    let connections = server.connections();
    fs::copy(&wrong, &file).unwrap();
    client.account().limits().await.unwrap();
    assert_eq!(server.connections(), connections, "the last one is kept");
}

#[tokio::test]
async fn unusable_ca_file_leaves_the_last_one_in_use() {
    let (good, tls) = authority_for("localhost");
    let (wrong, _) = authority_for("localhost");
    let server = server(false, tls).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca");
    fs::copy(&good, &file).unwrap();
    let client = server.builder().ca_file(&file).build().unwrap();
    let pem = fs::read(&good).unwrap();
    let broken: [&dyn Fn(); 4] = [
        &|| fs::write(&file, "").unwrap(),
        &|| fs::write(&file, &pem[..pem.len() / 2]).unwrap(),
        &|| fs::remove_file(&file).unwrap(),
        &|| fs::create_dir(&file).unwrap(),
    ];
    for breaks in broken {
        breaks();
        client.account().limits().await.unwrap();
    }
    fs::remove_dir(&file).unwrap();
    fs::copy(&wrong, &file).unwrap();
    let error = client.account().limits().await.unwrap_err();
    assert!(error.to_string().contains("cannot trust"), "what can be read again is in force: {error}");
}

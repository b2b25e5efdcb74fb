//! Registries with users, and logins.

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Output, Stdio};

use serde_json::json;

use super::{Client, Registry, clean};

/// A registry with a users file, and that file.
pub fn with_users(text: &str) -> (Registry, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let registry = Registry::start_with(&["--users", file.path().to_str().unwrap()]);
    (registry, file)
}

pub fn address(registry: &Registry) -> SocketAddr {
    registry.url.split("://").nth(1).unwrap().parse().unwrap()
}

/// What `hash-key` makes of its stdin.
pub fn hash_key(input: &str) -> Output {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.arg("hash-key").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    process.wait_with_output().unwrap()
}

pub fn hash_of(key: &str) -> String {
    let output = hash_key(key);
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub fn login(client: &mut Client, form: &str, field: &str, name: &str, secret: &str) -> u16 {
    let body = json!({"auth": {form: {"username": name, field: secret}}});
    client.send("POST", "@/v2.0/tokens", &[], body.to_string()).status
}

pub fn key_login(client: &mut Client, name: &str, key: &str) -> u16 {
    login(client, "RAX-KSKEY:apiKeyCredentials", "apiKey", name, key)
}

//! Copies: of readers that stand still.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::Registry;
use crate::registry_bench::Client;

/// A registry that has more in it than a socket takes.
fn start(folder: &Path) -> Registry {
    let registry = Registry::start_at("127.0.0.1:0", &["--data-dir", folder.to_str().unwrap()]);
    let mut client = Client::new(registry.url.strip_prefix("http://").unwrap().parse::<SocketAddr>().unwrap());
    for number in 0..500 {
        let path = format!("/configuration/key-{number}");
        assert_eq!(client.put(&path, json!({"value": "x".repeat(1_000)})).status, 204);
    }
    registry
}

#[test]
fn a_copy_that_nobody_takes_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = start(folder.path());
    let mut reader = UnixStream::connect(folder.path().join("backup.sock")).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    registry.process.signal(Signal::SIGTERM);
    assert_eq!(registry.process.end().code(), Some(0));
}

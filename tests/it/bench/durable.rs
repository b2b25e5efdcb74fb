//! Registries that keep their data on disk.

use std::net::SocketAddr;
use std::path::Path;

use super::{Client, Registry, Running, clean};

pub fn start(at: &str, folder: &Path) -> Registry {
    Registry::start_at(at, &["--data-dir", folder.to_str().unwrap()])
}

pub fn client(registry: &Registry) -> Client {
    Client::new(registry.url.strip_prefix("http://").unwrap().parse::<SocketAddr>().unwrap())
}

/// Runs the program to its end; returns its exit code and what it said.
pub fn run(arguments: &[&str]) -> (i32, String) {
    let mut process = Running::start(clean(env!("CARGO_BIN_EXE_service-registry")).args(arguments));
    let code = process.end().code().unwrap();
    (code, process.said_to_the_end())
}

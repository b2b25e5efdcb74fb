//! Wrappers in tests: what the registry knows of them, and users and inits to compare them with.

use std::process::Command;

use nix::unistd::geteuid;

use super::{Registry, clean, get, need};

/// The service with this id, when the registry has it.
pub fn service(registry: &Registry, id: &str) -> Option<serde_json::Value> {
    service_at(&registry.url, id)
}

/// The same, of a registry at this address.
pub fn service_at(url: &str, id: &str) -> Option<serde_json::Value> {
    match get(url, &format!("/v1.0/services/{id}")).unwrap() {
        (200, service) => Some(service),
        (404, _) => None,
        (status, body) => panic!("{status} {body}"),
    }
}

/// The events of this type.
pub fn events(registry: &Registry, kind: &str) -> Vec<serde_json::Value> {
    let (status, page) = get(&registry.url, &format!("/v1.0/events?type={kind}")).unwrap();
    assert_eq!(status, 200, "{page}");
    page["values"].as_array().unwrap().clone()
}

/// A command that limits on processes hold for: they do not for root.
pub fn limited(program: &str) -> Command {
    if !geteuid().is_root() {
        return clean(program);
    }
    need("setpriv");
    let mut command = clean("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", program]);
    command
}

/// Programs that do a part of what the wrapper does, with options to do it anywhere.
pub const INITS: [(&str, &[&str]); 3] = [("tini", &["-s", "--"]), ("dumb-init", &["--"]), ("catatonit", &["--"])];

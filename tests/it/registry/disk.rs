//! The data directory: one that is removed during use, its permissions, and what a restore leaves.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::bench::Client;
use crate::bench::durable::{self, run};
use crate::bench::{Registry, eventually};

fn start(folder: &Path) -> (Registry, Client) {
    let registry = durable::start("127.0.0.1:0", folder);
    let client = durable::client(&registry);
    (registry, client)
}

fn set(client: &mut Client, key: &str) -> u16 {
    client.put(&format!("/configuration/{key}"), json!({"value": "x"})).status
}

#[test]
fn missing_data_directory_refuses_writes_and_is_not_created_again() {
    let folder = tempfile::tempdir().unwrap();
    let [data, elsewhere] = ["data", "elsewhere"].map(|name| folder.path().join(name));
    let (mut registry, mut client) = start(&data);
    assert_eq!(set(&mut client, "before"), 204);
    fs::rename(&data, &elsewhere).unwrap();
    assert_eq!((set(&mut client, "lost"), set(&mut client, "lost")), (503, 503));
    registry.process.line("was moved, removed or replaced");
    assert!(!data.exists());
    assert_eq!(client.get("/configuration/lost").status, 404);

    fs::rename(&elsewhere, &data).unwrap();
    eventually("a write that is taken", || (set(&mut client, "after") == 204).then_some(()));
    registry.process.signal(Signal::SIGTERM);
    registry.process.end();
    let (registry, mut client) = start(&data);
    let known = ["before", "lost", "after"].map(|key| client.get(&format!("/configuration/{key}")).status);
    assert_eq!(known, [200, 404, 200]);

    fs::remove_dir_all(&data).unwrap();
    assert_eq!(set(&mut client, "lost"), 503);
    assert!(!data.exists());
    drop(registry);
}

/// It contains keys, and a directory that another user made may be open to all users.
#[test]
fn store_is_private_to_its_user() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let store = folder.path().join("store");
    let mode = || fs::metadata(&store).unwrap().permissions().mode() & 0o777;
    drop(start(folder.path()));
    assert_eq!(mode(), 0o700);
    fs::set_permissions(&store, Permissions::from_mode(0o755)).unwrap();
    drop(start(folder.path()));
    assert_eq!(mode(), 0o700, "one of an earlier version");
}

#[test]
fn failed_restore_leaves_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    drop(start(&folder.path().join("one")));
    assert_eq!(run(&["backup", &path("copy"), "--data-dir", &path("one")]).0, 0);
    fs::create_dir(path("two")).unwrap();
    fs::write(path("two/store.old"), "in the way").unwrap();
    let (code, said) = run(&["restore", &path("copy"), "--data-dir", &path("two")]);
    assert_eq!((code, said.contains("Not a directory")), (1, true), "{said}");
    assert!(!Path::new(&path("two/store.new")).exists(), "{said}");
}

/// A restore was killed when it had put the old store aside, and the new one not yet in its place.
#[test]
fn store_put_aside_by_a_killed_restore_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, mut client) = start(folder.path());
    assert_eq!(set(&mut client, "key"), 204);
    drop(registry);
    fs::rename(folder.path().join("store"), folder.path().join("store.old")).unwrap();
    let (mut registry, mut client) = start(folder.path());
    assert_eq!(client.get("/configuration/key").status, 200);
    assert!(registry.process.said().contains("was restored"), "{}", registry.process.said());
}

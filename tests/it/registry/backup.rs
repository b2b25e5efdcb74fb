//! Backups: readers that stop reading, and files that must not be overwritten.

use std::fs;
use std::io::Read;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::json;

use crate::bench::Registry;
use crate::bench::durable::{self, run};

/// A registry that has more in it than a socket takes.
fn start(folder: &Path) -> Registry {
    let registry = durable::start("127.0.0.1:0", folder);
    let mut client = durable::client(&registry);
    for number in 0..500 {
        let path = format!("/configuration/key-{number}");
        assert_eq!(client.put(&path, json!({"value": "x".repeat(1_000)})).status, 204);
    }
    registry
}

#[test]
fn unread_copy_does_not_delay_the_exit() {
    let folder = tempfile::tempdir().unwrap();
    let mut registry = start(folder.path());
    let mut reader = UnixStream::connect(folder.path().join("backup.sock")).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    registry.process.signal(Signal::SIGTERM);
    assert_eq!(registry.process.end().code(), Some(0));
}

#[test]
fn copy_replaces_only_a_regular_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    drop(start(&folder.path().join("data")));
    mkfifo(Path::new(&path("pipe")), Mode::S_IRWXU).unwrap();
    fs::write(path("target"), "theirs").unwrap();
    std::os::unix::fs::symlink("target", path("link")).unwrap();
    for file in [&path("pipe"), &path("link"), &path("data"), "-", "/dev/null"] {
        let (code, said) = run(&["backup", file, "--data-dir", &path("data")]);
        assert_eq!((code, said.contains(file) && said.contains("give a file")), (1, true), "{said}");
    }
    let (code, said) = run(&["backup", &path("nowhere/copy"), "--data-dir", &path("data")]);
    assert_eq!((code, said.contains("nowhere does not exist; create it (mkdir -p)")), (1, true), "{said}");
    let (code, said) = run(&["backup", &path("copy"), "--data-dir", &path("nowhere")]);
    assert_eq!((code, said.contains("nowhere: there is no registry in it; name")), (1, true), "{said}");
    assert!(fs::symlink_metadata(path("pipe")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(path("link")).unwrap().is_symlink());
    assert_eq!(fs::read_to_string(path("target")).unwrap(), "theirs");
}

/// What another backup is writing at the same time is its own, and one that fails leaves nothing.
#[test]
fn concurrent_copies_to_one_file_are_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    drop(start(&folder.path().join("data")));
    fs::write(path("copy.part"), "another's").unwrap();
    assert_eq!(run(&["backup", &path("copy"), "--data-dir", &path("data")]).0, 0);
    assert_eq!(fs::read_to_string(path("copy.part")).unwrap(), "another's");

    let files = || fs::read_dir(folder.path()).unwrap().count();
    let before = files();
    fs::remove_file(path("data/store/version")).unwrap();
    fs::create_dir(path("data/store/version")).unwrap();
    assert_eq!(run(&["backup", &path("copy"), "--data-dir", &path("data")]).0, 1);
    assert_eq!(files(), before);
}

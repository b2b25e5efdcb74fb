//! The files that the registry's options name: no kind of file at such a path does harm or blocks the registry.

use std::fs::{self};
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::bench::USERS;
use crate::bench::authority::Authority;
use crate::bench::files::{large, library, mode, pipe};
use crate::bench::{Registry, Running, clean, eventually, get, is_root_for};

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let mut process = Running::start(clean(env!("CARGO_BIN_EXE_service-registry")).args(arguments));
    (process.end().code(), process.said_to_the_end())
}

/// Holds that a registry does not start with these options, and says all of `named`.
fn is_refused(options: &[&str], named: &[&str]) {
    let (code, said) = run(&[&["serve", "--listen=127.0.0.1:0"], options].concat());
    assert_eq!(code, Some(1), "{options:?}: {said}");
    assert!(named.iter().all(|part| said.contains(part)), "{options:?}: {said}");
}

#[test]
fn data_directory_writable_for_others_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("data");
    fs::create_dir(&folder).unwrap();
    let data = folder.to_str().unwrap();
    for (bits, said) in
        [(0o777, "(mode 0777)"), (0o1777, "(mode 1777)"), (0o2770, "(mode 2770)"), (0o702, "(mode 0702)")]
    {
        mode(&folder, bits);
        is_refused(&["--data-dir", data], &[data, said, "chmod go-w"]);
    }
    mode(&folder, 0o755);
    if is_root_for("a data directory of another user") {
        chown(&folder, Some(65534), None).unwrap();
        is_refused(&["--data-dir", data], &[data, "belongs to user 65534", "chown 0"]);
        chown(&folder, Some(0), None).unwrap();
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is made in a directory that is refused");
    Registry::start_with(&["--data-dir", data]);
}

#[test]
fn foreign_lock_file_is_refused_and_unchanged() {
    type Make = fn(&Path, &Path);
    let cases: [(Make, &str); 4] = [
        (|lock, target| symlink(target, lock).unwrap(), "lock is a link"),
        (|lock, target| fs::hard_link(target, lock).unwrap(), "lock has another name"),
        (|lock, _| pipe(lock), "lock is a named pipe"),
        (|lock, _| fs::create_dir(lock).unwrap(), "lock is a directory"),
    ];
    for (make, said) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let [data, target] = ["data", "target"].map(|name| scratch.path().join(name));
        fs::create_dir(&data).unwrap();
        fs::write(&target, "theirs").unwrap();
        make(&data.join("lock"), &target);
        is_refused(&["--data-dir", data.to_str().unwrap()], &[data.to_str().unwrap(), said, "remove it"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs", "{said}");
    }
}

#[test]
fn file_in_place_of_the_backup_socket_stays() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("backup.sock"), "theirs").unwrap();
    let mut registry = Registry::start_with(&["--data-dir", scratch.path().to_str().unwrap()]);
    registry.process.line("no backup can be taken while this registry runs");
    assert!(registry.process.said().contains("a regular file is there"));
    assert_eq!(fs::read_to_string(scratch.path().join("backup.sock")).unwrap(), "theirs");
}

#[test]
fn input_must_be_a_regular_file_of_bounded_size() {
    let scratch = tempfile::tempdir().unwrap();
    let named = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    pipe(Path::new(&named("pipe")));
    large(Path::new(&named("large")));
    fs::create_dir(named("folder")).unwrap();
    let authority = Authority::new();
    let [cert, key] = ["server", "server.key"].map(|name| authority.path(name));
    for (file, said) in [
        (named("pipe"), "it is a named pipe; give a regular file"),
        (named("folder"), "it is a directory; give a regular file"),
        ("/dev/zero".to_owned(), "it is a device; give a regular file"),
        (named("large"), "it has more than "),
    ] {
        is_refused(&["--in-memory", "--users", &file], &["--users", &file, said]);
        is_refused(&["--in-memory", "--tls-cert", &file, "--tls-key", &key], &["--tls-cert", &file, said]);
        is_refused(&["--in-memory", "--tls-cert", &cert, "--tls-key", &file], &["--tls-key", &file, said]);
        let tls = ["--in-memory", "--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &file];
        is_refused(&tls, &["--tls-client-ca", &file, said]);
        if !file.ends_with("large") {
            let (code, said_by_restore) = run(&["restore", &file, "--data-dir", &named("restored")]);
            assert_eq!((code, said_by_restore.contains(said)), (Some(1), true), "{said_by_restore}");
        }
    }
}

/// Room is made for what a record says that it has: as much as the file has at most.
#[test]
fn copy_with_a_record_longer_than_the_file_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let copy = scratch.path().join("copy");
    let mut bytes = b"service-registry backup 1\n".to_vec();
    bytes.extend([0x3f, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0xff]);
    fs::write(&copy, bytes).unwrap();
    let mut limited = clean("prlimit");
    limited.args(["--as=1000000000", env!("CARGO_BIN_EXE_service-registry"), "restore"]).arg(&copy).arg("--data-dir");
    let mut process = Running::start(limited.arg(scratch.path().join("restored")));
    assert_eq!(process.end().code(), Some(1));
    let said = process.said_to_the_end();
    assert!(said.contains("a record is longer than the file"), "{said}");
}

#[test]
fn hanging_users_file_delays_no_request() {
    let scratch = tempfile::tempdir().unwrap();
    let library = library(scratch.path(), "hanging.c");
    let (users, switch) = (scratch.path().join("users"), scratch.path().join("users.hangs"));
    fs::write(&users, USERS).unwrap();
    mode(&users, 0o600);
    fs::write(&switch, "").unwrap();
    let start = || {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
        command.args(["serve", "--listen=127.0.0.1:0", "--in-memory", "--users"]).arg(&users);
        Running::start(command.env("LD_PRELOAD", &library).env("HANGS", &users))
    };
    let mut registry = start();
    registry.line("it hangs");
    registry.signal(Signal::SIGTERM);
    assert_eq!(registry.end().code(), Some(0), "a signal is heard before it serves");

    fs::remove_file(&switch).unwrap();
    let mut registry = start();
    let url = registry.line("listening on ").split("listening on ").nth(1).unwrap().to_owned();
    fs::write(&switch, "").unwrap();
    registry.signal(Signal::SIGHUP);
    registry.line("it hangs");
    for _ in 0..20 {
        assert_eq!(get(&url, "/v1.0/limits").unwrap().0, 401, "requests are answered");
    }
    fs::remove_file(&switch).unwrap();
    registry.line("--users: read again");
    registry.signal(Signal::SIGTERM);
    assert_eq!(eventually("the end", || registry.has_ended().then(|| registry.end())).code(), Some(0));
}

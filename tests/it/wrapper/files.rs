//! The files that the wrapper's options name: no kind of file at such a path does harm or blocks the wrapper.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::authority::Authority;
use crate::bench::files::{large, library, mode, pipe};
use crate::bench::steps::scripted_registry;
use crate::bench::wrapper::service;
use crate::bench::{Misbehaving, Reply, is_root_for};
use crate::bench::{Registry, Running, child, eventually, wrapper};

const UP: [&str; 3] = ["sh", "-c", "echo the child is up; exec sleep 1000"];

fn wrapped(registry: &str) -> Command {
    let mut command = wrapper(registry);
    command.args(["--id=web0", "--interval=60"]);
    command
}

/// Holds that these options end the wrapper before anything happens, with words that contain all of `named`.
fn is_refused(options: &[String], named: &[&str]) {
    let mut command = wrapped("http://127.0.0.1:1");
    let mut process = Running::start(command.args(options).args(UP));
    let (code, said) = (process.end().code(), process.said_to_the_end());
    assert_eq!(code, Some(2), "{options:?}: {said}");
    assert!(named.iter().all(|part| said.contains(part)), "{options:?}: {said}");
    assert!(!said.contains("the child is up"), "{options:?}: {said}");
}

#[test]
fn state_directory_writable_for_others_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("state");
    fs::create_dir(&folder).unwrap();
    let option = format!("--state-dir={}", folder.display());
    for (bits, said) in
        [(0o777, "(mode 0777)"), (0o1777, "(mode 1777)"), (0o770, "(mode 0770)"), (0o702, "(mode 0702)")]
    {
        mode(&folder, bits);
        is_refused(std::slice::from_ref(&option), &["--state-dir", folder.to_str().unwrap(), said, "chmod go-w"]);
    }
    mode(&folder, 0o755);
    let link = scratch.path().join("link");
    if is_root_for("a state directory of another user") {
        chown(&folder, Some(65534), None).unwrap();
        is_refused(std::slice::from_ref(&option), &["--state-dir", "belongs to user 65534", "chown 0"]);
        chown(&folder, Some(0), None).unwrap();
        symlink(&folder, &link).unwrap();
        std::os::unix::fs::lchown(&link, Some(65534), None).unwrap();
        is_refused(&[format!("--state-dir={}", link.display())], &["--state-dir", "it is a link", "65534"]);
        fs::remove_file(&link).unwrap();
    }
    is_refused(&["--state-dir=/etc/passwd".to_owned()], &["--state-dir", "/etc/passwd", "name another path"]);
    symlink(&folder, &link).unwrap(); // systemd makes one for DynamicUser=
    for good in [folder.clone(), link, scratch.path().join("not/there")] {
        let registry = Registry::start();
        let mut process = Running::start(wrapped(&registry.url).arg("--state-dir").arg(&good).args(UP));
        process.all(&["registered web0", "the child is up"]);
        assert!(good.join("web0.session").is_file(), "{good:?}");
    }
}

/// What may be at the place of a state file, and what is said about it.
#[test]
fn invalid_state_file_is_reported_once_and_ignored() {
    type Make = fn(&Path);
    let cases: [(Make, &str); 9] = [
        (|file| fs::write(file, [0; 100]).unwrap(), "does not hold the id of a session"),
        (|file| fs::write(file, "seAAAAAAAA\nseBBBBBBBB\n").unwrap(), "does not hold the id of a session"),
        (|file| fs::write(file, b"se\xff\xfe\n").unwrap(), "does not hold the id of a session"),
        (|file| fs::write(file, "../services").unwrap(), "does not hold the id of a session"),
        (large, "more than 256 bytes"),
        (pipe, "web0.session is a named pipe"),
        (|file| symlink("target", file).unwrap(), "web0.session is a link"),
        (|file| fs::create_dir(file).unwrap(), "web0.session is a directory"),
        (|file| drop(UnixListener::bind(file).unwrap()), "web0.session is a socket"),
    ];
    for (make, warning) in cases {
        let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
        let file = scratch.path().join("web0.session");
        fs::write(scratch.path().join("target"), "seAAAAAAAA\n").unwrap();
        make(&file);
        let mut process = Running::start(wrapped(&registry.url).arg("--state-dir").arg(scratch.path()).args(UP));
        process.all(&["registered web0", "the child is up"]);
        let said = process.said();
        assert_eq!(said.matches(warning).count(), 1, "{warning}: {said}");
        assert!(said.contains("a previous session is left to expire"), "{said}");
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")).unwrap();
        assert!(peak.parse::<u64>().unwrap() < 100_000, "{warning}: {peak} kB");
        if !file.is_dir() {
            let id = service(&registry, "web0").unwrap()["session_id"].as_str().unwrap().to_owned();
            assert_eq!(fs::read_to_string(&file).unwrap().trim(), id, "{warning}");
            assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{warning}");
        }
        assert_eq!(fs::read_to_string(scratch.path().join("target")).unwrap(), "seAAAAAAAA\n", "{warning}");
    }
}

#[test]
fn file_in_place_of_a_new_state_file_is_unchanged() {
    let registry = Registry::start();
    let scratch = tempfile::tempdir().unwrap();
    let (state, target) = (scratch.path().join("state"), scratch.path().join("target"));
    let makes: [fn(&Path, &Path); 2] =
        [|target, new| symlink(target, new).unwrap(), |target, new| fs::hard_link(target, new).unwrap()];
    for make in makes {
        fs::create_dir(&state).unwrap();
        fs::write(&target, "theirs").unwrap();
        make(&target, &state.join("web0.new"));
        let mut process = Running::start(wrapped(&registry.url).arg("--state-dir").arg(&state).args(UP));
        process.all(&["registered web0", "the child is up"]);
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert!(
            fs::symlink_metadata(state.join("web0.session")).unwrap().is_file() && !state.join("web0.new").exists()
        );
        process.signal(Signal::SIGTERM);
        process.end();
        fs::remove_dir_all(&state).unwrap();
    }
}

/// A session that the registry refuses to remove does not keep the service out.
#[tokio::test(flavor = "multi_thread")]
async fn previous_session_that_cannot_be_revoked_expires() {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("web0.session"), "seOLD\n").unwrap();
    let registry = scripted_registry(|request, _| {
        request.starts_with("DELETE /v1.0/sessions/seOLD?").then(|| Reply::fault(400, "badRequest", "no"))
    })
    .await;
    let mut process = Running::start(wrapped(&registry.url).arg("--state-dir").arg(scratch.path()).args(UP));
    process.all(&["the previous session seOLD is left to expire", "registered web0", "the child is up"]);
}

#[test]
fn state_file_is_synced_before_its_rename() {
    let (registry, scratch) = (Registry::start(), tempfile::tempdir().unwrap());
    let library = library(scratch.path(), "synced.c");
    let [state, synced] = ["state", "synced"].map(|name| scratch.path().join(name));
    fs::create_dir(&synced).unwrap();
    let mut command = wrapped(&registry.url);
    command.arg("--state-dir").arg(&state).env("LD_PRELOAD", &library).env("SYNCED", &synced).args(UP);
    let mut process = Running::start(&mut command);
    process.all(&["registered web0", "the child is up"]);
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let file = state.join("web0.session");
    let kept = |path: &Path| fs::read_to_string(synced.join(inode(path).to_string())).unwrap_or_default();
    assert_eq!(kept(&file), fs::read_to_string(&file).unwrap(), "the content");
    assert!(kept(&state).contains(&format!("{} web0.session\n", inode(&file))), "the name: {}", kept(&state));
}

#[test]
fn status_socket_replaces_only_an_abandoned_socket() {
    type Make = fn(&Path) -> Option<UnixListener>;
    let cases: [(Make, &str); 5] = [
        (|path| fs::write(path, "theirs").map(|()| None).unwrap(), "a regular file is there"),
        (|path| symlink("other", path).map(|()| None).unwrap(), "a link is there"),
        (|path| fs::create_dir(path).map(|()| None).unwrap(), "a directory is there"),
        (
            |path| {
                pipe(path);
                None
            },
            "a named pipe is there",
        ),
        (|path| Some(UnixListener::bind(path).unwrap()), "another process listens there"),
    ];
    for (make, said) in cases {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("socket");
        let _listener = make(&path);
        let before = fs::symlink_metadata(&path).unwrap();
        is_refused(
            &[format!("--status-socket={}", path.display())],
            &["--status-socket", path.to_str().unwrap(), said],
        );
        let after = fs::symlink_metadata(&path).unwrap();
        assert_eq!(before.file_type(), after.file_type(), "{said}");
        if after.is_file() {
            assert_eq!(fs::read_to_string(&path).unwrap(), "theirs");
        }
    }
}

#[test]
fn status_socket_in_an_unsafe_directory_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("run");
    let socket = folder.join("socket");
    let start = || {
        let mut process = Running::start(wrapped("http://127.0.0.1:1").arg("--status-socket").arg(&socket).args(UP));
        process.line("the child is up");
        eventually("the socket", || UnixStream::connect(&socket).ok());
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        process
    };
    start().signal(Signal::SIGKILL);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "it was made");
    mode(&folder, 0o777);
    let option = format!("--status-socket={}", socket.display());
    is_refused(&[option], &["--status-socket", folder.to_str().unwrap(), "(mode 0777)", "chmod go-w"]);
    let option = format!("--status-socket={}/not/there/socket", folder.display());
    is_refused(&[option], &["--status-socket", "/not does not exist; create it (mkdir -p)"]);
    mode(&folder, 0o1777);
    let mut process = start(); // what the first one left behind is replaced
    fs::remove_file(&socket).unwrap();
    let _other = UnixListener::bind(&socket).unwrap();
    process.signal(Signal::SIGTERM);
    process.end();
    assert!(fs::symlink_metadata(&socket).is_ok_and(|there| there.file_type().is_socket()), "the other one's stays");
}

#[test]
fn input_must_be_a_regular_file_of_bounded_size() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let named = |name: &str| path(name).to_str().unwrap().to_owned();
    pipe(&path("pipe"));
    large(&path("large"));
    fs::create_dir(path("folder")).unwrap();
    let authority = Authority::new();
    let good = authority.path("server");
    let kinds = [
        (named("pipe"), "it is a named pipe; give a regular file"),
        (named("folder"), "it is a directory; give a regular file"),
        ("/dev/zero".to_owned(), "it is a device; give a regular file"),
        (named("large"), "it has more than "),
    ];
    for (file, said) in &kinds {
        let options = [
            ("--api-key-file", vec!["--username=joe".to_owned()]),
            ("--ca-file", vec![]),
            ("--client-cert", vec![format!("--client-key={file}")]),
            ("--client-key", vec![format!("--client-cert={good}")]),
        ];
        for (option, mut more) in options {
            more.push(format!("{option}={file}"));
            is_refused(&more, &[option, file, said]);
        }
    }
}

/// A key on a file system that does not answer for as long as it is told to.
struct Hanging {
    folder: tempfile::TempDir,
    library: PathBuf,
}

impl Hanging {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let library = library(folder.path(), "hanging.c");
        let hanging = Self { library, folder };
        hanging.holds("old-key");
        hanging
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("key")
    }

    fn holds(&self, key: &str) {
        fs::write(self.file(), key).unwrap();
        mode(&self.file(), 0o600);
    }

    fn hangs(&self, hangs: bool) {
        let switch = self.folder.path().join("key.hangs");
        if hangs { fs::write(switch, "").unwrap() } else { fs::remove_file(switch).unwrap() }
    }

    fn start(&self, registry: &Misbehaving, options: &[&str]) -> Running {
        let mut command = wrapper(&registry.url);
        command.args(["--id=web0", "--interval=3", "--username=joe", "--api-key-file"]).arg(self.file());
        command.env("LD_PRELOAD", &self.library).env("HANGS", self.file()).args(options);
        Running::start(command.arg("python3").arg(child("signals.py")))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hanging_key_file_delays_the_start_at_most_two_seconds() {
    let (hanging, registry) = (Hanging::new(), scripted_registry(|_, _| None).await);
    hanging.hangs(true);
    let mut wrapped = hanging.start(&registry, &[]);
    wrapped.line("the file system does not answer; starting the command without it");
    wrapped.ready();
    assert!(registry.lines().is_empty());
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("got 10");
    hanging.hangs(false);
    wrapped.line("registered web0");
    wrapped.signal(Signal::SIGTERM);
    wrapped.line("got 15");
}

#[tokio::test(flavor = "multi_thread")]
async fn signal_is_handled_while_a_key_file_hangs() {
    let (hanging, registry) = (Hanging::new(), scripted_registry(|_, _| None).await);
    hanging.hangs(true);
    let mut wrapped = hanging.start(&registry, &["--abort-on-failure"]);
    wrapped.line("it hangs");
    wrapped.signal(Signal::SIGTERM);
    assert_eq!(wrapped.end().code(), Some(128 + 15));
    let mut wrapped = hanging.start(&registry, &["--abort-on-failure", "--retries=1"]);
    assert_eq!(wrapped.end().code(), Some(100));
    assert!(wrapped.said_to_the_end().contains("the file system does not answer"));
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_continue_while_a_key_file_hangs() {
    let hanging = Hanging::new();
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let refuses = seen.clone();
    let registry = Misbehaving::start(move |request| {
        let is_refused = refuses.load(std::sync::atomic::Ordering::SeqCst);
        match request.line().as_str() {
            "POST /v2.0/tokens" if is_refused && !request.body.contains("new-key") => {
                Reply::fault(401, "unauthorizedError", "no")
            }
            "POST /v2.0/tokens" if is_refused => Reply::login("new-token"),
            "POST /v2.0/tokens" => Reply::login("old-token"),
            "POST /v1.0/7777/sessions" => Reply::created("/sessions/seAAAAAAAA", r#"{"token":"t"}"#),
            "POST /v1.0/7777/services" => Reply::created("/services/web0", ""),
            _ if is_refused && request.header("x-auth-token") == Some("old-token") => {
                Reply::fault(401, "unauthorizedError", "no")
            }
            _ => Reply::ok(&serde_json::json!({"token": "t"})),
        }
    })
    .await;
    let mut wrapped = hanging.start(&registry, &[]);
    wrapped.ready();
    hanging.hangs(true);
    seen.store(true, std::sync::atomic::Ordering::SeqCst);
    wrapped.line("it hangs");
    let before = registry.lines().len();
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("got 10");
    registry.requests(before + 6).await; // heartbeats, refused, and logins with the old key
    wrapped.line("the file system has not answered");
    hanging.holds("new-key");
    hanging.hangs(false);
    wrapped.line("the file holds another one now");
    wrapped.line("heartbeats are accepted again");
}

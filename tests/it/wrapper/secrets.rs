//! The API key in the wrapper: the child, which has the same user, cannot get at it.

use std::fs;
use std::io::Read;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::unistd::geteuid;

use crate::bench::Misbehaving;
use crate::bench::steps::scripted_registry;
use crate::bench::wrapper::limited;
use crate::bench::{Running, child, clean, is_root_for, need};

const KEY: &str = "k3y-that-nobody-may-see";

/// The wrapper, as an ordinary user, in front of this registry.
fn wrapped(registry: &Misbehaving) -> Command {
    let mut command = limited(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.args(["--id=web0", "--registry-url", &registry.url]);
    command
}

/// A file with the key, of that user.
fn key_file(folder: &Path) -> String {
    let file = folder.join("key");
    fs::write(&file, KEY).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    if geteuid().is_root() {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        chown(&file, Some(65534), Some(65534)).unwrap();
    }
    file.to_str().unwrap().to_owned()
}

/// What the child finds out about its parent.
fn spied(command: &mut Command) -> String {
    let backwards: String = KEY.chars().rev().collect(); // its own copy is not to be found
    let mut wrapped = Running::start(command.env("LOOK_FOR", backwards).arg("python3").arg(child("spy.py")));
    wrapped.line("done");
    wrapped.said()
}

#[tokio::test(flavor = "multi_thread")]
async fn child_cannot_read_the_wrappers_key() {
    let scratch = tempfile::tempdir().unwrap();
    let file = key_file(scratch.path());
    let registry = scripted_registry(|_, _| None).await;
    for (arguments, environment) in [
        (vec!["--username=joe"], Some(KEY)),
        (vec!["--username=joe", "--api-key-file", &file], None),
        (vec!["--username=joe", "--api-key", KEY], None),
        (vec!["--username=joe", &format!("--api-key={KEY}")], None),
    ] {
        let mut command = wrapped(&registry);
        command.args(&arguments);
        if let Some(key) = environment {
            command.env("SERVICE_REGISTRY_API_KEY", key);
        }
        let said = spied(&mut command);
        assert!(said.contains("environ refused") && said.contains("memory refused"), "{arguments:?}: {said}");
        assert!(said.contains("cmdline b'") && !said.contains(KEY), "{arguments:?}: {said}");
        assert!(said.contains("--username=joe"), "the other arguments are seen: {said}");
        assert!(said.contains("dumpable 1") && said.contains("own True"), "the child itself is as ever: {said}");
        let logins: Vec<_> =
            registry.requests(1).await.into_iter().filter(|seen| seen.target == "/v2.0/tokens").collect();
        assert!(logins.iter().all(|seen| seen.body.contains(KEY)), "it is the key that is shown: {logins:?}");
    }
}

/// Even a process that may trace all others, as root may, finds no key where it was given.
#[tokio::test(flavor = "multi_thread")]
async fn key_is_overwritten_in_the_wrappers_environment() {
    let registry = scripted_registry(|_, _| None).await;
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.args([
        "--id=web0",
        "--username=joe",
        "--registry-url",
        &registry.url,
        "sh",
        "-c",
        "echo up; exec sleep 1000",
    ]);
    let mut wrapped = Running::start(command.env("SERVICE_REGISTRY_API_KEY", KEY).env("OTHER", "kept"));
    wrapped.line("up");
    if is_root_for("a search of the wrapper's memory for the key") {
        let environment = fs::read_to_string(format!("/proc/{}/environ", wrapped.pid)).unwrap();
        assert!(environment.contains("OTHER=kept") && !environment.contains(KEY), "{environment:?}");
        let maps = fs::read_to_string(format!("/proc/{}/maps", wrapped.pid)).unwrap();
        let found: usize = maps.lines().filter(|line| line.contains(" rw")).map(|line| count_in(&wrapped, line)).sum();
        eprintln!("copies of the key: {found}");
        assert!((1..=3).contains(&found), "{found} copies of the key are in memory");
    }
}

fn count_in(process: &Running, map: &str) -> usize {
    let (start, end) = map.split(' ').next().unwrap().split_once('-').unwrap();
    let [start, end] = [start, end].map(|number| u64::from_str_radix(number, 16).unwrap());
    let mut memory = fs::File::open(format!("/proc/{}/mem", process.pid)).unwrap();
    std::io::Seek::seek(&mut memory, std::io::SeekFrom::Start(start)).unwrap();
    let mut bytes = Vec::new();
    let _ = memory.take(end - start).read_to_end(&mut bytes); // some parts cannot be read
    bytes.windows(KEY.len()).filter(|part| *part == KEY.as_bytes()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrapper_without_secrets_is_dumpable() {
    let registry = scripted_registry(|_, _| None).await;
    let said = spied(wrapped(&registry).env("OTHER", "kept"));
    assert!(said.contains("OTHER=kept") && said.contains("dumpable 1"), "{said}");
}

/// The thread that reads files is not worth a registration.
#[tokio::test(flavor = "multi_thread")]
async fn key_file_is_read_without_a_thread() {
    need("prlimit");
    let scratch = tempfile::tempdir().unwrap();
    let file = key_file(scratch.path());
    let registry = scripted_registry(|_, _| None).await;
    let mut command = limited("prlimit");
    command.args(["--nproc=1", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0", "--username=joe"]);
    command.args(["--api-key-file", &file, "--registry-url", &registry.url, "true"]);
    let mut wrapped = Running::start(&mut command);
    wrapped.line("registered web0");
    assert_eq!(wrapped.end().code(), Some(125), "there is no place for the command either");
    assert!(registry.requests(1).await[0].body.contains(KEY));
}

/// A wrapper that other processes may not inspect must still inspect itself: its descriptors and its descendants.
#[tokio::test(flavor = "multi_thread")]
async fn wrapper_with_a_key_works_for_an_ordinary_user() {
    let registry = scripted_registry(|_, _| None).await;
    let script = "(setsid sleep 1000 & echo \"left $!\"); exec 4>&-; echo closed";
    let mut shell = limited("sh");
    let start = format!("exec 4>&1; exec \"$@\" 3<<end\n{KEY}\nend\n");
    shell.args(["-c", &start, "sh", env!("CARGO_BIN_EXE_service-registry-wrapper"), "--id=web0", "--username=joe"]);
    shell.args(["--api-key-file=/dev/fd/3", "--registry-url", &registry.url, "-v", "sh", "-c", script]);
    let mut wrapped = Running::start(&mut shell);
    let left: i32 = wrapped.line("left ").strip_prefix("left ").unwrap().parse().unwrap();
    assert_eq!(wrapped.end().code(), Some(0));
    assert!(!Path::new(&format!("/proc/{left}")).exists(), "what the child left behind is ended");
    assert!(registry.requests(1).await[0].body.contains(KEY));
}

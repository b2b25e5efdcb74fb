//! `service-registry lock`.

use std::path::Path;

use nix::sys::signal::Signal;

use crate::bench::fleet::{command, run};
use crate::bench::users::with_users;
use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, USERS, clean, executable, files, free_address, need};

/// Says that it holds the lock, until the file that is its argument is there.
const HOLD: &str = "echo held; until [ -e \"$0\" ]; do sleep 0.02; done; exit 5";

fn lock(url: &str, options: &[&str], script: &str, file: &Path) -> Running {
    let mut command = command(url, &[&["lock", "migration", "--interval=3"], options].concat());
    Running::start(command.args(["--", "sh", "-c", script]).arg(file))
}

#[test]
fn one_process_holds_the_lock_at_a_time() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let file = folder.path().join("gate");
    let mut first = lock(&registry.url, &[], HOLD, &file);
    first.line("held");
    assert!(service(&registry, "migration").is_some());
    let mut second = lock(&registry.url, &[], HOLD, &file);
    second.line("migration is held by");
    // What replaces a holder elsewhere does not here.
    let mut thief = command(&registry.url, &["lock", "migration", "--wait=0", "--", "echo", "stolen"]);
    let mut thief = Running::start(thief.env("SERVICE_REGISTRY_REPLACE", "true"));
    assert_eq!(thief.end().code(), Some(100));
    assert!(!thief.said_to_the_end().contains("stolen"), "{}", thief.said());
    assert!(second.said().lines().all(|line| line != "held"), "{}", second.said());
    std::fs::write(&file, "").unwrap();
    assert_eq!(first.end().code(), Some(5));
    second.line("registered migration");
    assert_eq!(second.end().code(), Some(5));
}

#[test]
fn time_limit_of_the_wait_ends_it() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let mut first = lock(&registry.url, &[], HOLD, &folder.path().join("gate"));
    first.line("held");
    for (wait, attempts) in [("--wait=0", "in 1 attempt(s)"), ("--wait=2s", "in 2 attempt(s)")] {
        let (code, stdout, said) = run(&registry.url, &["lock", "migration", wait, "--", "echo", "mine"]);
        assert!(code == Some(100) && stdout.is_empty() && said.contains(attempts), "{code:?} {stdout} {said}");
    }
    let away = format!("http://{}", free_address());
    assert_eq!(run(&away, &["lock", "migration", "--wait=0", "--", "true"]).0, Some(100));
}

#[test]
fn command_is_stopped_when_the_registry_is_lost() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let mut holder = lock(&registry.url, &[], HOLD, &folder.path().join("gate"));
    holder.line("held");
    registry.process.signal(Signal::SIGKILL);
    assert_eq!(holder.end().code(), Some(100), "{}", holder.said());
}

/// Nobody can read a key in the arguments of the process that runs on, and the command has none.
#[test]
fn secrets_are_in_neither_arguments_nor_the_commands_environment() {
    let (registry, users) = with_users(USERS);
    let folder = tempfile::tempdir().unwrap();
    let (gate, key_file) = (folder.path().join("gate"), folder.path().join("key"));
    std::fs::write(&key_file, "joes-key\n").unwrap();
    files::mode(&key_file, 0o600);
    let key_file = format!("--api-key-file={}", key_file.display());
    let script = format!("env; {HOLD}");
    for secret in [&key_file, "--api-key=joes-key"] {
        let mut holder = lock(&registry.url, &["--username=joe", secret], &script, &gate);
        holder.line("held");
        let arguments = std::fs::read(format!("/proc/{}/cmdline", holder.pid)).unwrap();
        let arguments = String::from_utf8(arguments).unwrap();
        assert!(arguments.contains("--on-lost=stop") && !arguments.contains("joes-key"), "{arguments:?}");
        let said = holder.said();
        assert!(!said.contains("joes-key") && !said.contains("API_KEY"), "{said}");
        holder.signal(Signal::SIGTERM);
        holder.end();
    }
    // A configuration file serves as well.
    let config = folder.path().join("client.toml");
    let text = format!("registry-url = {:?}\nusername = \"joe\"\napi-key = \"joes-key\"\n", registry.url);
    std::fs::write(&config, text).unwrap();
    files::mode(&config, 0o600);
    let mut configured = clean(env!("CARGO_BIN_EXE_service-registry"));
    configured.env("SERVICE_REGISTRY_CONFIG", &config).args(["lock", "migration", "--", "true"]);
    assert_eq!(Running::start(&mut configured).end().code(), Some(0));
    // What is typed overrides the other option's variable.
    let mut typed = clean(env!("CARGO_BIN_EXE_service-registry"));
    typed.env("SERVICE_REGISTRY_URL", &registry.url).env("SERVICE_REGISTRY_API_KEY_FILE", "/nonexistent");
    typed.args(["lock", "migration", "--username=joe", "--api-key=joes-key", "--", "true"]);
    assert_eq!(Running::start(&mut typed).end().code(), Some(0));
    drop(users);
}

/// A registry of its own would let every machine have the lock.
#[test]
fn no_registry_is_hosted_for_a_lock() {
    need("unshare");
    let program = env!("CARGO_BIN_EXE_service-registry");
    let mut alone = clean("unshare");
    alone.args(["-rn", "sh", "-c", "exec \"$0\" lock migration --wait=0 -- echo mine", program]);
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(100), "{said}");
    assert!(!said.contains("hosting"), "{said}");
}

#[test]
fn wrapper_is_found_beside_the_program_or_in_path() {
    let (registry, folder) = (Registry::start(), tempfile::tempdir().unwrap());
    let alone = folder.path().join("service-registry");
    std::fs::copy(env!("CARGO_BIN_EXE_service-registry"), &alone).unwrap();
    let other = tempfile::tempdir().unwrap();
    executable(&other.path().join("service-registry-wrapper"), "#!/bin/sh\necho in PATH: \"$@\"\n");
    let start = |path: &str| {
        let mut command = clean(&alone);
        command.env("PATH", path).env("SERVICE_REGISTRY_URL", &registry.url);
        let output = command.args(["lock", "migration", "--", "true", "--id=x"]).output().unwrap();
        let both = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(both).unwrap())
    };
    let (code, said) = start(other.path().to_str().unwrap());
    assert_eq!(code, Some(0), "{said}");
    let options = "--id=migration --interval=30 --abort-on-failure --on-lost=stop --retries=4294967295 -- true --id=x";
    assert!(said.contains(&format!("in PATH: {options}")), "{said}");
    let (code, said) = start("/nonexistent");
    assert!(code == Some(127) && said.contains("service-registry-wrapper"), "{code:?} {said}");
}

#[test]
fn wrong_id_is_a_mistake() {
    let registry = Registry::start();
    let (code, _, said) = run(&registry.url, &["lock", "a/b", "--", "true"]);
    assert!(code == Some(2) && said.contains("\"a/b\" contains '/'"), "{code:?} {said}");
    assert_eq!(run(&registry.url, &["lock", "migration"]).0, Some(2));
}

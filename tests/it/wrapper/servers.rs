//! Servers as they are run in production: gunicorn, which forks workers, reloads and replaces itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;

use crate::bench::wrapper::{events, service};
use crate::bench::{Registry, Running, child, clean, eventually, free_address, get, kill_raw, python_program, wrapper};

/// gunicorn with one worker at this address; its application's files are in the folder.
fn gunicorn(mut parent: Command, address: &str, folder: &Path, options: &[&str]) -> Command {
    parent.arg(python_program("gunicorn")).args(["--bind", address, "--chdir"]);
    parent.arg(child("slow_app.py").parent().unwrap()).args(options).arg("slow_app:application");
    parent.env("FILES", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    parent
}

fn wrapped() -> Command {
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-q", "--id=web0"]);
    command
}

#[test]
fn slow_request_survives_a_reload_as_without_the_wrapper() {
    for parent in [clean("env"), wrapped()] {
        let (scratch, address) = (tempfile::tempdir().unwrap(), free_address());
        let mut running = Running::start(&mut gunicorn(parent, &address, scratch.path(), &[]));
        running.line("Booting worker");
        let asking = thread::spawn(move || get(&format!("http://{address}"), "/slow").unwrap());
        eventually("the request", || scratch.path().join("started").exists().then_some(()));
        running.signal(Signal::SIGHUP);
        running.line("Handling signal: hup");
        running.line("Booting worker");
        fs::write(scratch.path().join("release"), "").unwrap();
        assert_eq!(asking.join().unwrap().0, 200, "{}", running.said());
        running.signal(Signal::SIGTERM);
        running.end();
    }
}

#[test]
fn upgraded_server_stays_registered_and_is_followed() {
    let (scratch, address) = (tempfile::tempdir().unwrap(), free_address());
    let (registry, pid_file) = (Registry::start(), scratch.path().join("pid"));
    let mut parent = wrapper(&registry.url);
    parent.args(["--id=web0", "--interval=3", "--on-registry-down=wait:60", "--pid-file"]).arg(&pid_file);
    let socket = scratch.path().join("status");
    parent.arg("--status-socket").arg(&socket);
    let options = ["--pid", pid_file.to_str().unwrap()];
    let mut running = Running::start(&mut gunicorn(parent, &address, scratch.path(), &options));
    running.line("Booting worker");
    let master = || get(&format!("http://{address}"), "/").ok()?.1.as_i64();
    let old = eventually("an answer", master);
    running.signal(Signal::SIGUSR2);
    running.line("Booting worker");
    kill_raw(old.try_into().unwrap(), 15);
    running.line("follows it");
    let new = eventually("the new master", || master().filter(|pid| *pid != old));
    assert_eq!(fs::read_to_string(&pid_file).unwrap().trim(), new.to_string());
    let asked =
        clean(env!("CARGO_BIN_EXE_service-registry")).arg("status").arg("--socket").arg(&socket).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!(status["child_pid"].as_i64(), Some(new), "{status}");
    running.signal(Signal::SIGHUP);
    running.line("Handling signal: hup");
    assert!(service(&registry, "web0").is_some() && !running.has_ended());
    assert_eq!((events(&registry, "service.join").len(), events(&registry, "services.timeout").len()), (1, 0));
    running.signal(Signal::SIGTERM);
    assert_eq!(running.end().code(), Some(0), "{}", running.said());
    assert!(service(&registry, "web0").is_none());
}

//! Servers as they are run in production: gunicorn, which forks workers, reloads and replaces itself.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use nix::sys::signal::Signal;

use crate::bench::{Running, child, clean, eventually, free_address, get, python_program, wrapper};

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

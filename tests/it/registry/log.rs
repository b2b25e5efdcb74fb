//! Logging must never delay requests: a log that cannot be written, and one that no process
//! reads.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc::O_NONBLOCK;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use crate::bench::Client;
use crate::bench::{Running, clean, eventually};

/// A registry whose stderr is this file.
fn serve(log: &Path, options: &[&str]) -> (Running, Client) {
    let mut command = clean("sh");
    command.args(["-c", "log=$1; shift; exec \"$@\" 2>\"$log\"", "sh"]).arg(log);
    command.arg(env!("CARGO_BIN_EXE_service-registry")).args(["serve", "--in-memory", "--listen", "127.0.0.1:0"]);
    let mut process = Running::start(command.args(options));
    let line = process.line("listening on http://");
    (process, Client::new(line.rsplit('/').next().unwrap().trim_end_matches(['"', '}']).parse().unwrap()))
}

/// A pipe that has a name, and its end to read from.
fn named_pipe(path: &Path) -> File {
    mkfifo(path, Mode::S_IRWXU).unwrap();
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path).unwrap()
}

#[test]
fn unwritable_log_ends_no_request() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("log");
    let reader = named_pipe(&pipe);
    let (mut unread, mut client) = serve(&pipe, &[]);
    drop(reader);
    let full = serve(Path::new("/dev/full"), &[]);
    for (process, client) in [(&mut unread, &mut client), (&mut { full.0 }, &mut { full.1 })] {
        for number in 0..3 {
            client.create("/services", json!({"id": format!("web-{number}"), "heartbeat_timeout": 30}));
        }
        process.signal(Signal::SIGTERM);
        assert_eq!(process.end().code(), Some(0));
    }
}

#[test]
fn unread_log_delays_no_request_and_lost_lines_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("log");
    let mut reader = named_pipe(&pipe);
    let (mut process, mut client) = serve(&pipe, &["--log-format", "json"]);
    let (session, token) = client.create("/sessions", json!({"heartbeat_timeout": 30}));
    for _ in 0..2_000 {
        assert_eq!(client.get("/services").status, 200); // each is a line, and a pipe has room for some hundreds
    }
    assert_eq!(client.post(&format!("/sessions/{session}/heartbeat"), json!({ "token": token })).status, 200);

    let mut said = String::new();
    eventually("the lost lines", || {
        client.get("/services");
        let _ = reader.read_to_string(&mut said); // up to where there is nothing yet
        said.contains("lines were lost").then_some(())
    });
    let mut lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let notes = lines.by_ref().filter(|line| line["message"].as_str().unwrap().contains("lines were lost"));
    assert_eq!(notes.count(), 1, "{said}");

    for _ in 0..2_000 {
        client.get("/services");
    }
    process.signal(Signal::SIGTERM);
    assert_eq!(process.end().code(), Some(0));
}

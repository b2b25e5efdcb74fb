//! The wrapper's log lines: whole, and counted where stderr does not take them.

use std::io::{Read, Write, pipe};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use serde_json::{Value, json};

use crate::bench::{Registry, Running, eventually, kill_raw, request, wrapper};

/// Each line as an object.
fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

#[test]
fn json_line_longer_than_a_pipe_is_written_whole() {
    let registry = Registry::start();
    // The wrapper repeats the metadata of the service that holds the id, and a quote is four characters of its line.
    let metadata: serde_json::Map<_, _> = (0..9).map(|n| (format!("key-{n}"), json!("\"".repeat(200)))).collect();
    let service = json!({"id": "web0", "heartbeat_timeout": 30, "metadata": metadata});
    assert_eq!(request(&registry.url, "POST", "/v1.0/services", &service.to_string()).unwrap().0, 201);
    let mut command = wrapper(&registry.url);
    let mut running = Running::start(command.args(["--log-format=json", "--id=web0", "sleep", "1000"]));
    let line = running.line("web0 is held by");
    assert!(line.len() > 4096, "{} bytes", line.len());
    let message = objects(&line)[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("key-8") && message.ends_with("--replace would take it over"), "{message}");
}

#[test]
fn lines_lost_by_a_full_pipe_are_counted() {
    const ORPHANS: usize = 1_000; // each is a line, and a pipe has room for some hundreds
    let (mut reader, writer) = pipe().unwrap();
    let script = "i=0; while [ $i -lt $0 ]; do i=$((i+1)); sh -c ': &'; done; \
                  echo all >>done; read line; sh -c ': &'; exec sleep 1000";
    let scratch = tempfile::tempdir().unwrap();
    let mut command = wrapper("http://127.0.0.1:1");
    command.args(["-q", "--log-format=json", "--warn-on-reap", "--id=web0", "sh", "-c", script, &ORPHANS.to_string()]);
    command.current_dir(scratch.path()).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(writer);
    let mut wrapped = command.spawn().unwrap();
    drop(command); // it has a copy of the writer
    let pid = wrapped.id().cast_signed();
    eventually("all orphans to have started", || scratch.path().join("done").exists().then_some(()));
    eventually("all orphans to be reaped", || {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        (children.split_whitespace().count() == 1).then_some(())
    });

    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut said = String::new();
    let _ = reader.read_to_string(&mut said); // up to where there is nothing yet
    wrapped.stdin.take().unwrap().write_all(b"one more\n").unwrap();
    let lost = eventually("the count of lost lines", || {
        let _ = reader.read_to_string(&mut said);
        let lines = objects(&said);
        let note = lines.iter().position(|line| line["message"].as_str().unwrap().contains("lines were lost"))?;
        lines.get(note + 1)?;
        Some(lines[note]["message"].as_str().unwrap().split(' ').next().unwrap().parse::<usize>().unwrap())
    });
    let reaped = objects(&said).iter().filter(|line| line["message"].as_str().unwrap().contains("process")).count();
    assert_eq!(reaped + lost, ORPHANS + 1, "{said}");

    kill_raw(pid, 15);
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    let status = wrapped.wait().unwrap();
    assert_eq!(status.code(), Some(143));
}

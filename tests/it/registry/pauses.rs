//! A registry that was stopped: heartbeats that reached its sockets during the pause are in time.

use std::io::Write;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc;
use serde_json::json;

use crate::bench::Client;
use crate::bench::registry::{connect, read_answer};
use crate::bench::{Registry, eventually, kill_raw};

const HOLDERS: usize = 200;

/// The registry stops before the heartbeats come and goes on so long after the deadlines; a reader may ask at once.
fn heartbeats_sent_during_a_pause_count(after: Duration, is_read_at_once: bool) {
    let registry = Registry::start();
    let address: SocketAddr = registry.url.strip_prefix("http://").unwrap().parse().unwrap();
    let pid = registry.process.pid.as_raw();
    let mut client = Client::new(address);
    client.create("/services", json!({"id": "silent", "heartbeat_timeout": 3}));
    let start = Instant::now();
    let mut holders: Vec<_> = (0..HOLDERS)
        .map(|number| {
            let (id, token) =
                client.create("/services", json!({"id": format!("alive-{number}"), "heartbeat_timeout": 3}));
            let body = json!({ "token": token }).to_string();
            let head = format!("POST /v1.0/1/services/{id}/heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Length: ");
            (connect(address), format!("{head}{}\r\n\r\n{body}", body.len()))
        })
        .collect();
    let mut reader = connect(address);
    let stop = start + Duration::from_millis(1_500);
    sleep(stop.saturating_duration_since(Instant::now())); // in the middle of the timeout, which is under test
    kill_raw(pid, libc::SIGSTOP);
    if is_read_at_once {
        reader.get_mut().write_all(b"GET /v1.0/1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    }
    for (connection, request) in &mut holders {
        connection.get_mut().write_all(request.as_bytes()).unwrap();
    }
    assert!(start.elapsed() < Duration::from_secs(3), "they are written in time");
    sleep((start + Duration::from_secs(3) + after).saturating_duration_since(Instant::now())); // the pause under test
    kill_raw(pid, libc::SIGCONT);
    if is_read_at_once {
        assert_eq!(read_answer(&mut reader, false).status, 200);
    }
    let answers = holders.iter_mut().map(|(connection, _)| read_answer(connection, false).status);
    let lost = answers.filter(|status| *status != 200).count();
    assert_eq!(lost, 0, "of {HOLDERS}");
    eventually("the silent one is gone", || (client.get("/services/silent").status == 404).then_some(()));
}

#[test]
fn pause_before_the_expiry_task_looks_expires_no_lease() {
    heartbeats_sent_during_a_pause_count(Duration::from_millis(50), false);
}

#[test]
fn pause_past_the_deadlines_expires_no_lease() {
    heartbeats_sent_during_a_pause_count(Duration::from_millis(900), false);
}

#[test]
fn read_right_after_a_pause_expires_no_lease() {
    for after in [50, 600, 3_000] {
        heartbeats_sent_during_a_pause_count(Duration::from_millis(after), true);
    }
}

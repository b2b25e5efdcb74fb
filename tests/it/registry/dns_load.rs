//! DNS under floods, and with clients that hold connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::json;

use crate::bench::dns::{DnsRegistry, query, register};
use crate::bench::{DEADLINE, eventually};

/// Memory of a process, in kB.
fn memory(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn connect(server: &DnsRegistry) -> TcpStream {
    let stream = TcpStream::connect(server.dns).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn framed(query: &[u8]) -> Vec<u8> {
    [&u16::try_from(query.len()).unwrap().to_be_bytes()[..], query].concat()
}

fn answer(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).unwrap();
    answer
}

#[test]
fn floods_take_bounded_memory() {
    let server = DnsRegistry::start(&[]);
    register(&mut server.client(), "web-1", &["web"], json!({"address": "10.0.0.1"}));
    let (socket, flood) = (server.socket(), server.socket());
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap(); // a full socket may lose the query
    let mut round = |number: u32| {
        for n in 0..5_000 {
            // Names that exist and that do not, of tags, ids and accounts, and what is no query.
            let name = match n % 5 {
                0 => "web.tag.registry".to_owned(),
                1 => format!("t{number}-{n}.tag.registry"),
                2 => format!("i{number}-{n}.id.registry"),
                3 => format!("web.tag.{}.registry", number * 100_000 + n + 2),
                _ => format!("{n}.example.com"),
            };
            let mut bytes = query(&name, 1);
            if n % 7 == 0 {
                bytes.iter_mut().skip(4).take(8).for_each(|count| *count = 0xff);
            }
            let _ = flood.send(&bytes); // a full socket loses it
            if n % 50 == 0 {
                eventually("an answer during the flood", || {
                    socket.send(&query("web.tag.registry", 1)).unwrap();
                    let mut answer = [0; 512];
                    socket.recv(&mut answer).is_ok_and(|_| answer[7] == 1).then_some(())
                });
            }
        }
    };
    round(1); // what is used once, such as the table of sources
    let before = memory(server.registry.process.pid);
    (2..12).for_each(&mut round);
    let after = memory(server.registry.process.pid);
    assert!(after < before + 4_000, "{before} kB before, {after} kB after 50,000 queries");
    assert_eq!(server.client().get("/services/web-1").status, 200);
    let accounts = server.client().send("GET", "@/v1.0/100002/services", &[], "");
    assert_eq!(accounts.json()["values"].as_array().unwrap().len(), 0);
}

#[test]
fn queries_of_a_connection_are_answered_in_order_until_it_is_closed() {
    let server = DnsRegistry::start(&[]);
    register(&mut server.client(), "web-1", &["web"], json!({"address": "10.0.0.1"}));
    let mut stream = connect(&server);
    let mut queries = Vec::new();
    for id in 0..100 {
        let mut query = query("web.tag.registry", 1);
        query[1] = id;
        queries.extend(framed(&query));
    }
    stream.write_all(&queries).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    for id in 0..100 {
        let answer = answer(&mut stream);
        assert_eq!((answer[1], answer[7]), (id, 1));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn quiet_slow_and_malformed_connections_are_closed() {
    let server = DnsRegistry::start(&[]);
    let started = Instant::now();
    let (mut quiet, mut slow, mut long) = (connect(&server), connect(&server), connect(&server));
    slow.write_all(&framed(&query("web.tag.registry", 1))[..9]).unwrap();
    long.write_all(&[0xff, 0xff, 0]).unwrap();
    let closed = |stream: &mut TcpStream| {
        let _ = stream.read(&mut [0]); // its end, or a reset
        started.elapsed()
    };
    let times = [closed(&mut long), closed(&mut slow), closed(&mut quiet)];
    assert!(times[0] < Duration::from_secs(4) && times[1] >= Duration::from_secs(4), "{times:?}");
    assert!(times[2] >= Duration::from_secs(9), "{times:?}");
}

#[test]
fn connections_are_limited_and_the_quietest_makes_room() {
    let server = DnsRegistry::start(&[]);
    let query = framed(&query("registry", 6));
    let mut first = connect(&server);
    first.write_all(&query).unwrap();
    answer(&mut first);
    let mut quiet = connect(&server);
    quiet.write_all(&query).unwrap();
    answer(&mut quiet);
    std::thread::sleep(Duration::from_millis(5)); // the table counts milliseconds
    first.write_all(&query).unwrap();
    answer(&mut first);
    std::thread::sleep(Duration::from_millis(5));
    let mut others: Vec<TcpStream> = (0..255).map(|_| connect(&server)).collect();
    let last = others.last_mut().unwrap();
    last.write_all(&query).unwrap();
    answer(last);
    assert_eq!(quiet.read(&mut [0]).unwrap_or(0), 0, "closed");
    first.write_all(&query).unwrap();
    answer(&mut first);
}

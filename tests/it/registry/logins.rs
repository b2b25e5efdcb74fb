//! Floods of logins: their cost, which logins wait, and which address counts.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use serde_json::json;

use crate::bench::users::{address, hash_of, key_login, with_users};
use crate::bench::{Client, USERS};
use crate::bench::{Registry, Running, clean};

/// Users with hashed keys, of which `number` is `key-number`.
fn users(hashes: &[String]) -> String {
    let user = |(number, hash)| {
        format!("[[user]]\nname = 'user-{number}'\ntenant = {}\napi_key_hash = '{hash}'\n", number as u32 + 1)
    };
    hashes.iter().enumerate().map(user).collect()
}

/// Guessers that go on as fast as they are answered, until they are told to stop.
struct Flood {
    stop: Arc<AtomicBool>,
    guessers: Vec<JoinHandle<()>>,
}

impl Flood {
    /// This many guessers, each with a name of its own choice for each guess.
    fn start(address: SocketAddr, count: usize, name: fn(u64) -> String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let guessers = (0..count).map(|_| {
            let (stop, tell) = (stop.clone(), tell.clone());
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                while !stop.load(Ordering::Relaxed) {
                    let guess = fastrand::u64(..);
                    assert_ne!(key_login(&mut client, &name(guess), &guess.to_string()), 200);
                    let _ = tell.send(()); // the receiver may be gone once there are enough
                }
            })
        });
        let guessers = guessers.collect();
        assert_eq!(told.iter().take(count).count(), count, "there are mistakes enough to wait for");
        Self { stop, guessers }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.guessers.into_iter().for_each(|guesser| guesser.join().unwrap());
    }
}

/// In MB.
fn memory(process: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn wrong_logins_use_the_memory_of_one_hash() {
    let hashes: Vec<String> = (0..3).map(|number| hash_of(&format!("key-{number}"))).collect();
    let (registry, _file) = with_users(&users(&hashes));
    let (process, address) = (registry.process.pid, address(&registry));
    let idle = memory(process);
    let mut most = 0;
    for _ in 0..4 {
        let logins = (0..25_u8).map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::from(address, &format!("127.0.0.{}", number + 2));
                let status = key_login(&mut client, &format!("user-{}", number % 5), &fastrand::u64(..).to_string());
                assert_eq!(status, 401);
            })
        });
        for login in logins.collect::<Vec<_>>() {
            login.join().unwrap();
            most = most.max(memory(process));
        }
    }
    assert!(most <= idle + 60, "{most} MB instead of {idle} MB");
}

/// By guesses at the same name, or at any name.
#[test]
fn known_credentials_log_in_beside_guessers() {
    let (registry, _file) = with_users(&users(&[hash_of("key-0"), hash_of("key-1")]));
    let address = address(&registry);
    assert_eq!(key_login(&mut Client::new(address), "user-0", "key-0"), 200);
    for name in [|_| "user-0".to_owned(), |guess: u64| format!("user-{}", guess % 1_000)] {
        let flood = Flood::start(address, 24, name);
        for _ in 0..8 {
            assert_eq!(key_login(&mut Client::new(address), "user-0", "key-0"), 200);
        }
        flood.end();
    }
}

/// Where the registry has just been started, say. It may be put off, but not for long, and is not told that it is
/// wrong.
#[test]
fn new_right_key_logs_in_beside_guessers() {
    let hashes: Vec<String> = (0..3).map(|number| hash_of(&format!("key-{number}"))).collect();
    let (registry, _file) = with_users(&users(&hashes));
    let address = address(&registry);
    let names: [fn(u64) -> String; 3] =
        [|_| "user-0".to_owned(), |guess| format!("user-{}", guess % 3), |guess| format!("user-{guess}")];
    for (number, name) in names.into_iter().enumerate() {
        let flood = Flood::start(address, 24, name);
        let log_in = || key_login(&mut Client::new(address), &format!("user-{number}"), &format!("key-{number}"));
        let said: Vec<u16> = std::iter::repeat_with(log_in).take_while(|status| *status != 200).take(3).collect();
        assert!(said.iter().all(|status| *status == 503) && said.len() < 3, "{number}: {said:?}");
        flood.end();
    }
}

#[test]
fn deferred_login_gets_a_retry_after() {
    let (registry, _file) = with_users(USERS);
    let address = address(&registry);
    let guessers: Vec<_> = (0..40)
        .map(|number| {
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                (0..4)
                    .map(|guess| {
                        let key = format!("{number}-{guess}");
                        let body = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "joe", "apiKey": key}}});
                        client.send("POST", "@/v2.0/tokens", &[], body.to_string())
                    })
                    .find(|answer| answer.status != 401)
            })
        })
        .collect();
    let answers: Vec<_> = guessers.into_iter().filter_map(|guesser| guesser.join().unwrap()).collect();
    let answer = answers.first().expect("a login is deferred");
    let said = (503, "systemFailureError".to_owned(), "Too many failed logins; try again in a few seconds".to_owned());
    assert_eq!(answer.fault(), said);
    assert_eq!((answer.header("retry-after"), answer.header("connection")), (Some("1"), Some("close")));
}

/// How many of 40 guesses at one name, all at once and each said to be for another client, are put off.
fn put_off(registry: &Registry, from: &'static str) -> usize {
    let address = address(registry);
    let rounds = (0..3).map(|_| {
        let guessers = (0..40_u8).map(move |number| {
            std::thread::spawn(move || {
                let forwarded = format!("198.51.100.1, 203.0.113.{number}, 127.0.0.9");
                let mut client = Client::from(address, from);
                client.headers.push(("X-Forwarded-For".to_owned(), forwarded));
                key_login(&mut client, "joe", &fastrand::u64(..).to_string())
            })
        });
        let guessers: Vec<_> = guessers.collect();
        guessers.into_iter().map(|guesser| guesser.join().unwrap()).filter(|status| *status == 503).count()
    });
    rounds.sum()
}

#[test]
fn forwarded_address_counts_with_a_trusted_proxy() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), USERS).unwrap();
    let users = file.path().to_str().unwrap();
    let registry = Registry::start_with(&["--users", users, "--trusted-proxy=127.0.0.8/30,::1"]);
    assert_eq!(put_off(&registry, "127.0.0.9"), 0, "40 clients");
    assert_ne!(put_off(&registry, "127.0.0.2"), 0, "one client, whatever it says");
    let registry = Registry::start_with(&["--users", users]);
    assert_ne!(put_off(&registry, "127.0.0.9"), 0, "no proxy is trusted");
}

#[test]
fn invalid_trusted_proxy_is_refused() {
    let refused = |option: Option<&str>, variable: Option<&str>| {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
        command.args(["serve", "--in-memory", "--listen", "127.0.0.1:0"]).args(option);
        variable.map(|value| command.env("SERVICE_REGISTRY_TRUSTED_PROXIES", value));
        let mut process = Running::start(&mut command);
        assert_eq!(process.end().code(), Some(2));
        process.said_to_the_end()
    };
    for said in [
        refused(Some("--trusted-proxy=proxy.internal"), None),
        refused(Some("--trusted-proxy=10.0.0.0/33"), None),
        refused(None, Some("10.0.0.1,proxy.internal")),
    ] {
        assert!(said.contains("--trusted-proxy") && said.contains("ADDRESS/BITS, as in 192.0.2.7"), "{said}");
    }
    let said = refused(Some("--trusted-proxy=10.0.0.1/8"), None);
    assert!(said.contains("--trusted-proxy") && said.contains("is it 10.0.0.0/8?"), "{said}");
}

/// More half-sent logins than there may be connections without an admitted request.
#[test]
fn half_sent_logins_keep_no_other_client_out() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let (registry, _file) = with_users(USERS);
    let address = address(&registry);
    let half_sent = || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"POST /v2.0/tokens HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n").unwrap();
        stream
    };
    let mut half_sent: Vec<TcpStream> = (0..1_000).map(|_| half_sent()).collect();
    assert_eq!(key_login(&mut Client::new(address), "joe", "joes-key"), 200);
    let mut first = half_sent.remove(0);
    first.shutdown(Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    assert!(first.read_to_end(&mut answer).is_err() || answer.is_empty(), "the oldest one made room without an answer");
}

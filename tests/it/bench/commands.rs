//! The commands of `service-registry` that ask a registry.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{Registry, child, clean, request};

/// A command, asking this registry, without the configuration files of this machine.
pub fn command(url: &str, arguments: &[&str]) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
    command.args(arguments).env("SERVICE_REGISTRY_CONFIG", "/dev/null").env("SERVICE_REGISTRY_URL", url);
    command
}

/// What a command has done: its status, stdout and stderr.
pub fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The stdout of a command that succeeds.
pub fn output(registry: &Registry, arguments: &[&str]) -> String {
    let (status, stdout, stderr) = run(&mut command(&registry.url, arguments));
    assert_eq!((status, stderr.as_str()), (0, ""), "{arguments:?}: {stdout}");
    stdout
}

/// The same command on a terminal of this width: its status, and what the terminal gets.
pub fn on_terminal(width: usize, command: &Command) -> (i32, String) {
    let mut screen = clean("python3");
    screen.arg(child("screen.py")).arg(width.to_string()).arg(command.get_program()).args(command.get_args());
    let set = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let (status, shown, stderr) = run(screen.env("TERM", "xterm").envs(set));
    assert_eq!(stderr, "");
    (status, shown)
}

/// Makes a service with heartbeats of its own, and two minutes for them.
pub fn register(url: &str, id: &str, tags: &[&str], metadata: &Value) {
    let body = json!({"id": id, "heartbeat_timeout": 120, "tags": tags, "metadata": metadata});
    assert_eq!(request(url, "POST", "/v1.0/services", &body.to_string()).unwrap().0, 201, "{id}");
}

/// Makes many values of configuration on one connection.
pub fn set_values(url: &str, ids: impl Iterator<Item = String>) {
    let address = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address).unwrap();
    let (mut requests, mut count) = (String::new(), 0);
    for id in ids {
        count += 1;
        requests += &format!(
            "PUT /v1.0/configuration/{id} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: 13\r\n\r\n{{\"value\":\"x\"}}"
        );
    }
    let mut writer = connection.try_clone().unwrap();
    let writing = std::thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    let (mut answers, mut part) = (String::new(), [0; 65_536]);
    while answers.matches("HTTP/1.1 204").count() < count {
        let length = connection.read(&mut part).unwrap();
        assert!(length > 0, "{answers}");
        answers += std::str::from_utf8(&part[..length]).unwrap();
    }
    writing.join().unwrap();
}

//! `--register-when`: the session is opened at once, and the service waits until the child is ready.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, child, eventually, free_address, free_port, kill_raw, need, wrapper};

/// A wrapper with these options around a program that listens here when it gets SIGUSR1.
fn listening(registry: &str, address: &str, options: &[&str]) -> Command {
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut command = wrapper(registry);
    command.args(["--id=web0", "--interval=5", "--register-when=listening"]).args(options);
    command.arg("python3").arg(child("listening.py")).args([host.trim_matches(['[', ']']), port]);
    command
}

fn port_of(address: &str) -> String {
    format!("--metadata=port={}", address.rsplit(':').next().unwrap())
}

/// The only session of the registry.
fn session(registry: &Registry) -> String {
    let (_, list) = crate::bench::get(&registry.url, "/v1.0/sessions").unwrap();
    let sessions = list["values"].as_array().unwrap();
    assert_eq!(sessions.len(), 1, "{list}");
    sessions[0]["id"].as_str().unwrap().to_owned()
}

#[test]
fn service_is_registered_while_the_command_listens() {
    let (registry, address) = (Registry::start(), free_port("127.0.0.1"));
    let mut wrapped = Running::start(&mut listening(&registry.url, &address, &[&port_of(&address)]));
    wrapped.line("web0 is not registered yet");
    wrapped.ready();
    let opened = session(&registry);
    assert!(service(&registry, "web0").is_none(), "registered before it listens");
    for _ in 0..2 {
        wrapped.signal(Signal::SIGUSR1);
        wrapped.all(&["listening ", &format!("listens on {address} (loopback) only"), "registered web0"]);
        assert_eq!(service(&registry, "web0").unwrap()["session_id"], *opened);
        wrapped.signal(Signal::SIGUSR2);
        wrapped.line("closed");
        wrapped.line("web0 is out of the registry: not ready: the command does not listen on TCP port");
        assert!(service(&registry, "web0").is_none());
        assert_eq!(session(&registry), opened, "the session stays");
    }
    wrapped.signal(Signal::SIGTERM);
    assert_eq!(wrapped.end().code(), Some(0));
}

#[test]
fn listener_of_any_family_and_descendant_counts() {
    for (address, said) in [
        ("0.0.0.0:0", " (all IPv4 addresses)"),
        ("[::]:0", " (all addresses)"),
        ("[::1]:0", " (loopback) only: programs on other machines cannot reach it"),
    ] {
        let registry = Registry::start();
        let mut command = wrapper(&registry.url);
        command.args([
            "--id=web0",
            "--register-when=listening",
            "sh",
            "-c",
            "\"$@\" & wait",
            "sh",
            "setsid",
            "python3",
        ]);
        let (host, port) = address.rsplit_once(':').unwrap();
        command.arg(child("listening.py")).args([host.trim_matches(['[', ']']), port]);
        let mut wrapped = Running::start(&mut command);
        let program = wrapped.ready();
        kill_raw(program, Signal::SIGUSR1 as i32);
        let port = wrapped.line("listening ").replace("listening ", "");
        let address = address.trim_end_matches('0').to_owned() + &port;
        wrapped.all(&[&format!("listens on {address}{said}"), "registered web0"]);
        assert!(service(&registry, "web0").is_some());
    }
}

#[test]
fn other_listeners_do_not_count() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = foreign.local_addr().unwrap().port();
    for (address, named) in [(format!("127.0.0.2:{port}"), port), (free_port("127.0.0.3"), port)] {
        let registry = Registry::start();
        let is_named_one = address.ends_with(&format!(":{port}"));
        let options = [&format!("--metadata=port={named}"), "--ready-timeout=3"];
        let mut wrapped = Running::start(&mut listening(&registry.url, &address, &options));
        wrapped.ready();
        if !is_named_one {
            wrapped.signal(Signal::SIGUSR1); // a port, but not the one that clients would be told
            wrapped.line("listening ");
        }
        wrapped.line(&format!("the command does not listen on TCP port {port}; the service stays out of the registry"));
        assert!(service(&registry, "web0").is_none());
        if is_named_one {
            wrapped.signal(Signal::SIGUSR1);
            wrapped.all(&["listening ", "registered web0"]);
        }
    }
}

#[test]
fn listener_that_the_command_was_given_counts() {
    let registry = Registry::start();
    let given = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--register-when=listening", "sleep", "1000"]);
    let mut wrapped = Running::start_with_stdin(command.stdin(OwnedFd::from(given)));
    wrapped.line("registered web0");
}

#[test]
fn listener_in_a_network_of_its_own_counts() {
    need("unshare");
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args([
        "--id=web0",
        "--register-when=listening",
        "--metadata=port=80",
        "unshare",
        "--map-root-user",
        "--net",
    ]);
    command.arg("python3").arg(child("listening.py")).args(["0.0.0.0", "80"]);
    let mut wrapped = Running::start(&mut command);
    wrapped.ready();
    wrapped.signal(Signal::SIGUSR1);
    wrapped.all(&["listening 80", "listens on 0.0.0.0:80 (all IPv4 addresses)", "registered web0"]);
}

#[test]
fn command_that_sends_ready_is_registered_without_systemd() {
    need("python3");
    let registry = Registry::start();
    let script = "
import os, signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print('ready', os.getpid(), flush=True)
name = os.environ['NOTIFY_SOCKET']
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect('\\0' + name[1:] if name[0] == '@' else name)
s.send(b'STATUS=loading')
signal.sigwait([signal.SIGUSR1])
s.send(b'STATUS=up\\nREADY=1')
signal.pause()
";
    let mut command = wrapper(&registry.url);
    let mut wrapped = Running::start(command.args([
        "--id=web0",
        "--register-when=ready",
        "--ready-timeout=0.5",
        "python3",
        "-c",
        script,
    ]));
    wrapped.all(&["ready ", "not ready: the command has not sent READY=1; the service stays out of the registry"]);
    assert!(service(&registry, "web0").is_none());
    wrapped.signal(Signal::SIGUSR1);
    wrapped.all(&["the command is ready (READY=1)", "registered web0"]);
    assert!(service(&registry, "web0").is_some());
}

/// As in a virtual machine whose host wants to know.
#[test]
fn notify_socket_that_cannot_be_read_is_reported() {
    let mut command = wrapper("http://127.0.0.1:1");
    command.env("NOTIFY_SOCKET", "vsock:2:1234").args(["--id=web0", "--register-when=ready", "sleep", "1000"]);
    Running::start(&mut command).line("READY=1 of the command does not go through the wrapper");
}

#[test]
fn line_on_the_ready_descriptor_registers_the_service() {
    need("python3");
    let registry = Registry::start();
    let script = "
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print('ready', os.getpid(), flush=True)
os.write(int(sys.argv[1]), b'half a line')
signal.sigwait([signal.SIGUSR1])
os.write(int(sys.argv[1]), b', and the rest\\n')
signal.pause()
";
    // Among these are the numbers of the wrapper's own descriptors.
    for number in 3..24 {
        let mut command = wrapper(&registry.url);
        command.args(["--replace", "--id=web0", "--register-when=ready", &format!("--ready-fd={number}")]);
        let mut wrapped = Running::start(command.args(["python3", "-c", script, &number.to_string()]));
        wrapped.ready();
        assert!(service(&registry, "web0").is_none(), "{number}: {}", wrapped.said());
        wrapped.signal(Signal::SIGUSR1);
        wrapped.all(&[&format!("the command is ready (a line on descriptor {number})"), "registered web0"]);
        wrapped.signal(Signal::SIGTERM);
        wrapped.end();
    }
}

#[test]
fn descriptor_that_is_closed_without_a_line_is_reported() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--register-when=ready", "--ready-fd=4", "sh", "-c", "exec 4>&-; exec sleep 1000"]);
    let mut wrapped = Running::start(&mut command);
    wrapped.line("--ready-fd=4: the command has closed it without writing a line");
    assert!(service(&registry, "web0").is_none());
}

#[test]
fn command_that_cannot_be_executed_is_reported_with_a_ready_descriptor() {
    let scratch = tempfile::tempdir().unwrap();
    let script = scratch.path().join("script");
    crate::bench::executable(&script, "#!/no/such/interpreter\n");
    for number in 3..24 {
        let mut command = wrapper("http://127.0.0.1:1");
        command.args(["--id=web0", "--register-when=ready", &format!("--ready-fd={number}")]);
        let mut wrapped = Running::start(command.arg(&script));
        assert_eq!(wrapped.end().code(), Some(126), "{number}: {}", wrapped.said_to_the_end());
    }
}

#[test]
fn command_that_is_not_ready_in_time_is_stopped_on_request() {
    let registry = Registry::start();
    let mut command = listening(&registry.url, "127.0.0.1:0", &["--ready-timeout=1", "--on-not-ready=stop"]);
    let mut wrapped = Running::start(&mut command);
    assert_eq!(wrapped.end().code(), Some(100));
    let said = wrapped.said_to_the_end();
    assert!(said.contains("web0: the command was stopped: after --ready-timeout, 1s: not ready"), "{said}");
}

#[test]
fn child_starts_when_its_session_is_open() {
    let down = format!("http://{}", free_address());
    let mut command = listening(&down, "127.0.0.1:0", &["--abort-on-failure", "--retries=1"]);
    let mut wrapped = Running::start(&mut command);
    assert_eq!(wrapped.end().code(), Some(100));
    let said = wrapped.said_to_the_end();
    assert!(!said.contains("ready "), "{said}");
    for option in ["--abort-on-failure", "--on-registry-down=wait:60", "--on-registry-down=start"] {
        let registry = Registry::start();
        let mut wrapped = Running::start(&mut listening(&registry.url, "127.0.0.1:0", &[option]));
        wrapped.line("web0 is not registered yet");
        wrapped.ready();
        wrapped.signal(Signal::SIGUSR1);
        wrapped.line("registered web0");
    }
}

#[test]
fn service_is_registered_when_registry_and_command_are_there() {
    let address = free_address();
    let mut wrapped = Running::start(&mut listening(&format!("http://{address}"), "127.0.0.1:0", &[]));
    wrapped.ready();
    wrapped.signal(Signal::SIGUSR1);
    wrapped.line("the command listens on");
    let registry = Registry::start_at(&address, &[]);
    wrapped.line("registered web0");
    eventually("the service", || service(&registry, "web0"));
}

#[test]
fn command_may_write_on_after_its_line() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--register-when=ready", "--ready-fd=3", "sh", "-c"]);
    let script = "echo ready >&3; read line <\"$0\"; head -c 300000 /dev/zero >&3; echo again >&3; exit 8";
    let scratch = tempfile::tempdir().unwrap();
    let pipe = scratch.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut wrapped = Running::start(command.arg(script).arg(&pipe));
    wrapped.line("registered web0");
    std::fs::write(&pipe, "go\n").unwrap();
    assert_eq!(wrapped.end().code(), Some(8), "{}", wrapped.said());
}

//! Placeholders in the values of options: the host, its addresses, the environment.

use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::bench::wrapper::service;
use crate::bench::{Registry, Running, clean, eventually, get, need, wrapper};

/// Runs a script in a network of its own that has two interfaces.
fn in_network(script: &str) -> Command {
    ["unshare", "ip", "curl"].into_iter().for_each(need);
    let network = "ip link set lo up
        ip link add one type veth peer name two
        ip address add 10.9.8.7/24 dev one
        ip address add 2001:db8:1::7/64 dev one nodad
        ip address add 172.16.0.5/16 dev two
        ip link set one up
        ip link set two up\n";
    let mut command = clean("unshare");
    command.args(["--map-root-user", "--net", "sh", "-e", "-c", &format!("{network}{script}")]);
    command.env("WRAPPER", env!("CARGO_BIN_EXE_service-registry-wrapper")).env("SLOT", "blue");
    command
}

#[test]
fn addresses_are_those_of_the_route_of_an_interface_and_of_a_network() {
    let mut command = in_network(
        "ip route add default dev one; ip -6 route add default dev one
         exec \"$WRAPPER\" --id='web-{env:SLOT}' --tags='{env:SLOT},{{ip}' \
             --metadata='ip={ip},two={ip:two},net={ip:172.16.0.0/12},six={ip6},pid={pid},uuid={uuid},other={x}' \
             curl -sf http://127.0.0.1:7117/v1.0/services/web-blue",
    );
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let service: Value = serde_json::from_slice(&output.stdout).unwrap();
    let metadata = &service["metadata"];
    let values = ["ip", "two", "net", "six", "other"].map(|key| metadata[key].as_str().unwrap());
    assert_eq!(values, ["10.9.8.7", "172.16.0.5", "172.16.0.5", "2001:db8:1::7", "{x}"], "{metadata}");
    assert_eq!(service["tags"], serde_json::json!(["blue", "{ip}"]));
    assert_eq!(metadata["uuid"].as_str().unwrap().len(), 36);
    assert!(metadata["pid"].as_str().unwrap().parse::<u32>().is_ok());
}

#[test]
fn missing_address_is_an_error_that_says_where_the_wrapper_looked() {
    for (value, parts) in [
        ("{ip}", &["--metadata: {ip}", "no default route for IPv4", "{ip:eth0}"][..]),
        ("{ip:none0}", &["{ip:none0}", "none0 has no IPv4 address", "10.9.8.7 (one)", "172.16.0.5 (two)"]),
        ("{ip:192.168.0.0/16}", &["no interface has an IPv4 address in 192.168.0.0/16", "10.9.8.7 (one)"]),
        ("{env:NONE}", &["{env:NONE}", "no variable NONE"]),
    ] {
        let script = format!("exec \"$WRAPPER\" --id=web0 --metadata='a={value}' echo started");
        let output = in_network(&script).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{value}: {said}");
        assert!(parts.iter().all(|part| said.contains(part)) && output.stdout.is_empty(), "{value}: {said}");
    }
}

#[test]
fn session_tells_its_host_and_process() {
    let registry = Registry::start();
    let start = |options: &[&str]| {
        let mut command = wrapper(&registry.url);
        Running::start(command.arg("--id=web0").args(options).args(["sh", "-c", "echo up; exec sleep 1000"]))
    };
    let mut first = start(&["--session-metadata=version=7"]);
    first.all(&["registered web0", "up"]);
    let session = service(&registry, "web0").unwrap()["session_id"].as_str().unwrap().to_owned();
    let (_, session) = get(&registry.url, &format!("/v1.0/sessions/{session}")).unwrap();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    let metadata = serde_json::json!({"host": host, "pid": first.pid.to_string(), "command": "sh", "version": "7"});
    assert_eq!(session["metadata"], metadata);
    let line = start(&[]).line("web0 is held by session");
    assert!(line.contains(&format!("(host {host:?}, pid \"{}\")", first.pid)), "{line}");
}

#[test]
fn changed_address_is_registered_within_an_interval() {
    let script = "ip route add default dev one
        exec \"$WRAPPER\" --id=web0 --interval=3 --metadata='ip={ip}' sh -c '
            ask() { curl -sf http://127.0.0.1:7117/v1.0/services/web0 | grep -q \"$1\"; }
            until ask 10.9.8.7; do :; done
            ip address add 10.9.9.9/24 dev one
            ip address del 10.9.8.7/24 dev one
            ip route replace default dev one
            until ask 10.9.9.9; do :; done
            echo followed
            ip route del default
            exec sleep 1000'";
    let mut running = Running::start(&mut in_network(script));
    running.line("followed");
    running.line("the description of the service stays as it is: metadata: {ip}: this machine has no default route");
}

#[test]
fn ports_are_those_that_the_command_listens_on() {
    let registry = Registry::start();
    let mut command = wrapper(&registry.url);
    command.args(["--id=web0", "--metadata=port={port},second={port:2}", "--tags=p{port}", "python3", "-c"]);
    let listen = "
import signal, socket
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
sockets = [socket.create_server(('127.0.0.1', 0))]
print('first', flush=True)
signal.sigwait({signal.SIGUSR1})
sockets.append(socket.create_server(('127.0.0.1', 0)))
print('ports', *sorted(s.getsockname()[1] for s in sockets), flush=True)
signal.sigwait({signal.SIGUSR1})
sockets.append(socket.create_server(('127.0.0.1', 0)))
sockets.pop(0).close()
print('moved to', *sorted(s.getsockname()[1] for s in sockets), flush=True)
signal.sigwait({signal.SIGUSR1})";
    let mut running = Running::start(command.arg(listen));
    running.all(&["is not registered yet", "first"]);
    assert!(service(&registry, "web0").is_none(), "the second port is not known");
    running.signal(Signal::SIGUSR1);
    let line = running.line("ports ");
    running.line("registered web0");
    let ports: Vec<&str> = line.split(' ').skip(1).map(str::trim).collect();
    let found = service(&registry, "web0").unwrap();
    assert_eq!(found["metadata"], serde_json::json!({"port": ports[0], "second": ports[1]}));
    assert_eq!(found["tags"], serde_json::json!([format!("p{}", ports[0])]));
    running.signal(Signal::SIGUSR1);
    let line = running.line("moved to ");
    let moved: Vec<&str> = line.split(' ').skip(2).map(str::trim).collect();
    assert_ne!(moved, ports);
    let expected = serde_json::json!({"port": moved[0], "second": moved[1]});
    eventually("the new ports", || (service(&registry, "web0")?["metadata"] == expected).then_some(()));
}

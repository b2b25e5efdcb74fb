//! A registry that answers DNS, and `dig`.

use std::net::{SocketAddr, UdpSocket};

use serde_json::{Value, json};

use super::users::address;
use super::{Client, DEADLINE, Registry, clean, need};

/// A registry that answers DNS on a free port of loopback.
pub struct DnsRegistry {
    pub registry: Registry,
    pub dns: SocketAddr,
}

/// What `dig` printed.
#[derive(Debug)]
pub struct Dug {
    pub text: String,
    /// NOERROR, NXDOMAIN, ...
    pub status: String,
    /// qr, aa, tc, ...
    pub flags: Vec<String>,
    /// Of each section the records, as name, ttl, class, type and data, with single blanks.
    pub answers: Vec<String>,
    pub authorities: Vec<String>,
    pub additionals: Vec<String>,
}

impl DnsRegistry {
    pub fn start(options: &[&str]) -> Self {
        let mut registry = Registry::start_with(&[&["--dns", "127.0.0.1:0"], options].concat());
        let dns = address_in(&registry.process.said()).unwrap();
        Self { registry, dns }
    }

    pub fn client(&self) -> Client {
        Client::new(address(&self.registry))
    }

    /// Asks with `dig`.
    pub fn dig(&self, arguments: &[&str]) -> Dug {
        dig(self.dns, arguments)
    }

    /// A socket that sends queries to it.
    pub fn socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(self.dns).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket
    }

    /// Asks for addresses; returns the status and the number of answers.
    pub fn ask(&self, socket: &UdpSocket, name: &str) -> (u8, u16) {
        self.ask_for(socket, name, 1)
    }

    /// The same for a type of record.
    pub fn ask_for(&self, socket: &UdpSocket, name: &str, of_type: u16) -> (u8, u16) {
        socket.send(&query(name, of_type)).unwrap();
        let mut answer = [0; 2048];
        let length = socket.recv(&mut answer).unwrap();
        assert!(length >= 12, "{length} bytes");
        (answer[3] & 15, u16::from_be_bytes([answer[6], answer[7]]))
    }
}

/// Asks with `dig`, without retries.
pub fn dig(server: SocketAddr, arguments: &[&str]) -> Dug {
    need("dig");
    let (address, port) = (format!("@{}", server.ip()), server.port().to_string());
    let mut command = clean("dig");
    command.args(["-r", &address, "-p", &port, "+tries=1", "+time=10", "+nocookie"]).args(arguments);
    let output = command.output().unwrap();
    Dug::parse(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Where a registry says that it answers DNS, once it does.
pub fn address_in(said: &str) -> Option<SocketAddr> {
    let line = said.lines().find(|line| line.contains("answering DNS"))?;
    line.rsplit(' ').next().unwrap().parse().ok()
}

/// Registers a service with heartbeats of its own.
pub fn register(client: &mut Client, id: &str, tags: &[&str], metadata: Value) {
    let body = json!({"id": id, "tags": tags, "metadata": metadata, "heartbeat_timeout": 120});
    let answer = client.post("/services", body);
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// A query without EDNS.
pub fn query(name: &str, of_type: u16) -> Vec<u8> {
    let mut bytes = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend([of_type.to_be_bytes(), [0, 1]].concat());
    bytes
}

impl Dug {
    fn parse(text: String) -> Self {
        let after = |start: &str, end: char| {
            let rest = text.split(start).nth(1).unwrap_or_default();
            rest.split(end).next().unwrap_or_default().to_owned()
        };
        let section = |name: &str| {
            let lines = text.lines().skip_while(|line| *line != format!(";; {name} SECTION:")).skip(1);
            let lines = lines.take_while(|line| !line.is_empty() && !line.starts_with(";;"));
            lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
        };
        let flags = after(";; flags: ", ';').split(' ').map(str::to_owned).collect();
        let [answers, authorities, additionals] = ["ANSWER", "AUTHORITY", "ADDITIONAL"].map(section);
        Self { status: after("status: ", ','), flags, answers, authorities, additionals, text }
    }

    pub fn has_flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|known| known == flag)
    }

    /// The records of a section in order of their text.
    pub fn sorted(records: &[String]) -> Vec<&str> {
        let mut sorted: Vec<&str> = records.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        sorted
    }
}

//! Debian's etcd: one member or three, on loopback or in network namespaces, each of which can be killed, stopped and
//! started again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::authority::Authority;
use super::network::Place;
use super::{Running, eventually, free_port};

/// Whether etcd is installed. If not, says what is left out.
pub fn is_installed_for(what: &str) -> bool {
    let is_installed = std::path::Path::new("/usr/bin/etcd").exists();
    if !is_installed {
        let _ = writeln!(std::io::stderr(), "left out, etcd is not installed (apt-get install etcd-server): {what}");
    }
    is_installed
}

/// A cluster of etcd's, with its data in a folder that goes with it.
pub struct Etcd {
    pub members: Vec<Member>,
    /// Beyond loopback: who signed the members' certificates, and those of their clients.
    pub authority: Option<Authority>,
    _folder: tempfile::TempDir,
}

pub struct Member {
    place: Place,
    pub url: String,
    metrics: SocketAddr,
    arguments: Vec<String>,
    pub running: Option<Running>,
}

impl Etcd {
    /// As many members as places, and waits until they have a leader.
    pub fn start(places: &[Place], quota: Option<u64>) -> Self {
        // On disk, each commit would wait for those of all other tests.
        let folder = tempfile::Builder::new().prefix("etcd").tempdir_in(memory()).unwrap();
        let authority = places[0].is_remote().then(Authority::new);
        let urls: Vec<Urls> = places.iter().map(Urls::new).collect();
        let peers: Vec<String> = urls.iter().enumerate().map(|(at, urls)| format!("m{at}={}", urls.peer)).collect();
        let member = |(at, (place, urls)): (usize, (&Place, &Urls))| {
            let data = folder.path().join(format!("m{at}"));
            let mut arguments = urls.arguments(at, &peers.join(","), data.to_str().unwrap());
            arguments.extend(quota.map(|quota| format!("--quota-backend-bytes={quota}")));
            if let Some(authority) = &authority {
                let name = format!("member{at}");
                authority.sign(&name, &place.address);
                arguments.push(format!("--cert-file={}", authority.path(&name)));
                arguments.push(format!("--key-file={}", authority.path(&format!("{name}.key"))));
                arguments.push(format!("--trusted-ca-file={}", authority.path("ca")));
                arguments.push("--client-cert-auth".into());
            }
            let metrics = urls.metrics.strip_prefix("http://").unwrap().parse().unwrap();
            Member { place: place.clone(), url: urls.client.clone(), metrics, arguments, running: None }
        };
        let members: Vec<Member> = places.iter().zip(&urls).enumerate().map(member).collect();
        if let Some(authority) = &authority {
            authority.sign("client", "service-registry");
        }
        let mut etcd = Self { members, authority, _folder: folder };
        etcd.members.iter_mut().for_each(Member::start);
        eventually("a leader of etcd", || etcd.leader());
        etcd
    }

    pub fn urls(&self) -> String {
        self.members.iter().map(|member| member.url.as_str()).collect::<Vec<_>>().join(",")
    }

    /// The options of a program that uses it.
    pub fn options(&self) -> Vec<String> {
        let mut options = vec![format!("--etcd={}", self.urls())];
        if let Some(authority) = &self.authority {
            let path = |name| authority.path(name);
            options.push(format!("--etcd-ca-file={}", path("ca")));
            options.push(format!("--etcd-cert={}", path("client")));
            options.push(format!("--etcd-key={}", path("client.key")));
        }
        options
    }

    /// The member that leads, if one says so.
    pub fn leader(&self) -> Option<usize> {
        self.members.iter().position(|member| {
            let metrics = text(member.metrics, "/metrics");
            metrics.is_some_and(|text| text.contains("\netcd_server_is_leader 1\n"))
        })
    }

    /// Writes until its quota is used up.
    pub fn fill(&self) {
        let value = "A".repeat(700_000);
        for number in 0..1000 {
            let body = format!(r#"{{"key":"{}","value":"{value}"}}"#, base64_of_filler(number));
            let answer = self.call("put", &body);
            if answer.contains("space exceeded") || answer.contains("NOSPACE") {
                return;
            }
            assert!(answer.contains("revision"), "{answer}");
        }
        panic!("etcd does not become full");
    }

    /// Takes away what filled it.
    pub fn empty(&self) {
        let body = r#"{"key":"ZmlsbA==","range_end":"ZmlsbQ=="}"#; // from `fill` to `film`
        eventually("an answer of etcd", || self.call("deleterange", body).contains("revision").then_some(()));
    }

    /// A call of its JSON gateway, at the first member that answers.
    fn call(&self, name: &str, body: &str) -> String {
        let mut answer = String::new();
        for member in self.members.iter().filter(|member| member.running.is_some()) {
            let mut command = Command::new("curl");
            command.args(["-s", "-m", "5", "--data-binary", "@-", &format!("{}/v3/kv/{name}", member.url)]);
            if let Some(authority) = &self.authority {
                let path = |name| authority.path(name);
                command.args(["--cacert", &path("ca"), "--cert", &path("client"), "--key", &path("client.key")]);
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), body).unwrap();
            command.stdin(file.reopen().unwrap());
            answer = String::from_utf8(command.output().unwrap().stdout).unwrap();
            if !answer.is_empty() {
                break;
            }
        }
        answer
    }
}

/// A folder in memory, if there is one.
pub fn memory() -> std::path::PathBuf {
    let shared = std::path::PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

/// `fill`, a byte that is the number's first, and the number's second, in base64: 6 bytes are 8 letters.
fn base64_of_filler(number: u32) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = *b"fill\0\0";
    bytes[4..].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
    let letters = |part: &[u8]| {
        let bits = u32::from(part[0]) << 16 | u32::from(part[1]) << 8 | u32::from(part[2]);
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[(bits >> shift & 63) as usize]))
    };
    bytes.chunks(3).flat_map(letters).collect()
}

struct Urls {
    client: String,
    peer: String,
    metrics: String,
}

impl Urls {
    fn new(place: &Place) -> Self {
        let at = |scheme: &str| format!("{scheme}://{}", free_port(&place.address));
        if place.is_remote() {
            let at = |scheme: &str, port| format!("{scheme}://{}:{port}", place.address);
            return Self { client: at("https", 2379), peer: at("http", 2380), metrics: at("http", 2381) };
        }
        Self { client: at("http"), peer: at("http"), metrics: at("http") }
    }

    fn arguments(&self, at: usize, peers: &str, data: &str) -> Vec<String> {
        let Self { client, peer, metrics } = self;
        let mut arguments: Vec<String> = [
            format!("--name=m{at}"),
            format!("--data-dir={data}"),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster={peers}"),
            format!("--listen-metrics-urls={metrics}"),
        ]
        .into();
        arguments.extend(["--initial-cluster-state=new", "--logger=zap", "--log-level=error"].map(str::to_owned));
        arguments
    }
}

impl Member {
    pub fn start(&mut self) {
        let mut command = self.place.command("/usr/bin/etcd");
        self.running = Some(Running::start(command.args(&self.arguments)));
    }

    pub fn kill(&mut self) {
        self.running = None; // it goes with its handle
    }

    pub fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.signal(signal);
        }
    }
}

/// The body of a page, if it comes at once.
fn text(address: SocketAddr, path: &str) -> Option<String> {
    let limit = Duration::from_secs(1);
    let mut connection = TcpStream::connect_timeout(&address, limit).ok()?;
    connection.set_read_timeout(Some(limit)).ok()?;
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    connection.read_to_string(&mut text).ok()?;
    Some(text)
}

//! What reads a registry beside its clients: plain requests, `promtool`, and Prometheus itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{DEADLINE, Running, clean, eventually, get};

/// Status, head and body of a response.
pub struct Fetched {
    pub status: u16,
    pub head: String,
    pub body: String,
}

/// One request in HTTP/1.0, in which a body that goes on ends with the connection.
pub fn fetch(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Fetched {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut request = format!("GET {path} HTTP/1.0\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Host")) {
        request += &format!("Host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    connection.write_all(format!("{request}\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Fetched { status: status.unwrap_or_default(), head: head.to_ascii_lowercase(), body: body.to_owned() }
}

/// The value of a series, written as in the page: `name{label="value"}`.
pub fn value(page: &str, series: &str) -> f64 {
    let found = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {series} in:\n{page}"))
}

/// The address in the line about the metrics.
pub fn metrics_address(process: &mut Running) -> SocketAddr {
    let line = process.line("metrics: http://");
    let address = line.split("metrics: http://").nth(1).unwrap().split('/').next().unwrap();
    address.parse().unwrap()
}

/// Returns whether Prometheus and its promtool are here. If not, says so where the tests' capture does not hide it.
pub fn has_prometheus(for_what: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    let is_here = has("prometheus") && has("promtool");
    if !is_here {
        let text = format!("left out, it needs prometheus (apt-get install prometheus): {for_what}\n");
        let _ = std::io::stderr().write_all(text.as_bytes());
    }
    is_here
}

/// Runs promtool; returns its status and what it says.
pub fn promtool(arguments: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command: Command = clean("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
    let output = process.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// A Prometheus with this configuration, on a free port.
pub struct Prometheus {
    _process: Running,
    _folder: tempfile::TempDir,
    url: String,
}

impl Prometheus {
    pub fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let mut command = clean("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
        command.arg("--web.listen-address=127.0.0.1:0");
        let mut process = Running::start(&mut command);
        let line = process.line("msg=\"Listening on\"");
        let address = line.split("address=").nth(1).unwrap().split_whitespace().next().unwrap();
        let url = format!("http://{address}");
        process.line("Server is ready to receive web requests");
        Self { _process: process, _folder: folder, url }
    }

    /// Asks until the query has as many results as wanted; returns them.
    pub fn query(&self, query: &str, count: usize) -> Vec<Value> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let path = format!("/api/v1/query?query={encoded}");
        eventually(&format!("{count} results of {query}"), || {
            let (status, answer) = get(&self.url, &path).ok()?;
            let results = answer["data"]["result"].as_array().filter(|_| status == 200)?;
            (results.len() == count).then(|| results.clone())
        })
    }
}

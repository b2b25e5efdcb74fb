//! The base of every test: a scratch folder, programs that are ended when the test ends, and waiting for a
//! condition with a deadline instead of sleeping.

pub(crate) mod authority;
pub(crate) mod browser;
#[cfg(feature = "etcd")]
pub(crate) mod cluster;
pub(crate) mod commands;
#[cfg(feature = "dns")]
pub(crate) mod dns;
pub(crate) mod durable;
#[cfg(feature = "etcd")]
pub(crate) mod etcd;
pub(crate) mod faulty_server;
pub(crate) mod files;
pub(crate) mod fleet;
pub(crate) mod followers;
#[cfg(feature = "etcd")]
pub(crate) mod history;
pub(crate) mod kitchen;
pub(crate) mod linear;
#[cfg(feature = "etcd")]
pub(crate) mod network;
pub(crate) mod registry;
pub(crate) mod scrape;
pub(crate) mod steps;
pub(crate) mod users;
pub(crate) mod wrapper;

pub(crate) use faulty_server::{Misbehaving, Reply, Seen};
pub(crate) use linear::{Act, Operation};
pub(crate) use registry::{Answer, Client, Server, USERS};

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, kill, killpg, signal};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;

/// How long anything that must happen may take. Generous: a test that meets it is broken, not slow.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A script that says `up`, and once the file that is its argument is there, ends a second later with the status that
/// is its name.
pub const UNTIL_ASKED: &str = "echo up; until [ -e \"$1\" ]; do sleep 0.01; done; sleep 1; exit \"$0\"";

/// Says in one line what is missing on this machine for a test.
pub fn need(program: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(found, "this test needs {program}: install it (.ci/run knows Debian's package)");
}

/// A program from PyPI: the one in PATH, or in the virtual environment that `.ci/run` makes.
pub fn python_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python/bin");
    let found = std::env::split_paths(&path).chain([own]).map(|folder| folder.join(name)).find(|file| file.is_file());
    let cure = "python3 -m venv target/python && target/python/bin/pip install gunicorn supervisor honcho";
    found.unwrap_or_else(|| panic!("this test needs {name}: run `{cure}`, as .ci/run does"))
}

/// Returns whether this runs as root. If not, says what is left out: the tests' own capture of output does not hide it.
pub fn is_root_for(what: &str) -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        let _ = writeln!(std::io::stderr(), "left out, it needs root: {what}");
    }
    is_root
}

/// A command with nothing in its environment but what a program needs to run, and no signal ignored. Without HOME, where
/// a configuration file may be.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    static KEYS: Once = Once::new();
    KEYS.call_once(|| {
        // nohup, or a script that runs the tests in the background, makes them ignore these.
        for key in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            #[expect(unsafe_code, reason = "only a handler could do harm")]
            // SAFETY: the default runs no code of this process.
            unsafe { signal(key, SigHandler::SigDfl) }.unwrap();
        }
    });
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "TMPDIR", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// The wrapper, speaking to this registry.
pub fn wrapper(registry: &str) -> Command {
    let mut command = clean(env!("CARGO_BIN_EXE_service-registry-wrapper"));
    command.arg(format!("--registry-url={registry}"));
    command
}

/// A program that the tests wrap.
pub fn child(name: &str) -> PathBuf {
    need(match name.rsplit('.').next() {
        Some("py") => "python3",
        Some("c") => "cc",
        _ => "sh",
    });
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures").join(name)
}

/// One request without a body, on a connection of its own: status and JSON.
pub fn get(url: &str, path: &str) -> Result<(u16, Value), std::io::Error> {
    request(url, "GET", path, "")
}

/// One request, on a connection of its own: status and JSON (null when there is no body).
pub fn request(url: &str, method: &str, path: &str, body: &str) -> Result<(u16, Value), std::io::Error> {
    let address = url.trim_start_matches("http://");
    let mut connection = TcpStream::connect(address)?;
    connection.set_read_timeout(Some(DEADLINE))?;
    let length = body.len();
    write!(
        connection,
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// Asks until the answer is there; panics with `what` after [`DEADLINE`].
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10)); // the pause between two looks, not a synchronisation
    }
}

/// A program under test. Its output is read line by line; it is killed when the test lets go of it.
pub struct Running {
    pub pid: Pid,
    lines: Receiver<String>,
    seen: Vec<String>,
    status: Receiver<ExitStatus>,
    ended: Option<ExitStatus>,
}

impl Running {
    /// Starts the command with its output piped here, stdout and stderr in one, so that they keep their order (stdin:
    /// nothing, unless the command says otherwise).
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_stdin(command.stdin(Stdio::null()))
    }

    /// The same, with the stdin that the command was given.
    pub fn start_with_stdin(command: &mut Command) -> Self {
        let (output, input) = pipe().unwrap();
        let mut child = command
            .stdout(input.try_clone().unwrap())
            .stderr(input)
            .process_group(0) // so that what it started can be ended with it
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        command.stdout(Stdio::null()).stderr(Stdio::null()); // the pipe ends when those that write do
        let (line, lines) = channel();
        pass_lines(output, line);
        let pid = Pid::from_raw(child.id().cast_signed());
        let (end, status) = channel();
        thread::spawn(move || {
            #[expect(clippy::disallowed_methods, reason = "a test is the parent here, and has no supervisor")]
            end.send(child.wait().unwrap()).ok();
        });
        Self { pid, lines, seen: Vec::new(), status, ended: None }
    }

    /// Waits for a line (of stdout or stderr) that contains `part`, and returns it whole.
    pub fn line(&mut self, part: &str) -> String {
        let start = Instant::now();
        while let Ok(line) = self.lines.recv_timeout(DEADLINE.saturating_sub(start.elapsed())) {
            self.seen.push(line);
            if let Some(line) = self.seen.last().filter(|line| line.contains(part)) {
                return line.clone();
            }
        }
        panic!("no line with {part:?}; it said:\n{}", self.seen.join("\n"));
    }

    /// Waits for lines that contain these parts, in whatever order they come.
    pub fn all(&mut self, parts: &[&str]) {
        let mut missing = parts.to_vec();
        while !missing.is_empty() {
            let line = self.line("");
            missing.retain(|part| !line.contains(part));
        }
    }

    /// Waits until the child that prints its signals is ready for them; gives its process id.
    pub fn ready(&mut self) -> i32 {
        loop {
            // "already" is no such line.
            if let Some(pid) = self.line("ready ").strip_prefix("ready ") {
                return pid.parse().unwrap();
            }
        }
    }

    /// Waits for the end and returns the status.
    pub fn end(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let status = self.status.recv_timeout(DEADLINE);
        let status = status.unwrap_or_else(|_| panic!("it does not end; it said:\n{}", self.said()));
        *self.ended.insert(status)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.status.try_recv().ok();
        }
        self.ended.is_some()
    }

    /// Everything it has said so far.
    pub fn said(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    /// Everything it said until its output was closed.
    pub fn said_to_the_end(&mut self) -> String {
        while let Ok(line) = self.lines.recv_timeout(DEADLINE) {
            self.seen.push(line);
        }
        self.seen.join("\n")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            killpg(self.pid, Signal::SIGKILL).ok();
            self.status.recv_timeout(DEADLINE).ok(); // what it held is free
        }
    }
}

fn pass_lines(from: impl Read + Send + 'static, to: Sender<String>) {
    thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
            if to.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
}

/// Sends a signal by number: kill(1) knows real-time signals, which the library does not.
pub fn kill_raw(pid: i32, signal: i32) {
    assert!(Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().unwrap().success());
}

/// A registry in a process of its own, on a free port.
pub struct Registry {
    pub process: Running,
    /// `http://127.0.0.1:<port>`, or https
    pub url: String,
}

impl Registry {
    /// Listens on a free port.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further options.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", options)
    }

    /// Listens at this address.
    pub fn start_at(address: &str, options: &[&str]) -> Self {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
        command.args(["serve", "--listen", address]).args(options);
        if !options.iter().any(|option| *option == "--data-dir" || option.starts_with("--etcd=")) {
            command.arg("--in-memory");
        }
        let mut process = Running::start(&mut command);
        let line = process.line("listening on http");
        let url = line.split("listening on ").nth(1).unwrap().split('"').next().unwrap().trim().to_owned();
        Self { process, url }
    }
}

/// A loopback address where nothing listens now.
///
/// No other process uses the address, so the port stays free until it is used, and between two uses.
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    free_port(&format!("127.{}.{high}.{low}", 64 + std::process::id() % 128))
}

/// This address, with a port that nothing listens at just now.
pub fn free_port(address: &str) -> String {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().to_string()
}

/// Makes an executable file. Another process writes it: a program that starts just then would inherit it open for
/// writing, and it could not be run.
pub fn executable(path: &Path, text: &str) {
    let made =
        clean("sh").args(["-c", "printf %s \"$2\" >\"$1\" && chmod +x \"$1\"", "sh"]).arg(path).arg(text).status();
    assert!(made.unwrap().success());
}

/// Holds the options in a `--help` text and in the manual page of this name equal, both ways.
pub fn compare_with_manual(help: &str, page: &str) {
    assert_eq!(options_of_help(help), options_of_page(page));
}

/// The options that a manual page explains.
pub fn options_of_page(page: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(page)).unwrap();
    let text = text.replace("\\-", "-");
    let section = text.split(".SH OPTIONS").nth(1).unwrap_or_default().split(".SH").next().unwrap();
    section.split(".TP\n").skip(1).flat_map(|entry| options_of(entry.lines().next().unwrap())).collect()
}

/// The options that a `--help` text lists.
pub fn options_of_help(help: &str) -> BTreeSet<String> {
    let listed = help.lines().filter(|line| line.starts_with("  -") || line.starts_with("      --"));
    listed.flat_map(|line| options_of(line.trim_start().split("  ").next().unwrap())).collect()
}

/// `-t` and `--tags` of `.B -t, --tags=TAG` or `-t, --tags <TAG>`.
fn options_of(line: &str) -> Vec<String> {
    let words = line.split([' ', ',', '=', '.', '[']);
    words.filter(|word| word.starts_with('-')).map(str::to_owned).collect()
}

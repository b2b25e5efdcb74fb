//! What every test stands on: a scratch folder, programs that are ended when the test ends, and waiting for a
//! condition with a deadline instead of sleeping.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything that must happen may take. Generous: a test that meets it is broken, not slow.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// A command with nothing in its environment but what a program needs to run.
pub fn clean(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear();
    for name in ["PATH", "HOME", "TMPDIR", "LANG"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
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
    /// Starts the command with its output piped here (stdin: nothing, unless the command says otherwise).
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_stdin(command.stdin(Stdio::null()))
    }

    /// The same, with the stdin that the command was given.
    pub fn start_with_stdin(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let (line, lines) = channel();
        pass_lines(child.stdout.take().unwrap(), line.clone());
        pass_lines(child.stderr.take().unwrap(), line);
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

    /// Everything it said until both its outputs were closed.
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
            kill(self.pid, Signal::SIGKILL).ok();
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

/// A registry in a process of its own, on a free port.
pub struct Registry {
    pub process: Running,
    /// `http://127.0.0.1:<port>`
    pub url: String,
}

impl Registry {
    pub fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    pub fn start_with(data_dir: &Path, options: &[&str]) -> Self {
        let mut command = clean(env!("CARGO_BIN_EXE_service-registry"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir).args(options);
        let mut process = Running::start(&mut command);
        let line = process.line("listening on http://");
        let url = line.split("listening on ").nth(1).unwrap().trim().to_owned();
        Self { process, url }
    }
}

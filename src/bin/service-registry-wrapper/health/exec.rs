//! A check by a command: it passes if the command ends with status 0. The shell runs it in a process group of its own,
//! with the child's environment, and without a terminal.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::libc::{self, pid_t};
use nix::unistd::pipe2;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::watched::Watched;
use crate::process::{self, SpawnContext};
use crate::signals;

const SHELL: &str = "/bin/sh";
/// How long a killed command may take to be reaped.
const REAPED: Duration = Duration::from_secs(1);
/// In bytes: what is kept of the end of the output.
const TAIL: usize = 1024;
/// In characters: what is repeated of its last line.
const LINE: usize = 200;
/// Reads of what is left in the pipe when the command has exited. Something that it left behind may write on.
const LAST_READS: usize = 64;

/// A command that checks the child.
pub(super) struct ExecCheck {
    command: String,
    /// A run that was killed and has not been reaped yet.
    killed: Option<oneshot::Receiver<ExitStatus>>,
}

impl ExecCheck {
    pub(super) fn new(command: String) -> Self {
        Self { command, killed: None }
    }

    /// Runs the command, and kills it at the limit. Returns why it does not pass.
    pub(super) async fn run(&mut self, watched: &Watched<'_>, limit: Duration) -> Result<(), String> {
        if let Some(killed) = &mut self.killed {
            if timeout(REAPED, killed).await.is_err() {
                return Err("the previous run cannot be killed".to_owned());
            }
            self.killed = None;
        }
        let (process, mut output) = self.start(watched)?;
        let mut exit = watched.awaited.add(process);
        let mut tail = Tail::default();
        let status = timeout(limit, tail.read_until_exit(&mut output, &mut exit)).await;
        let Ok(status) = status else {
            watched.awaited.kill(process);
            self.killed = Some(exit);
            return Err(format!("not done within {limit:?}, killed{}", tail.last_line()));
        };
        let status = status.ok_or("it was not waited for")?;
        tail.read_rest(&mut output);
        match (status.code(), status.signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("status {code}{}", tail.last_line())),
            (_, signal) => Err(format!("killed by {}{}", signals::name(signal.unwrap_or_default()), tail.last_line())),
        }
    }

    /// Starts the command with its output in a pipe.
    fn start(&self, watched: &Watched<'_>) -> Result<(pid_t, Receiver), String> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC).map_err(|error| format!("no pipe: {}", error.desc()))?;
        let reader = Receiver::from_owned_fd(reader).map_err(|error| format!("no pipe: {error}"))?;
        let outputs = [(writer.as_raw_fd(), libc::STDOUT_FILENO), (writer.as_raw_fd(), libc::STDERR_FILENO)];
        let context = SpawnContext {
            inherited: watched.inherited,
            parent_death_signal: libc::SIGKILL,
            own_group: true,
            foreground: None,
            notify_socket: watched.notify.map(|notify| notify.address.as_os_str()),
            descriptors: &outputs,
            watchdog: None,
            named_process: Some(watched.child.get()),
            may_host: false,
        };
        let words = [SHELL, "-c", &self.command].map(OsString::from);
        let process = process::spawn(Path::new(SHELL), &words, &context);
        Ok((process.map_err(|failure| format!("{:#}", failure.cause))?, reader))
    }
}

/// The end of an output.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    /// Returns the status; nothing if it is lost.
    async fn read_until_exit(
        &mut self,
        output: &mut Receiver,
        exit: &mut oneshot::Receiver<ExitStatus>,
    ) -> Option<ExitStatus> {
        let mut bytes = [0; TAIL];
        loop {
            tokio::select! {
                status = &mut *exit => return status.ok(),
                count = output.read(&mut bytes) => match count {
                    Ok(count) if count > 0 => self.add(&bytes[..count]),
                    _ => return exit.await.ok(), // it has closed its output
                },
            }
        }
    }

    fn read_rest(&mut self, output: &mut Receiver) {
        let mut bytes = [0; TAIL];
        for _ in 0..LAST_READS {
            match output.try_read(&mut bytes) {
                Ok(count) if count > 0 => self.add(&bytes[..count]),
                _ => return,
            }
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.drain(..self.0.len().saturating_sub(TAIL));
    }

    /// Returns the last line that is not empty, behind a colon, without control characters.
    fn last_line(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let Some(line) = text.lines().rev().map(str::trim).find(|line| !line.is_empty()) else { return String::new() };
        let shown: String = line.chars().filter(|character| !character.is_control()).take(LINE).collect();
        format!(": {shown}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_line_is_short_and_clean() {
        let line = |text: &[u8]| {
            let mut tail = Tail::default();
            text.chunks(100).for_each(|part| tail.add(part));
            tail.last_line()
        };
        assert_eq!(line(b""), "");
        assert_eq!(line(b"one\ntwo \n\n"), ": two");
        assert_eq!(line(b"\x1b[31mred\x07"), ": [31mred");
        assert_eq!(line(b"\xff"), ": \u{fffd}");
        assert_eq!(line(&b"x".repeat(5000)), format!(": {}", "x".repeat(LINE)));
    }
}

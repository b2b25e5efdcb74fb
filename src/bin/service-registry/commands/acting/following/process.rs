//! The run of COMMAND: its stdin, its variables, its process group, its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};

use anyhow::anyhow;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::exit::{self, Failure};

/// A run of the command, in a process group of its own.
pub(crate) struct Run {
    child: Child,
}

impl Run {
    /// Starts the command with a text on stdin. The text is in a file without a name: a pipe would have to be written
    /// to while the command reads, or does not.
    pub(crate) fn start(command: &[OsString], text: &str, variables: &[(&str, String)]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut stdin = File::from(memfd_create(c"services", MFdFlags::MFD_CLOEXEC)?);
        stdin.write_all(text.as_bytes())?;
        stdin.rewind()?;
        let mut command = Command::new(program);
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        Self::spawn(command.stdin(stdin))
    }

    /// Starts a command in a process group of its own.
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.process_group(0).spawn()? })
    }

    /// Returns the status once the command has ended. To be asked after each SIGCHLD.
    pub(crate) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        #[expect(clippy::disallowed_methods, reason = "this program has no supervisor; here is its one `waitpid`")]
        self.child.try_wait()
    }

    /// Signals the command and what it has started, unless they have left its group.
    pub(crate) fn signal(&self, signal: Signal) {
        let group = Pid::from_raw(self.child.id().cast_signed());
        let _ = killpg(group, signal); // it may have ended: SIGCHLD is on its way
    }
}

/// Returns the status that a shell gives: the code of the command, or 128 plus the number of the signal that killed it.
pub(crate) fn status_of(status: ExitStatus) -> u8 {
    let code = status.code().or(status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILURE)
}

/// Says that a program could not be started, with the status that a shell gives.
pub(crate) fn cannot_start(program: &OsStr, error: &io::Error) -> Failure {
    let (code, cure) = match error.kind() {
        io::ErrorKind::NotFound => (exit::COMMAND_NOT_FOUND, "check the spelling or give a path"),
        io::ErrorKind::PermissionDenied => (exit::NOT_EXECUTABLE, "try chmod +x"),
        _ => (exit::NOT_EXECUTABLE, "it cannot be run"),
    };
    Failure { error: anyhow!("{}: {error}; {cure}", program.display()), code }
}

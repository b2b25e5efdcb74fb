//! What a program is told when its files were replaced, and how commands of options are run.

use std::io::stderr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use service_registry::files;

/// The most bytes of a file with a process id. Some programs write more than the number.
const LARGEST_PID_FILE: u64 = 4096;

/// What is done after files were replaced.
#[derive(Clone, Debug)]
pub(super) enum Apply {
    /// This is run by a shell.
    Exec(String),
    /// This is sent to the process whose id is in the file.
    Signal(Signal, PathBuf),
}

/// Parses `HUP:/run/nginx.pid`.
pub(super) fn signal(text: &str) -> Result<Apply, String> {
    let (name, file) = text.split_once(':').filter(|(_, file)| !file.is_empty()).ok_or("write NAME:PIDFILE")?;
    let known = format!("SIG{}", name.strip_prefix("SIG").unwrap_or(name)).parse();
    let signal = known.map_err(|_| format!("{name} is no signal; write its name, as in HUP:{file}"))?;
    Ok(Apply::Signal(signal, file.into()))
}

/// Signals the process whose id is in a file.
pub(super) fn send(signal: Signal, file: &Path) -> anyhow::Result<()> {
    let about = || format!("{}:{}", &signal.as_str()["SIG".len()..], file.display());
    let text = files::read_text(file, LARGEST_PID_FILE).with_context(about)?;
    let id = text.lines().next().and_then(|line| line.trim().parse().ok()).filter(|id: &i32| *id > 0);
    let id = id.ok_or_else(|| anyhow!("it has no process id").context(about()))?;
    kill(Pid::from_raw(id), signal).with_context(|| format!("{}: process {id}", about()))
}

/// Returns a command of an option, as a shell runs it. stdout is for what is rendered.
pub(super) fn shell(text: &str, file: Option<&Path>) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(text.replace("{}", "\"$1\"")).arg("sh").args(file);
    command.stdin(Stdio::null()).stdout(stderr());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_has_a_name_and_a_file() {
        for text in ["HUP:/run/a:b", "SIGHUP:/run/a:b"] {
            let Ok(Apply::Signal(signal, file)) = signal(text) else { panic!("{text}") };
            assert_eq!((signal, file.as_path()), (Signal::SIGHUP, Path::new("/run/a:b")));
        }
        for wrong in ["HUP", "HUP:", ":/run/a", "1:/run/a", "HUPP:/run/a"] {
            assert!(signal(wrong).is_err(), "{wrong}");
        }
    }
}

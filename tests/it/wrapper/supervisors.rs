//! Under supervisors that kill what does not end in time: with the settings of docs/supervisors.md, a child that
//! ignores SIGTERM is killed by the wrapper before the supervisor kills the wrapper, and does not outlive it.

use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use crate::bench::{Registry, Running, clean, eventually, executable, kill_raw, need, python_program};

/// A child that ignores SIGTERM. It is killed at the end of a test that has failed.
struct Deaf {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Deaf {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "#!/bin/sh\ntrap '' TERM\necho $$ >\"$1.new\"\nmv \"$1.new\" \"$1\"\nwhile :; do sleep 0.1; done\n";
        executable(&folder.path().join("deaf"), script);
        Self { folder, registry: Registry::start() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The command that wraps it.
    fn wrapped(&self, options: &str) -> String {
        let (wrapper, url) = (env!("CARGO_BIN_EXE_service-registry-wrapper"), &self.registry.url);
        let (deaf, pid) = (self.path("deaf"), self.path("pid"));
        format!("{wrapper} --registry-url={url} --id=web0 {options} {} {}", deaf.display(), pid.display())
    }

    fn pid(&self) -> i32 {
        eventually("the child", || fs::read_to_string(self.path("pid")).ok()).trim().parse().unwrap()
    }

    fn is_gone(&self) -> bool {
        !Path::new(&format!("/proc/{}", self.pid())).exists()
    }
}

impl Drop for Deaf {
    fn drop(&mut self) {
        if self.path("pid").exists() && !self.is_gone() {
            kill_raw(self.pid(), 9);
        }
    }
}

fn is_sleeping(pid: i32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    state.rsplit(") ").next().is_some_and(|rest| rest.starts_with('S'))
}

#[test]
fn deaf_child_does_not_outlive_supervisords_default() {
    let deaf = Deaf::new();
    let conf = format!(
        "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={}\n\
         [program:api]\ncommand={}\nstdout_logfile=/dev/null\nstderr_logfile=/dev/null\n\
         stdout_logfile_maxbytes=0\nstderr_logfile_maxbytes=0\n",
        deaf.path("supervisord.pid").display(),
        deaf.wrapped("")
    );
    fs::write(deaf.path("conf"), conf).unwrap();
    let mut running = Running::start(clean(python_program("supervisord")).arg("-c").arg(deaf.path("conf")));
    deaf.pid();
    running.signal(Signal::SIGTERM);
    running.line("stopped: api (exit status 137)");
    assert!(deaf.is_gone());
    running.end();
}

#[test]
fn deaf_child_does_not_outlive_honcho_with_a_stop_budget() {
    let deaf = Deaf::new();
    // honcho kills the others five seconds after the first one has ended.
    fs::write(deaf.path("Procfile"), format!("api: exec {}\nother: sleep 1000\n", deaf.wrapped("--stop-budget=4")))
        .unwrap();
    let mut honcho = clean(python_program("honcho"));
    let mut running = Running::start(honcho.arg("start").current_dir(deaf.folder.path()));
    deaf.pid();
    // honcho 2.0 fails if a signal comes while it writes a line.
    running.all(&["web0: started", "other.1 started"]);
    eventually("honcho to wait", || is_sleeping(running.pid.as_raw()).then_some(()));
    running.signal(Signal::SIGTERM);
    running.line("stopped (rc=137)");
    assert!(deaf.is_gone());
    running.end();
}

#[test]
fn deaf_child_does_not_outlive_a_timeout_that_waits_longer() {
    need("timeout");
    let deaf = Deaf::new();
    for (options, command) in [("-k 15 2", deaf.wrapped("")), ("-k 5 2", deaf.wrapped("--stop-budget=4"))] {
        let command = format!("exec timeout {options} {command}");
        let mut running = Running::start(clean("sh").args(["-c", &command]));
        assert_eq!(running.end().code(), Some(124), "{command}");
        assert!(deaf.is_gone(), "{command}");
        fs::remove_file(deaf.path("pid")).unwrap();
    }
}

//! From a list to files that their program uses: render, write beside the files, check, replace, apply.
//!
//! If one text of a list cannot be made, or fails its check, no file is replaced.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::Context;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::apply::{self, Apply};
use super::draft::Draft;
use super::template::Template;
use super::view::View;
use crate::commands::acting::following::follow::Job;
use crate::commands::acting::following::process::{self, Run};
use crate::commands::acting::following::source::Listed;
use crate::exit::{self, Failure};
use crate::output;

/// The most lines of a failed check that are logged.
const LINES: usize = 20;
/// The most bytes of them that are read.
const BYTES: u64 = 16 * 1024;

/// A template, and the file that it writes; without one, stdout.
pub(super) struct Target {
    pub(super) template: Template,
    pub(super) file: Option<PathBuf>,
}

/// The templates and their files.
pub(super) struct Renderer {
    targets: Vec<Target>,
    check: Option<String>,
    apply: Option<Apply>,
    command_timeout: Duration,
    allows_empty: bool,
    /// The new files of this run, and how many of them were checked.
    drafts: Vec<Draft>,
    checked: usize,
    /// Files were replaced, and their program has not been told.
    is_due: bool,
    running: Option<Running>,
    failure: Option<String>,
    was_empty: bool,
}

/// A command that runs.
struct Running {
    run: Run,
    name: &'static str,
    /// What a check writes. Not of `--exec`, which may start a program that goes on writing.
    output: Option<File>,
    limit: Option<Instant>,
}

impl Renderer {
    pub(super) fn new(
        targets: Vec<Target>,
        check: Option<String>,
        apply: Option<Apply>,
        command_timeout: Duration,
        allows_empty: bool,
    ) -> Self {
        Self {
            targets,
            check,
            apply,
            command_timeout,
            allows_empty,
            drafts: Vec::new(),
            checked: 0,
            is_due: false,
            running: None,
            failure: None,
            was_empty: false,
        }
    }

    /// Renders all templates, writes those without a file, and puts the new texts of files beside them.
    fn write(&mut self, services: &[Value]) -> Result<(), Failure> {
        let is_kept = services.is_empty() && !self.allows_empty;
        let (view, mut texts) = (View::of(services), Vec::new());
        for Target { template, file } in &self.targets {
            match file {
                Some(file) if is_kept && file.exists() => {
                    if !self.was_empty {
                        warn!("the list is empty: {} stays as it is (--allow-empty replaces it)", file.display());
                    }
                }
                _ => texts.push((file, template.render(&view)?)),
            }
        }
        self.was_empty = services.is_empty();
        for (file, text) in texts {
            match file {
                Some(file) => self.drafts.extend(Draft::make(file, &text)?),
                None => output::write(&text)?,
            }
        }
        Ok(())
    }

    /// Does what comes next. Returns whether the run has succeeded, once it has ended.
    fn go_on(&mut self) -> Result<Option<bool>, Failure> {
        if let (Some(check), Some(draft)) = (&self.check, self.drafts.get(self.checked)) {
            let output = File::from(memfd_create(c"check", MFdFlags::MFD_CLOEXEC).context("making a file in memory")?);
            let mut command = apply::shell(check, Some(&draft.path));
            let for_command = || output.try_clone().context("duplicating a descriptor");
            command.stdout(for_command()?).stderr(for_command()?);
            self.running = Some(self.started(Run::spawn(&mut command), "--check", Some(output))?);
            return Ok(None);
        }
        for draft in self.drafts.drain(..) {
            let name = draft.file.display().to_string();
            draft.replace()?;
            info!("{name} is written");
            self.is_due = true;
        }
        match &self.apply {
            Some(Apply::Signal(signal, file)) if self.is_due => apply::send(*signal, file).context("--signal")?,
            Some(Apply::Exec(text)) if self.is_due => {
                self.running = Some(self.started(Run::spawn(&mut apply::shell(text, None)), "--exec", None)?);
                return Ok(None);
            }
            _ => {}
        }
        self.is_due = false;
        Ok(Some(true))
    }

    fn started(&self, run: std::io::Result<Run>, name: &'static str, output: Option<File>) -> Result<Running, Failure> {
        debug!("running the command of {name}");
        let run = run.with_context(|| format!("{name}: starting /bin/sh"))?;
        Ok(Running { run, name, output, limit: Some(Instant::now() + self.command_timeout) })
    }

    /// Goes on after the end of a command.
    fn ended(&mut self, running: Running, status: ExitStatus) -> Result<Option<bool>, Failure> {
        let is_check = running.output.is_some();
        if status.success() {
            if is_check {
                self.checked += 1;
            } else {
                self.is_due = false;
            }
            return self.go_on();
        }
        running.output.into_iter().for_each(log);
        let end = match running.limit {
            Some(_) => format!("has failed with status {}", process::status_of(status)),
            None => format!("was killed: it had not ended after {} s", self.command_timeout.as_secs_f64()),
        };
        let kept = match self.drafts.get(self.checked).filter(|_| is_check) {
            Some(draft) => format!("{} stays as it is: ", draft.file.display()),
            None => String::new(),
        };
        Err(anyhow::anyhow!("{kept}the command of {} {end}", running.name).into())
    }

    /// Ends a run that an error has ended.
    fn settled(&mut self, outcome: Result<Option<bool>, Failure>) -> Result<Option<bool>, Failure> {
        outcome.or_else(|failure| {
            self.drafts.clear();
            if failure.code == exit::SUCCESS {
                return Err(failure); // nobody reads stdout any more
            }
            self.failure = Some(format!("{:#}", failure.error));
            Ok(Some(false))
        })
    }
}

impl Job for Renderer {
    const RECOVERED: &str = "all files are up to date again";

    fn start(&mut self, list: &Listed) -> Result<Option<bool>, Failure> {
        (self.checked, self.failure) = (0, None);
        let outcome = self.write(&list.services).and_then(|()| self.go_on());
        self.settled(outcome)
    }

    fn child_ended(&mut self) -> Result<Option<bool>, Failure> {
        let Some(mut running) = self.running.take() else { return Ok(None) };
        let Some(status) = running.run.ended().context("waiting for the command")? else {
            self.running = Some(running);
            return Ok(None);
        };
        let outcome = self.ended(running, status);
        self.settled(outcome)
    }

    fn limit(&self) -> Option<Instant> {
        self.running.as_ref()?.limit
    }

    fn cut_off(&mut self) {
        if let Some(running) = &mut self.running {
            running.run.signal(Signal::SIGKILL);
            running.limit = None;
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(running) = &self.running {
            running.run.signal(signal);
        }
    }

    fn failure(&self) -> Option<(u8, String)> {
        self.failure.clone().map(|failure| (exit::FAILURE, failure))
    }

    fn writes_to_stdout(&self) -> bool {
        self.targets.iter().any(|target| target.file.is_none())
    }
}

/// Logs what a failed check has written.
fn log(mut output: File) {
    let mut bytes = Vec::new();
    if output.rewind().and_then(|()| output.take(BYTES).read_to_end(&mut bytes)).is_ok() {
        String::from_utf8_lossy(&bytes)
            .lines()
            .take(LINES)
            .for_each(|line| warn!("--check: {}", output::visible(line)));
    }
}

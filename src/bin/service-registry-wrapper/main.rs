//! Registers a process in a service registry, runs it, heartbeats while it runs, and exits with its status.
//!
//! The life of it, in order: options → signals → session and service → child → heartbeats until the child exits.

mod child;
mod cli;
mod exit;
mod host;
mod inherited;
mod log;
mod pairs;
mod plan;
mod register;
mod signals;
mod spawn;
mod supervise;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::libc::pid_t;
use nix::sys::signal::SigSet;
use tokio::time::timeout;
use tracing::warn;

use crate::cli::Options;
use crate::exit::Failure;
use crate::plan::{Plan, Voice};
use crate::register::{News, Registration};
use crate::signals::Blocked;
use crate::supervise::Start;

/// How long a registry that does not answer may delay the start of a child.
const PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let options = match Options::read(std::env::args_os()) {
        Ok(options) => options,
        Err(error) => error.exit(), // prints help, version or what is wrong (status 2)
    };
    match run(&options) {
        Ok(status) => status.into(),
        Err(failure) => failure.report(),
    }
}

fn run(options: &Options) -> Result<u8, Failure> {
    let plan = Plan::of(options).map_err(|error| Failure::new(exit::USAGE, error))?;
    log::start(Voice::of(options));
    for warning in &plan.warnings {
        warn!("{warning}");
    }
    let program = plan.command.first().context("no command")?;
    let program = child::find(program)?;
    let blocked = Blocked::all()?;
    // Orphans of the child come to us, wherever we stand; a kernel without this leaves them to process 1.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let events = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let events = events.context("cannot start the event loop")?;
    let end = events.block_on(live(&plan, &program, blocked));
    // The kernel tidies up faster than destructors do, and none may wait, say for a name that is still being looked up.
    std::mem::forget((events, plan));
    end
}

async fn live(plan: &Plan, program: &Path, blocked: Blocked) -> Result<u8, Failure> {
    let mask = blocked.inherited_mask;
    let mut signals = blocked.listen()?;
    if plan.may_host {
        host::begin();
    }
    let mut registration = Registration::begin(plan);
    let mut kept = Vec::new();
    match supervise::before_start(ready_to_start(plan, &mut registration), &mut signals, &mut kept).await? {
        Start::Ready(Ok(())) => {}
        Start::Ready(Err(failure)) => return give_up(registration, failure).await,
        Start::Signalled(number) => {
            warn!("{} came before the start: the command is not run", signals::name(number));
            registration.withdraw().await;
            return Ok(exit::of_signal(number));
        }
    }
    let child = match start_child(plan, program, mask, &kept) {
        Ok(child) => child,
        Err(failure) => return give_up(registration, failure).await,
    };
    let status = supervise::until_exit(child, &mut signals).await?;
    Ok(exit::of_child(status))
}

/// Waits until the child may be started: for the registration if it is a condition, else for two seconds at most.
async fn ready_to_start(plan: &Plan, registration: &mut Registration) -> Result<(), Failure> {
    let Some(attempts) = plan.attempts_or_abort else {
        if timeout(PATIENCE, registration.news()).await.is_err() {
            warn!("the registry at {} is silent; starting without waiting for it", plan.client.registry_url());
        }
        return Ok(());
    };
    let mut failed = 0;
    while let Some(news) = registration.news().await {
        let News::Failed(error) = news else { return Ok(()) };
        failed += 1;
        if failed >= attempts || !error.is_retryable() {
            let why = anyhow::Error::new(error)
                .context(format!("{} could not be registered in {failed} attempt(s)", plan.service.id));
            return Err(Failure::new(exit::NOT_REGISTERED, why));
        }
    }
    Err(anyhow!("the registering task ended by itself").into())
}

fn start_child(plan: &Plan, program: &Path, mask: SigSet, kept: &[i32]) -> Result<pid_t, Failure> {
    let child = spawn::spawn(program, &plan.command, mask)?;
    for &number in kept {
        child::send(child, number);
    }
    Ok(child)
}

async fn give_up(registration: Registration, failure: Failure) -> Result<u8, Failure> {
    registration.withdraw().await;
    Err(failure)
}

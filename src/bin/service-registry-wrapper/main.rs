//! Registers a process in a service registry, runs it, heartbeats while it runs, and exits with its status.
//!
//! The life of it, in order: options → signals → session and service → child → heartbeats until the child exits.

#![cfg_attr(not(test), no_main)] // `entry` has it

mod control;
#[cfg(not(test))]
mod entry;
mod exit;
mod logging;
mod memory;
mod options;
mod process;
mod registration;
mod rest;
mod signals;
mod supervise;
mod systemd;

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, anyhow};
use nix::libc::pid_t;
use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use service_registry::files::own::OwnSocket;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tracing::warn;

use control::StatusSocket;
use exit::Failure;
use options::config::{LogSettings, WrapperConfig};
use options::{NotifyWhen, Options};
use process::spawn::SpawnContext;
use process::tree::ProcessTree;
use registration::Registration;
use registration::endpoints::Secret;
use registration::prepare::Wrong;
use registration::status::RegistrationStatus;
use signals::job_control::Foreground;
use signals::terminal::Terminal;
use signals::{Blocked, Origin, Received};
use supervise::startup::{PATIENCE, Start};
use supervise::{ShutdownPolicy, Supervisor};
use systemd::NotifyProxy;

/// For ever, to systemd.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg_attr(test, expect(dead_code, reason = "tests have a `main` of their own"))]
fn live_by(arguments: Vec<OsString>, key: Option<Secret>, hide: impl FnOnce(&str, usize)) -> u8 {
    let blocked = Blocked::all(); // first of all: process 1 would lose what comes before
    let count = arguments.len();
    let mut options = match Options::read(arguments) {
        Ok(options) => options,
        Err(error) => error.exit(), // prints help, version or what is wrong (status 2)
    };
    let of_command = options.command.len();
    if let Some(typed) = options.take_key(key) {
        hide(typed, count - of_command);
    }
    match blocked.map_err(Failure::from).and_then(|blocked| run(&options, blocked)) {
        Ok(status) => status,
        Err(failure) => failure.report(options.logging.log_format),
    }
}

fn run(options: &Options, blocked: Blocked) -> Result<u8, Failure> {
    let core_limit = no_core_dumps();
    let config = WrapperConfig::of(options).map_err(|error| Failure::new(exit::USAGE, error))?;
    logging::start(LogSettings::of(options));
    for warning in &config.warnings {
        warn!("{warning}");
    }
    if core_limit.is_none() {
        warn!("core dumps cannot be limited: one of the wrapper would hold its API key");
    }
    // The kernel then gives /proc/PID to root, and lets nobody trace the wrapper or read its memory. Exec undoes it for the child.
    if config.access.holds_secrets()
        && let Err(error) = set_dumpable(false)
    {
        warn!("other processes of this user can read the wrapper's memory, and its secrets: {}", error.desc());
    }
    process::descriptors::check_fd_limit(&blocked.fd)?;
    let program = config.command.first().context("no command")?;
    let program = process::lookup::find(program)?;
    // Orphans of the child come to us, wherever we stand; a kernel without this leaves them to process 1.
    let _ = nix::sys::prctl::set_child_subreaper(true);
    let events =
        tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build_local(Default::default());
    let events = events.context(
        "cannot start the event loop; if too many files are open, raise the limit (ulimit -n, LimitNOFILE=)",
    )?;
    let end = events.block_on(live(options, &config, &program, blocked, core_limit));
    // The kernel tidies up faster than destructors do, and none may wait, say for a name that is still being looked up.
    std::mem::forget((events, config));
    end
}

/// A core dump of the wrapper would hold its API key. The child gets the limit back.
fn no_core_dumps() -> Option<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).ok()?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard).ok()?;
    Some(soft)
}

async fn live(
    options: &Options,
    config: &WrapperConfig,
    program: &Path,
    blocked: Blocked,
    core_limit: Option<rlim_t>,
) -> Result<u8, Failure> {
    let (mask, sigchld) = (blocked.inherited_mask, blocked.inherited_sigchld);
    let mut signals = blocked.listen()?;
    let notify_proxy = NotifyProxy::open().unwrap_or_else(|error| {
        warn!("the command's notifications go past the wrapper, and systemd may not take them: {error:#}");
        None
    });
    let (begun, mut kept) = (Instant::now(), Vec::new());
    let mut preparing = config.preparation().begin();
    let prepared = match supervise::startup::before_start(timeout(PATIENCE, &mut preparing), &mut signals, &mut kept)
        .await?
    {
        Start::Ready(Ok(prepared)) => {
            let prepared = prepared.context("the thread that reads files has ended")?;
            let usage = |wrong: Wrong| Failure::new(exit::USAGE, wrong.why.context(options.origin(wrong.option)));
            Some(prepared.map_err(usage)?)
        }
        Start::Ready(Err(_)) => {
            warn!(
                "a file that the options name cannot be read: the file system does not answer; starting all the same"
            );
            None
        }
        Start::Signalled(signal) => return Ok(end_before_start(config, signal, None).await),
    };
    if config.may_host {
        registration::embedded::begin();
    }
    let mut registration = Registration::begin(config, preparing, prepared);
    let status = registration.status_socket.take();
    // What need not wait for the registry is done while it answers.
    let meanwhile = async {
        for _ in 0..3 {
            tokio::task::yield_now().await; // first connects, then asks
        }
        (process::descendants::children(), Terminal::find())
    };
    let ready = async { tokio::join!(supervise::startup::ready_to_start(config, &mut registration, begun), meanwhile) };
    let (inherited_children, terminal) = match supervise::startup::before_start(ready, &mut signals, &mut kept).await? {
        Start::Ready((Ok(()), prepared)) => prepared,
        Start::Ready((Err(failure), _)) => return give_up(registration, failure).await,
        Start::Signalled(signal) => {
            return Ok(end_before_start(config, signal, Some(&registration)).await);
        }
    };
    let foreground = Foreground::of(terminal, &config.child_config);
    let notify_socket = notify_proxy.as_ref().map(|notify_proxy| notify_proxy.address.as_os_str());
    let with = SpawnContext {
        mask,
        sigchld,
        core_limit,
        child_config: &config.child_config,
        own_group: foreground.own_group,
        foreground: foreground.at_start(),
        notify_socket,
        may_host: config.may_host,
    };
    let child = match process::spawn::spawn(program, &config.command, &with) {
        Ok(child) => child,
        Err(failure) => return give_up(registration, failure).await,
    };
    let tree = ProcessTree::new(child, &config.child_config, foreground, inherited_children);
    let mut supervisor = Supervisor::new(tree, &config.child_config);
    for number in kept {
        supervisor.tree.forward(number);
    }
    process::descriptors::close_inherited();
    let policy = ShutdownPolicy::of(config, &registration);
    let (wanted, status_now) = (registration.wanted.clone(), registration.status_now.clone());
    let ended = tokio::select! {
        ended = supervisor.until_gone(&mut signals, policy) => ended?,
        never = notify(config, notify_proxy.as_ref(), &mut registration) => match never {},
        never = answer(status, &config.service.id, child, wanted, status_now) => match never {},
        never = settle() => match never {},
    };
    if let Some(notify_proxy) = &notify_proxy {
        notify_proxy.finish().await;
    }
    if supervisor.fenced {
        let why = anyhow!("{} could not be kept registered, and --on-lost=stop is in force", config.service.id);
        return Err(Failure::new(exit::NOT_REGISTERED, why));
    }
    exit::now(end_with(config, ended, supervisor.tree.was_interrupted(ended)))
}

/// The status of a signal that came while there was no command: as if it had ended the command, and as a key if it was one, so
/// that a shell sees that a script is to end.
async fn end_before_start(config: &WrapperConfig, signal: Received, registration: Option<&Registration>) -> u8 {
    warn!("{} came before the start: the command is not run", signals::name(signal.number));
    if let Some(registration) = registration {
        registration.leave.withdraw().await;
    }
    end_with(config, ExitStatus::from_raw(signal.number), signal.origin == Origin::Kernel)
}

/// Gives back what only the start needed, once everybody waits. Never done.
async fn settle() -> Infallible {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    memory::give_back_code();
    std::future::pending().await
}

/// Answers on the status socket, if there is one. Never done.
async fn answer(
    socket: Option<oneshot::Receiver<OwnSocket>>,
    id: &str,
    child: pid_t,
    wanted: watch::Sender<bool>,
    status_now: watch::Receiver<RegistrationStatus>,
) -> Infallible {
    let Some(Ok(socket)) = async { Some(socket?.await) }.await else { return std::future::pending().await };
    match StatusSocket::of(socket) {
        Ok(socket) => socket.answer(id, child, wanted, status_now).await,
        Err(error) => {
            warn!("nobody is answered on the status socket: {error:#}");
            std::future::pending().await
        }
    }
}

/// Passes on what the child tells systemd, and says what `--notify-when` asks for. Never done.
async fn notify(
    config: &WrapperConfig,
    notify_proxy: Option<&NotifyProxy>,
    registration: &mut Registration,
) -> Infallible {
    let Some(notify_proxy) = notify_proxy else { return std::future::pending().await };
    let on_behalf = async {
        match config.child_config.notify_when {
            Some(NotifyWhen::Registered) => {
                if !registration.status_now.borrow().registered {
                    // A registry that is down is no reason for systemd to end the command.
                    notify_proxy.say(&format!("EXTEND_TIMEOUT_USEC={}", A_YEAR.as_micros())).await;
                }
                registration.registered().await;
            }
            Some(NotifyWhen::Spawned) => {}
            None => return,
        }
        notify_proxy.say("READY=1").await;
    };
    let (_, passed_on) = tokio::join!(on_behalf, notify_proxy.run());
    match passed_on {
        Ok(never) => match never {},
        Err(error) => warn!("the command's notifications do not reach systemd any more: {error:#}"),
    }
    std::future::pending().await
}

/// The child's status, as `--exit-map` and `--reraise` have it. Where a key ended the child (`is_interrupted`), a shell looks
/// for the signal itself before it ends a script.
fn end_with(config: &WrapperConfig, status: ExitStatus, is_interrupted: bool) -> u8 {
    let own = exit::of_child(status);
    let mapped = config.child_config.mapped(own);
    if let Some(signal) = status.signal()
        && (config.child_config.reraise || is_interrupted)
        && mapped == own
    {
        exit::die_of(signal);
    }
    mapped
}

async fn give_up(registration: Registration, failure: Failure) -> Result<u8, Failure> {
    registration.leave.withdraw().await;
    Err(failure)
}

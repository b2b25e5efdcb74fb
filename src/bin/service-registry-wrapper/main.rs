//! Registers a process in a service registry, runs it, heartbeats while it runs, and exits with its status.
//!
//! The life of the wrapper, in order: options → signals → registration → child → heartbeats until the child exits.

#![cfg_attr(not(test), no_main)] // `entry` has it

mod boot_time;
mod control;
#[cfg(not(test))]
mod entry;
mod event_loop;
mod exit;
mod health;
mod logging;
mod memory;
mod metrics;
mod options;
mod process;
mod protection;
mod registration;
mod signals;
mod supervise;
mod systemd;

use std::convert::Infallible;
use std::ffi::OsString;
use std::path::Path;

use anyhow::Context;
use nix::sys::prctl::set_child_subreaper;
use service_registry::connection::Secret;
use tracing::warn;

use event_loop::EventLoop;
use exit::{Ending, Failure};
use health::{ReadyPipe, Watched};
use options::{LogSettings, Options, RegisterWhen, WrapperConfig};
use process::{ChildChannels, Inherited, Watchdog};
use registration::Desired;
use signals::Blocked;
use supervise::startup::Startup;
use supervise::{Supervisor, catch};
use systemd::NotifyProxy;

/// Lives; returns how the process is to end. `hide_key` overwrites an API key that was typed in the arguments.
#[cfg_attr(test, expect(dead_code, reason = "tests have a `main` of their own"))]
fn run(arguments: Vec<OsString>, key: Option<Secret>, hide_key: impl FnOnce(&str, usize)) -> Ending {
    let blocked = Blocked::all(); // first of all: process 1 would lose signals that come before
    let count = arguments.len();
    let mut options = match Options::read(arguments) {
        Ok(options) => options,
        Err(error) => return Ending::of_usage(&error), // help, version, or status 2
    };
    let own_arguments = count - options.command.len();
    if let Some(typed) = options.take_key(key) {
        hide_key(typed, own_arguments);
    }
    let completed = options.read_config_files().map_err(|error| Failure::new(exit::USAGE, error));
    let blocked = completed.and_then(|()| blocked.map_err(Failure::from));
    let ending = blocked.and_then(|blocked| wrap(&options, blocked));
    ending.unwrap_or_else(|failure| failure.report(options.logging.log_format))
}

/// Prepares everything that needs no registry, and runs the event loop.
fn wrap(options: &Options, blocked: Blocked) -> Result<Ending, Failure> {
    let core_limit = protection::forbid_core_dumps();
    let config = WrapperConfig::of(options).map_err(|error| Failure::new(exit::USAGE, error))?;
    logging::start(LogSettings::of(options));
    config.warnings.iter().for_each(|warning| warn!("{warning}"));
    protection::check(core_limit, config.access.holds_secrets());
    process::check_fd_limit(&blocked.fd)?;
    let program = process::find(config.command.first().context("no command")?)?;
    let _ = set_child_subreaper(true); // without it (old kernels) orphans go to process 1
    let mut watchdog = Watchdog::of(&config.child_config); // before there is a second thread
    let event_loop = EventLoop::new()?;
    let inherited = Inherited { mask: blocked.inherited_mask, sigchld: blocked.inherited_sigchld, core_limit };
    let ending = event_loop.run(live(options, &config, &program, blocked, &inherited, watchdog.as_mut(), &event_loop));
    if let Some(watchdog) = watchdog {
        watchdog.dismiss();
    }
    // The kernel frees memory faster than destructors do, and none of them may wait, as for a name that is still looked
    // up.
    std::mem::forget((event_loop, config));
    ending
}

async fn live(
    options: &Options,
    config: &WrapperConfig,
    program: &Path,
    blocked: Blocked,
    inherited: &Inherited,
    watchdog: Option<&mut Watchdog>,
    event_loop: &EventLoop,
) -> Result<Ending, Failure> {
    let mut startup = Startup::new(blocked.listen()?, watchdog);
    let notify = NotifyProxy::open(config.readiness.when == RegisterWhen::Ready);
    let ready_pipe = ReadyPipe::open(&config.readiness)?;
    let mut registration = match catch(startup.register(options, config)).await {
        Ok(registration) => registration,
        Err(reason) => return reason.ending(config, None).await,
    };
    let channels = ChildChannels {
        notify_socket: notify.as_ref().map(|notify| notify.address.as_os_str()),
        ready_fd: ready_pipe.as_ref().map(ReadyPipe::for_child),
    };
    let started = startup.start_child(config, program, inherited, &mut registration, channels, event_loop);
    let tree = match catch(started).await {
        Ok(tree) => tree,
        Err(reason) => return reason.ending(config, Some(&registration)).await,
    };
    let child = tree.watch_child();
    let inherited_children = tree.inherited_children().clone();
    let (notifying, awaited) = (notify.as_ref(), tree.awaited());
    let watched = Watched { child: child.clone(), inherited_children, notify: notifying, inherited, awaited };
    let mut supervisor = Supervisor::new(tree, config, &registration);
    let mut signals = startup.hand_over(&mut supervisor);
    process::close_inherited();
    let control_files = registration.control.take();
    let (desired, status) = (registration.desired.clone(), registration.status.clone());
    let (memory_status, health_desired) = (status.clone(), desired.clone());
    let (metrics_status, life) = (status.clone(), supervisor.life.clone());
    let supervised = async {
        tokio::select! {
            status = supervisor.until_gone(&mut signals) => status.map_err(Failure::from),
            never = systemd::notify(config, notify.as_ref(), &mut registration) => match never {},
            never = health::watch(config, watched, ready_pipe, &health_desired) => match never {},
            never = control::answer(control_files, config, child, &desired, status) => match never {},
            never = metrics::serve(config, metrics_status, &desired, &life) => match never {},
            never = follow_addresses(config, &desired) => match never {},
            never = memory::release_code(event_loop, config.service.interval, memory_status) => match never {},
        }
    };
    let outcome = match catch(supervised).await {
        Ok(status) => supervisor.ending(status),
        // The child gets the same care as at any other end.
        Err(failure) => catch(supervisor.shut_down(&mut signals)).await.and(Err(failure)),
    };
    if let Some(notify) = &notify {
        notify.finish().await;
    }
    outcome
}

/// Describes the service again when the addresses of this machine change, if options name one. Never returns.
async fn follow_addresses(config: &WrapperConfig, desired: &Desired) -> Infallible {
    if !config.service.texts.name_addresses() {
        return std::future::pending().await;
    }
    service_registry::description::watch_addresses(|| {
        if let Err(error) = desired.look_up_again() {
            warn!("the description of the service stays as it is: {error:#}");
        }
    })
    .await
}

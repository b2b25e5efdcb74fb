//! Whether the child can serve: the service waits outside of the registry until it can.
//!
//! In reading order: `readiness` waits until the child says that it is ready; `listening` waits until it listens on a
//! port, with the sockets that `listeners` finds. Each writes a reason into `Desired`, which the registration follows.

mod listeners;
mod listening;
mod readiness;

pub(super) use readiness::ReadyPipe;

use std::collections::HashSet;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use nix::libc::pid_t;
use tokio::time::sleep;
use tracing::warn;

use crate::options::{OnNotReady, Readiness, RegisterWhen, WrapperConfig};
use crate::registration::Desired;
use crate::systemd::NotifyProxy;

/// What is known of the child.
pub(super) struct Watched<'a> {
    pub child: pid_t,
    /// Children of the wrapper that do not descend from the child.
    pub inherited_children: HashSet<pid_t>,
    pub notify: Option<&'a NotifyProxy>,
    pub ready_pipe: Option<ReadyPipe>,
}

/// Keeps the reasons up to date that come from the child. Never returns.
pub(super) async fn watch(config: &WrapperConfig, watched: Watched<'_>, desired: &Desired) -> Infallible {
    if config.readiness.when == RegisterWhen::Start {
        return pending().await;
    }
    // On the heap, so that a wrapper without it is no larger.
    let (never, ()) = Box::pin(async {
        let ready = async {
            match config.readiness.when {
                RegisterWhen::Listening => listening::watch(&config.readiness, &watched, desired).await,
                _ => readiness::watch(watched, desired).await,
            }
        };
        tokio::join!(ready, limit(&config.readiness, desired))
    })
    .await;
    never
}

/// Does what `--on-not-ready` says, if the child is not ready in time.
async fn limit(readiness: &Readiness, desired: &Desired) {
    let Some(limit) = readiness.timeout else { return };
    tokio::select! {
        () = desired.ready() => {}
        () = sleep(limit) => too_late(limit, readiness.on_not_ready, desired),
    }
}

fn too_late(limit: Duration, on_not_ready: OnNotReady, desired: &Desired) {
    let why = desired.reason().unwrap_or_default();
    match on_not_ready {
        OnNotReady::Wait => warn!("after --ready-timeout, {limit:?}: {why}; the service stays out of the registry"),
        OnNotReady::Stop => desired.request_stop(format!("after --ready-timeout, {limit:?}: {why}")),
    }
}

//! Whether the child can serve: the service waits outside of the registry until it can.
//!
//! In reading order: `readiness` waits until the child says that it is ready; `listening` waits until it listens on a
//! port, with the sockets that `listeners` finds; `checks` runs the checks, which are `probes` and `exec`, and
//! `verdict` decides, as a pure machine, what their outcomes mean. Each writes a reason into `Desired`, which the
//! registration follows.

mod checks;
mod exec;
mod listeners;
mod listening;
mod probes;
mod readiness;
mod verdict;
mod watched;

pub(super) use readiness::ReadyPipe;
pub(super) use watched::Watched;

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use tokio::time::sleep;
use tracing::warn;

use crate::options::{OnNotReady, Readiness, RegisterWhen, WrapperConfig};
use crate::registration::Desired;

/// Keeps the reasons up to date that come from the child. Never returns.
pub(super) async fn watch(
    config: &WrapperConfig,
    watched: Watched<'_>,
    pipe: Option<ReadyPipe>,
    desired: &Desired,
) -> Infallible {
    if config.readiness.when == RegisterWhen::Start && config.health.is_none() {
        return pending().await;
    }
    // On the heap, so that a wrapper without it is no larger.
    let (never, ..) = Box::pin(async {
        let ready = async {
            match config.readiness.when {
                RegisterWhen::Listening => listening::watch(&config.readiness, &watched, desired).await,
                RegisterWhen::Ready => readiness::watch(watched.notify, pipe, desired).await,
                RegisterWhen::Start | RegisterWhen::Healthy => pending().await,
            }
        };
        let checks = async {
            if let Some(health) = &config.health {
                checks::run(health, &config.service.id, &watched, desired).await;
            }
        };
        tokio::join!(ready, limit(&config.readiness, desired), checks)
    })
    .await;
    never
}

/// Does what `--on-not-ready` says, if the child is not ready in time.
async fn limit(readiness: &Readiness, desired: &Desired) {
    let Some(limit) = readiness.timeout else { return };
    tokio::select! {
        () = desired.serving() => {}
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

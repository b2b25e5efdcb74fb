//! Runs the checks, one round after the other, and keeps the service out of the registry while they fail.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::probes::{Probe, run_all};
use super::verdict::{Change, Rules, Verdict};
use super::watched::Watched;
use crate::options::{Health, OnUnhealthy};
use crate::registration::Desired;

/// Checks the child from when it is ready until it has exited.
pub(super) async fn run(health: &Health, id: &str, watched: &Watched<'_>, desired: &Desired) {
    desired.ready().await;
    let mut probes = Vec::new();
    for check in &health.checks {
        probes.push(Probe::new(check, health).await);
    }
    let Health { interval, start_period, rise, fall, flap_limit, .. } = *health;
    let mut due = Instant::now();
    let mut verdict = Verdict::new(Rules { interval, start_period, rise, fall, flap_limit }, due);
    let mut damping = String::new();
    loop {
        sleep_until(due).await;
        if watched.awaited.is_over() {
            return;
        }
        let outcome = run_all(&mut probes, watched, health.timeout).await;
        let change = verdict.record(outcome.is_ok(), due);
        match (change, outcome) {
            (Some(Change::Healthy), _) => {
                info!("{id} is healthy");
                desired.set_unhealthy(None);
            }
            (Some(Change::Unhealthy { falls, hold }), Err(why)) => {
                damping = describe(falls, hold);
                warn!("{id} is unhealthy: {why}{damping}");
                desired.set_unhealthy(Some(why + &damping));
            }
            (_, Err(why)) => {
                debug!("a check fails: {why}");
                if desired.is_unhealthy() {
                    desired.set_unhealthy(Some(why + &damping));
                }
            }
            (_, Ok(())) if desired.is_unhealthy() && !damping.is_empty() => {
                desired.set_unhealthy(Some(format!("the checks pass again{damping}")));
            }
            (_, Ok(())) => {}
        }
        // An operator may break what the checks test, during a maintenance.
        if health.on_unhealthy == OnUnhealthy::Stop && desired.is_unhealthy() && !desired.has_maintenance() {
            desired.request_stop(desired.reason().unwrap_or_default());
        }
        due = (due + verdict.pause()).max(Instant::now());
    }
}

/// Says how long a program that falls again is held out; nothing if the next check decides.
fn describe(falls: usize, hold: Duration) -> String {
    if hold.is_zero() {
        return String::new();
    }
    format!(" (held out for {hold:?}: unhealthy {falls} times within ten minutes)")
}

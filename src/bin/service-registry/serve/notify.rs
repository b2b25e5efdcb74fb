//! Notifications to the service manager, by sd_notify(3). Without NOTIFY_SOCKET all of it does nothing.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use service_registry::registry::Control;

/// Reports that clients can connect.
pub(super) fn ready(address: SocketAddr) {
    send(&[NotifyState::Ready, NotifyState::Status(&format!("listening on {address}"))]);
}

/// Reports that files are being read again. [`reloaded`] must follow, or the manager takes the unit for failed.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// Reports that the files were read.
pub(super) fn reloaded() {
    send(&[NotifyState::Ready]);
}

/// Reports that the registry accepts no more connections and is about to exit.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// Feeds the manager's watchdog (`WatchdogSec=`) at half its interval, as sd_watchdog_enabled(3) recommends, while the
/// registry can serve a request: its event loop runs, and the lock on its data is free. A disk that fails is no reason
/// for a restart.
pub(super) async fn feed_watchdog(control: Control) {
    let Some(interval) = sd_notify::watchdog_enabled().filter(|interval| !interval.is_zero()) else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        control.wait_responsive();
        send(&[NotifyState::Watchdog]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "NOTIFY_SOCKET: the service manager cannot be notified");
    }
}

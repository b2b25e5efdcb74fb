//! The state of the registration: written by the registration task, read by the fence, the status socket and the stop.

use std::time::Duration;

use serde_json::{Value, json};
use service_registry::client::{Client, ServicePayload};
use tokio::time::Instant;

use super::desired::Desired;
use crate::boot_time::BootTime;

#[derive(Clone, Default)]
pub(crate) struct RegistrationStatus {
    /// The open session, and the client of its registry.
    pub session: Option<(Client, String)>,
    pub registered: bool,
    /// The description that the registry has.
    pub payload: Option<ServicePayload>,
    /// When the last accepted heartbeat was sent. The creation of the session counts as one.
    pub heartbeat_sent: Option<BootTime>,
    /// When the last request was sent whose response showed the service in the session. None while there is no place to
    /// lose: not registered yet, or taken out for maintenance.
    pub verified_sent: Option<BootTime>,
    /// With the fence: why the place is lost.
    pub lost: Option<String>,
    /// Requests that failed since the last success, attempts to register and heartbeats alike.
    pub failures: u32,
    pub next_attempt: Option<Instant>,
    pub last_error: Option<String>,
    pub totals: Totals,
}

/// What has happened since the start, for the metrics.
#[derive(Clone, Copy, Default)]
pub(crate) struct Totals {
    pub heartbeats: u64,
    /// Attempts to register and heartbeats alike.
    pub failures: u64,
    pub sessions: u64,
}

impl RegistrationStatus {
    /// Returns the last moment at which the place was certainly the child's: its session was alive, and the service was
    /// in it. None while there is no place to lose.
    pub(crate) fn confirmed(&self) -> Option<BootTime> {
        self.heartbeat_sent.zip(self.verified_sent).map(|(accepted, held)| held.min(accepted))
    }

    /// Counts a failed request.
    pub(super) fn failed(&mut self, error: String, retry_in: Duration) {
        self.failures = self.failures.saturating_add(1);
        self.totals.failures += 1;
        self.next_attempt = Some(Instant::now() + retry_in);
        self.last_error = Some(error);
    }

    /// Records that a request succeeded.
    pub(super) fn recovered(&mut self) {
        (self.failures, self.next_attempt, self.last_error) = (0, None, None);
    }

    /// Returns the reply to `service-registry status`.
    pub(crate) fn as_json(&self, id: &str, child: i32, desired: &Desired) -> Value {
        let now = Instant::now();
        let seconds = |duration: Duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0;
        json!({
            "id": id,
            "child_pid": child,
            "registered": self.registered,
            "tags": self.payload.as_ref().map(|payload| &payload.tags),
            "metadata": self.payload.as_ref().map(|payload| &payload.metadata),
            "maintenance": desired.has_maintenance(),
            "reason": desired.reason(),
            "registry": self.session.as_ref().map(|(client, _)| client.registry_url().as_str()),
            "session": self.session.as_ref().map(|(_, session)| session),
            "seconds_since_accepted_heartbeat": self.heartbeat_sent.map(|sent| seconds(sent.elapsed())),
            "failures": self.failures,
            "seconds_to_next_attempt": self.next_attempt.map(|at| seconds(at.saturating_duration_since(now))),
            "last_error": self.last_error,
        })
    }
}

//! How the registration stands: told by the task that keeps it, heard by the fence, the status socket and the stop.

use std::time::Duration;

use serde_json::{Value, json};
use service_registry::client::Client;
use tokio::time::Instant;

use crate::supervise::Fence;

/// How things stand.
#[derive(Clone, Default)]
pub(crate) struct RegistrationStatus {
    /// The session that is open, and where.
    pub session: Option<(Client, String)>,
    pub registered: bool,
    /// When the last heartbeat was sent that the registry certainly took; the creation of a session counts as one.
    pub accepted: Option<Instant>,
    /// When the last request was sent whose answer showed the service in the session. None while there is no place to lose: not
    /// registered yet, or taken out for maintenance.
    pub held: Option<Instant>,
    /// In words, what became of a place that was given away while the fence is on.
    pub lost: Option<String>,
    /// Requests that failed since the last success.
    pub failures: u32,
    pub next_attempt: Option<Instant>,
    pub last_error: Option<String>,
}

impl RegistrationStatus {
    /// The last moment at which the place was certainly the child's: its session was alive, and the service was in it.
    pub(crate) fn certain(&self) -> Option<Instant> {
        self.accepted.map(|accepted| self.held.map_or(accepted, |held| held.min(accepted)))
    }

    /// When the fence stops the child, as things stand; never while nothing was accepted yet.
    pub(crate) fn stop_at(&self, fence: Fence) -> Option<Instant> {
        if self.lost.is_some() { Some(Instant::now()) } else { self.certain().map(|sent| fence.asks(sent)) }
    }

    /// For `service-registry status`.
    pub(crate) fn as_json(&self, id: &str, child: i32, maintenance: bool) -> Value {
        let now = Instant::now();
        let seconds = |duration: Duration| (duration.as_secs_f64() * 1000.0).round() / 1000.0;
        json!({
            "id": id,
            "child_pid": child,
            "registered": self.registered,
            "maintenance": maintenance,
            "registry": self.session.as_ref().map(|(client, _)| client.registry_url().as_str()),
            "session": self.session.as_ref().map(|(_, session)| session),
            "seconds_since_accepted_heartbeat": self.accepted.map(|sent| seconds(now.duration_since(sent))),
            "failures": self.failures,
            "seconds_to_next_attempt": self.next_attempt.map(|at| seconds(at.saturating_duration_since(now))),
            "last_error": self.last_error,
        })
    }
}

//! When to ask again, after a failure or an answer that came too early.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::client::Error;
use crate::client::schedule::backoff;

/// How long a request waits for something new. Proxies end silent requests, often after a minute.
const WAIT: Duration = Duration::from_secs(30);
/// The longest pause between two attempts, unless the registry asks for a longer one.
const LONGEST: Duration = Duration::from_secs(5);
/// A registry that waits does not answer faster, unless it stops.
const EARLY: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Failures in a row.
    failures: u32,
    /// The number of answers in a row that came too early.
    early: u32,
    /// How long the last refusal asks to wait.
    asked: Duration,
}

impl Attempts {
    /// Waits until the next attempt is due.
    pub(super) async fn pause(&self) {
        let count = self.failures.max(self.early);
        if count > 0 {
            sleep(backoff(count, LONGEST, fastrand::f64()).max(self.asked)).await;
        }
    }

    /// Returns how long the next request should wait for something new, in seconds. After a failure not at all: its
    /// answer shows that the registry is back.
    pub(super) fn wait(&self) -> u64 {
        if self.failures > 0 { 0 } else { WAIT.as_secs() }
    }

    /// Records an answer; returns whether it ends an outage. `began` is when it was asked for, if it brings nothing new
    /// although it was to wait.
    pub(super) fn succeeded(&mut self, began: Option<Instant>) -> bool {
        let is_early = began.is_some_and(|began| began.elapsed() < EARLY) && self.failures == 0;
        self.early = if is_early { self.early + 1 } else { 0 };
        self.asked = Duration::ZERO;
        std::mem::take(&mut self.failures) > 0
    }

    /// Records a failure that may pass; returns whether it begins an outage.
    pub(super) fn failed(&mut self, error: &Error) -> bool {
        self.failures = self.failures.saturating_add(1);
        self.asked = error.retry_after().unwrap_or_default();
        self.failures == 1
    }

    /// Records an answer after which the same could follow for ever.
    pub(super) fn started_again(&mut self) {
        self.early += 1;
    }
}

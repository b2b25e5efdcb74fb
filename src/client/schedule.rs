//! When the next heartbeat is due: a pure function from the last outcome to a delay.

use std::time::Duration;

/// The shortest time between two heartbeats after failures, except before the first retry.
pub(super) const CLOSEST: Duration = Duration::from_millis(100);

/// The outcome of the last heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    /// It was accepted.
    Accepted {
        /// Since it was sent, which is no later than when the registry accepted it.
        since_sent: Duration,
    },
    /// It failed.
    Failed {
        /// Failures in a row: 1 for the first after an accepted heartbeat.
        failures: u32,
        /// How long the response asks to wait.
        retry_after: Option<Duration>,
        /// Since the last accepted one was sent.
        since_accepted: Duration,
    },
}

/// Returns the time limit of one heartbeat: a quarter of the timeout, so that a retry fits in before the session
/// expires.
pub(super) fn limit(timeout: Duration) -> Duration {
    timeout / 4
}

/// Returns the delay before the next heartbeat of a session that expires after `timeout`. `random` is from 0 to 1.
///
/// - After an accepted heartbeat: 0.6 of the timeout ±5 %, counted from when it was sent.
/// - After the first failure: at once.
/// - After further failures: [`backoff`], up to a quarter of the timeout.
/// - If the response asks to wait: that long plus up to 5 %, but while the session lives at most until two thirds of
///   the timeout are over, and then as after any failure: waiting longer would only lose the session. When
///   it must have expired: at most a regular interval.
pub(super) fn delay(timeout: Duration, last: Last, random: f64) -> Duration {
    let random = random.clamp(0.0, 1.0);
    let regular = timeout.mul_f64(0.6);
    match last {
        Last::Accepted { since_sent } => regular.mul_f64(0.95 + 0.1 * random).saturating_sub(since_sent),
        Last::Failed { retry_after: Some(asked), since_accepted, failures } if !asked.is_zero() => {
            let lives = since_accepted < timeout;
            let most = if lives { (timeout * 2 / 3).saturating_sub(since_accepted) } else { regular };
            if most < CLOSEST {
                return backoff(failures, timeout / 4, random);
            }
            asked.clamp(CLOSEST, most).mul_f64(1.0 + 0.05 * random)
        }
        Last::Failed { failures: 0 | 1, .. } => Duration::ZERO,
        Last::Failed { failures, .. } => backoff(failures - 1, timeout / 4, random),
    }
}

/// Returns the delay after this many failures in a row: from 100 ms up to 200 ms, 400 ms, 800 ms ... up to
/// `cap`. `random` is from 0 to 1; the whole range is used (full jitter), so that clients that lost the registry
/// together do not return together.
#[must_use]
pub fn backoff(failures: u32, cap: Duration, random: f64) -> Duration {
    let most = CLOSEST.saturating_mul(1 << failures.min(20)).min(cap).max(CLOSEST);
    CLOSEST + (most - CLOSEST).mul_f64(random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

    fn timeouts() -> impl Iterator<Item = Duration> {
        (3..=120).map(Duration::from_secs)
    }

    #[test]
    fn accepted_heartbeat_leaves_time_for_a_retry() {
        for timeout in timeouts() {
            for random in RANDOM {
                for since_sent in [Duration::ZERO, limit(timeout)] {
                    let delay = delay(timeout, Last::Accepted { since_sent }, random);
                    let share = (since_sent + delay).as_secs_f64() / timeout.as_secs_f64();
                    assert!((0.569..=0.631).contains(&share), "{timeout:?} {random} {share}");
                    // It may reach its limit, and another one can still be sent while the session lives.
                    assert!(since_sent + delay + limit(timeout) < timeout.mul_f64(0.9));
                }
            }
            assert_eq!(delay(timeout, Last::Accepted { since_sent: timeout }, 0.5), Duration::ZERO);
        }
    }

    #[test]
    fn jitter_is_five_percent_to_either_side() {
        let at = |random| delay(Duration::from_secs(100), Last::Accepted { since_sent: Duration::ZERO }, random);
        for (random, seconds) in [(0.0, 57.0), (0.5, 60.0), (1.0, 63.0), (-7.0, 57.0), (f64::INFINITY, 63.0)] {
            assert!((at(random).as_secs_f64() - seconds).abs() < 1e-6, "{random}");
        }
    }

    #[test]
    fn failures_are_retried_at_once_then_with_growing_pauses() {
        for timeout in timeouts() {
            let failed = |failures| Last::Failed { failures, retry_after: None, since_accepted: Duration::ZERO };
            let after = |failures, random| delay(timeout, failed(failures), random);
            for random in RANDOM {
                assert_eq!(after(1, random), Duration::ZERO);
            }
            for failures in (2..40).chain([u32::MAX]) {
                let most = Duration::from_millis(100 << (failures - 1).min(20)).min(timeout / 4);
                assert_eq!(after(failures, 0.0), CLOSEST);
                assert_eq!(after(failures, 1.0), most, "{timeout:?} {failures}");
                for random in RANDOM {
                    assert!((CLOSEST..=most).contains(&after(failures, random)), "{timeout:?} {failures} {random}");
                }
            }
        }
    }

    #[test]
    fn retry_after_is_honoured_while_the_session_can_live() {
        for timeout in timeouts() {
            for failures in [1, 2, 10] {
                for random in RANDOM {
                    for asked in [1, 2, 10, 3600].map(Duration::from_secs) {
                        let after = |share| {
                            let since_accepted = timeout.mul_f64(share);
                            let last = Last::Failed { failures, retry_after: Some(asked), since_accepted };
                            delay(timeout, last, random)
                        };
                        // It has time to reach its limit.
                        for share in [0.0, 0.3, 0.63] {
                            let next = timeout.mul_f64(share) + after(share);
                            assert!(next + limit(timeout) < timeout.mul_f64(0.97), "{timeout:?} {asked:?} {share}");
                            assert!(after(share) >= CLOSEST.min(asked));
                        }
                        assert!((CLOSEST..=timeout / 4).contains(&after(0.7)), "as after any failure");
                        let lost = after(1.0);
                        assert!((asked.min(timeout.mul_f64(0.6))..=timeout.mul_f64(0.631)).contains(&lost), "{lost:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn cap_below_the_shortest_pause_is_ignored() {
        for random in RANDOM {
            assert_eq!(backoff(9, Duration::ZERO, random), CLOSEST);
        }
    }
}

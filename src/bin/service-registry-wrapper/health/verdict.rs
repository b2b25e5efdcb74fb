//! Decides from the outcomes of checks whether the program is healthy: a pure machine.
//!
//! A program that falls again and again is held out longer each time, so that a registry and its clients do not follow
//! each of its changes.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Falls count for this long.
const MEMORY: Duration = Duration::from_secs(600);
/// Until the first pass, checks are repeated this soon: the service may wait for it.
const EARLY: Duration = Duration::from_secs(1);

/// When outcomes amount to a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub interval: Duration,
    pub start_period: Duration,
    pub rise: u32,
    pub fall: u32,
    /// Zero for no damping.
    pub flap_limit: Duration,
}

/// The health of the program, as far as checks have shown it.
#[derive(Debug)]
pub(super) struct Verdict {
    rules: Rules,
    begun: Instant,
    /// None until enough checks have passed or failed.
    is_healthy: Option<bool>,
    has_passed: bool,
    /// In a row.
    passes: u32,
    /// In a row.
    failures: u32,
    /// When a failure was last counted.
    counted: Option<Instant>,
    falls: VecDeque<Instant>,
    held_until: Option<Instant>,
}

/// A change of the program's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Healthy,
    /// It has fallen this many times within ten minutes, and is held out at least this long.
    Unhealthy {
        falls: usize,
        hold: Duration,
    },
}

impl Verdict {
    pub(super) fn new(rules: Rules, begun: Instant) -> Self {
        Self {
            rules,
            begun,
            is_healthy: None,
            has_passed: false,
            passes: 0,
            failures: 0,
            counted: None,
            falls: VecDeque::new(),
            held_until: None,
        }
    }

    /// Takes the outcome of the checks that were due at this time.
    pub(super) fn record(&mut self, has_passed: bool, due: Instant) -> Option<Change> {
        if has_passed { self.passed(due) } else { self.failed(due) }
    }

    /// Returns the time from one round of checks to the next.
    pub(super) fn pause(&self) -> Duration {
        if self.has_passed { self.rules.interval } else { self.rules.interval.min(EARLY) }
    }

    fn passed(&mut self, now: Instant) -> Option<Change> {
        self.has_passed = true;
        self.failures = 0;
        self.passes = self.passes.saturating_add(1);
        let is_held = self.held_until.is_some_and(|until| now < until);
        if self.is_healthy == Some(true) || self.passes < self.rules.rise || is_held {
            return None;
        }
        self.is_healthy = Some(true);
        Some(Change::Healthy)
    }

    fn failed(&mut self, now: Instant) -> Option<Change> {
        self.passes = 0;
        if !self.has_passed {
            // Checks are more frequent than the interval at first; `--fall` counts intervals.
            let is_early = now < self.begun + self.rules.start_period;
            if is_early || self.counted.is_some_and(|counted| now < counted + self.rules.interval) {
                return None;
            }
        }
        self.counted = Some(now);
        self.failures = self.failures.saturating_add(1);
        if self.is_healthy == Some(false) || self.failures < self.rules.fall {
            return None;
        }
        self.is_healthy = Some(false);
        self.falls.retain(|&fall| now < fall + MEMORY);
        self.falls.push_back(now);
        let falls = self.falls.len();
        let hold = self.hold(falls);
        self.held_until = Some(now + hold);
        Some(Change::Unhealthy { falls, hold })
    }

    /// The first fall holds nothing: the next check decides. The second holds for two intervals, and each further one
    /// for twice as long as the one before.
    fn hold(&self, falls: usize) -> Duration {
        if falls < 2 {
            return Duration::ZERO;
        }
        let doublings = u32::try_from(falls - 1).unwrap_or(u32::MAX);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        self.rules.interval.saturating_mul(factor).min(self.rules.flap_limit)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const RULES: Rules = Rules {
        interval: Duration::from_secs(10),
        start_period: Duration::ZERO,
        rise: 1,
        fall: 3,
        flap_limit: Duration::from_secs(300),
    };

    /// Records outcomes (`+`, `-`), each when it is due; returns the changes, and the seconds at which they came.
    async fn record(verdict: &mut Verdict, outcomes: &str) -> Vec<(u64, Change)> {
        let mut changes = Vec::new();
        for outcome in outcomes.chars() {
            let now = Instant::now();
            let change = verdict.record(outcome == '+', now);
            changes.extend(change.map(|change| (now.duration_since(verdict.begun).as_secs(), change)));
            advance(verdict.pause()).await;
        }
        changes
    }

    fn fallen(falls: usize, hold: u64) -> Change {
        Change::Unhealthy { falls, hold: Duration::from_secs(hold) }
    }

    #[tokio::test(start_paused = true)]
    async fn health_changes_after_rise_and_fall_in_a_row() {
        let mut verdict = Verdict::new(Rules { rise: 2, ..RULES }, Instant::now());
        assert_eq!(record(&mut verdict, "+-+").await, []);
        assert_eq!(record(&mut verdict, "+--+").await, [(30, Change::Healthy)]);
        assert_eq!(record(&mut verdict, "---+-++").await, [(90, fallen(1, 0)), (130, Change::Healthy)]);
    }

    #[tokio::test(start_paused = true)]
    async fn early_failures_count_once_an_interval_and_not_in_the_start_period() {
        let mut verdict = Verdict::new(RULES, Instant::now());
        assert_eq!(record(&mut verdict, &"-".repeat(20)).await, []);
        assert_eq!(record(&mut verdict, "-").await, [(20, fallen(1, 0))]);
        let rules = Rules { start_period: 30 * SECOND, ..RULES };
        let mut verdict = Verdict::new(rules, Instant::now());
        assert_eq!(record(&mut verdict, &"-".repeat(50)).await, []);
        assert_eq!(record(&mut verdict, "-").await, [(50, fallen(1, 0))]);
        // A pass ends the period: from then on every failure counts.
        let mut verdict = Verdict::new(rules, Instant::now());
        assert_eq!(record(&mut verdict, "-+---").await, [(1, Change::Healthy), (31, fallen(1, 0))]);
    }

    #[tokio::test(start_paused = true)]
    async fn every_further_fall_holds_twice_as_long_up_to_the_limit() {
        let mut verdict = Verdict::new(Rules { fall: 1, ..RULES }, Instant::now());
        let mut holds = Vec::new();
        for _ in 0..9 {
            let fall = record(&mut verdict, "-").await;
            let [(at, Change::Unhealthy { hold, .. })] = fall[..] else { panic!("{fall:?}") };
            let mut back = Vec::new();
            while back.is_empty() {
                back = record(&mut verdict, "+").await;
            }
            assert!(back[0].0 - at >= hold.as_secs() && back[0].0 - at <= hold.as_secs().max(10), "{hold:?}: {back:?}");
            holds.push(hold.as_secs());
        }
        // 10 + 20 + 40 + 80 + 160 + 300 s and the intervals between take longer than ten minutes: the first are
        // forgotten.
        assert_eq!(holds[..6], [0, 20, 40, 80, 160, 300]);
        assert!(holds[6..].iter().all(|&hold| hold < 300), "{holds:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn fall_is_forgotten_after_ten_minutes() {
        let mut verdict = Verdict::new(Rules { fall: 1, ..RULES }, Instant::now());
        assert_eq!(record(&mut verdict, "-+").await, [(0, fallen(1, 0)), (1, Change::Healthy)]);
        advance(590 * SECOND).await;
        assert_eq!(record(&mut verdict, "-+").await, [(601, fallen(1, 0)), (611, Change::Healthy)]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit_is_no_damping() {
        let rules = Rules { fall: 1, flap_limit: Duration::ZERO, ..RULES };
        let mut verdict = Verdict::new(rules, Instant::now());
        let changes = record(&mut verdict, "+-+-+").await;
        assert_eq!(changes[1..4], [(10, fallen(1, 0)), (20, Change::Healthy), (30, fallen(2, 0))]);
    }
}

//! The time in which the registry could read its sockets. Deadlines count this time only.
//!
//! A registry that is stopped, starved of CPU or moved to another machine receives no heartbeat, though its clients
//! send them. So while there is a deadline, a task looks at the clock in steps, and announces before each step when the
//! next look will be. A look that comes later than announced by more than a [`TICK`], by whatever task, shows a pause.
//! The time of deadlines stands still from when the look was due until now, and then as long as the pause again, at
//! most [`CATCH_UP`], in which the registry reads what has gathered in its sockets. So every lease gets the pause,
//! whatever its deadline and whichever task looks first.
//!
//! *Not* a number of turns of the scheduler: with several threads, the turns of one say nothing about what the others
//! have read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The shortest step between two looks, and how much later than announced a look may come. In milliseconds.
pub(crate) const TICK: u64 = 25;

/// The longest time that the time of deadlines stands still after a pause, in milliseconds. Together with the grace of
/// the expiry task it is less than the second that a dead lease may be listed beyond its timeout.
const CATCH_UP: u64 = 500;

#[derive(Debug, Default)]
pub(super) struct Served {
    /// The real time of the last look. No pause began before it.
    seen: AtomicU64,
    /// The real time at which the next look is due at the latest; 0 if none is.
    due: AtomicU64,
    /// How much the time of deadlines is behind.
    behind: AtomicU64,
    /// The highest time of deadlines so far; it does not run back.
    least: AtomicU64,
    pausing: Mutex<()>,
}

impl Served {
    /// Returns the time of deadlines at this real time.
    pub(super) fn at(&self, real: u64) -> u64 {
        if self.is_late(real) {
            self.make_up(real);
        }
        self.seen.fetch_max(real, Ordering::AcqRel);
        let behind = self.behind.load(Ordering::Acquire);
        real.saturating_sub(behind).max(self.least.load(Ordering::Acquire))
    }

    /// Announces the next look, at most this long after this real time. Returns its time.
    pub(super) fn expect(&self, real: u64, wait: u64) -> u64 {
        self.at(real); // an earlier announcement may be overdue
        let next = real.saturating_add(wait);
        self.due.store(next, Ordering::Release);
        next
    }

    fn is_late(&self, real: u64) -> bool {
        let due = self.due.load(Ordering::Acquire);
        due > 0 && real > due.max(self.seen.load(Ordering::Acquire)) + TICK
    }

    /// Accounts for a pause that has just ended. One look does this, however many come at once.
    fn make_up(&self, real: u64) {
        let _one = self.pausing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_late(real) {
            return;
        }
        let begun = self.due.load(Ordering::Acquire).max(self.seen.load(Ordering::Acquire));
        let stood = begun.saturating_sub(self.behind.load(Ordering::Acquire)).max(self.least.load(Ordering::Acquire));
        let catch_up = (real - begun).min(CATCH_UP);
        self.least.store(stood, Ordering::Release);
        self.behind.store(real + catch_up - stood, Ordering::Release);
        self.seen.fetch_max(real, Ordering::AcqRel);
        tracing::debug!(ms = real - begun, "the registry did not run; every lease gets that time");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timely_looks_count_all_time() {
        let served = Served::default();
        for real in (0..100).map(|step| step * 50) {
            assert_eq!(served.at(real), real);
            served.expect(real, 50);
        }
        assert_eq!(served.at(4_950 + 50 + TICK), 5_000 + TICK, "a tick late is in time");
    }

    #[test]
    fn pause_and_its_catching_up_are_not_counted() {
        let served = Served::default();
        served.expect(1_000, 25);
        assert_eq!(served.at(9_000), 1_025, "the time of the look that did not come");
        served.expect(9_000, 1_000);
        assert_eq!(served.at(9_499), 1_025);
        assert_eq!(served.at(9_510), 1_035);
        assert_eq!(served.at(9_535), 1_060, "and on");
    }

    #[test]
    fn second_pause_while_catching_up_begins_anew() {
        let served = Served::default();
        served.expect(1_000, 25);
        served.at(3_000);
        served.expect(3_010, 25);
        assert_eq!(served.at(5_000), 1_025);
        served.expect(5_000, 1_000);
        assert_eq!(served.at(5_500), 1_025);
        assert_eq!(served.at(5_501), 1_026);
    }

    #[test]
    fn request_that_looks_first_hides_no_pause() {
        let served = Served::default();
        served.expect(1_000, 25);
        let before = served.at(1_010); // a request that is about to sweep; then the pause
        assert_eq!(served.at(5_000), 1_025);
        served.expect(5_001, 25);
        assert!(served.at(5_001) >= before && served.at(5_002) == 1_025);
    }

    #[test]
    fn short_pause_needs_a_short_time_to_catch_up() {
        let served = Served::default();
        served.expect(1_000, 25);
        assert_eq!(served.at(1_085), 1_025, "60 ms");
        served.expect(1_085, 1_000);
        assert_eq!(served.at(1_145), 1_025);
        assert_eq!(served.at(1_146), 1_026);
    }

    #[test]
    fn time_never_runs_back() {
        let (served, mut random) = (Served::default(), fastrand::Rng::with_seed(1));
        let (mut real, mut last) = (0, 0);
        for _ in 0..100_000 {
            let most = if random.u8(0..50) == 0 { 2_000 } else { 40 };
            real += random.u64(0..most);
            if random.bool() {
                served.expect(real, random.u64(1..1_000));
            }
            let now = served.at(real);
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
    }
}

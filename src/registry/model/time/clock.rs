//! Time for the registry: one reading from which deadlines and timestamps are taken.
//!
//! Deadlines are on a monotonic scale, so a step of the system's clock expires no lease; and it stands still while
//! the registry cannot read its sockets (`served`). Timestamps follow the system's clock, also when it is set back, but
//! not by less than a minute. Event ids contain a time and must rise all the same: `id_scale`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

use super::served::{Served, TICK};

/// How far the system's clock may run ahead before the registry follows it. Less is rounding, and following it
/// would move the wall time of deadlines by a millisecond from time to time.
const STEP_MS: u64 = 100;

/// How far the system's clock may be behind before the registry follows it, in milliseconds. Until then the registry's
/// is ahead: a correction of a few seconds is not worth timestamps that run back.
pub(super) const TOLERATED_MS: u64 = 60_000;

/// How long a manual clock waits for the registry that uses it.
const SETTLED: Duration = Duration::from_secs(2);

/// A reading of the clock, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Now {
    /// The time in which the registry could read its sockets, since it started: the scale of deadlines.
    pub(crate) mono: u64,
    /// Since 1970. The scale of timestamps.
    pub(crate) wall: u64,
}

impl Now {
    /// Returns the wall time of a point on the scale of deadlines.
    pub(crate) fn wall_of(self, mono: u64) -> u64 {
        (self.wall + mono).saturating_sub(self.mono)
    }
}

/// The source of the registry's time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
    served: Arc<Served>,
}

#[derive(Clone, Debug)]
enum Source {
    System { start: Instant, offset: Arc<AtomicU64> },
    Manual(ManualClock),
}

impl Clock {
    /// Returns the system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self::of(Source::System { start: Instant::now(), offset: Arc::new(AtomicU64::new(0)) })
    }

    /// Returns a clock that stands still until it is moved, for tests.
    #[must_use]
    pub fn manual(clock: &ManualClock) -> Self {
        Self::of(Source::Manual(clock.clone()))
    }

    fn of(source: Source) -> Self {
        Self { source, served: Arc::default() }
    }

    pub(crate) fn now(&self) -> Now {
        let Now { mono, wall } = match &self.source {
            Source::System { start, offset } => {
                let mono = millis(start.elapsed());
                let system = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
                Now { mono, wall: mono + follow(offset, system.saturating_sub(mono)) }
            }
            Source::Manual(clock) => clock.now(),
        };
        Now { mono: self.served.at(mono), wall }
    }

    /// Waits for this time, and announces its return: if it returns later, the registry did not run.
    pub(crate) async fn tick(&self, wait: u64) {
        let real = match &self.source {
            Source::System { start, .. } => millis(start.elapsed()),
            Source::Manual(clock) => clock.now().mono,
        };
        let next = self.served.expect(real, wait);
        match &self.source {
            Source::System { start, .. } => {
                tokio::time::sleep_until((*start + Duration::from_millis(next)).into()).await;
            }
            Source::Manual(clock) => clock.reach(next).await,
        }
    }

    /// Waits for this work, and reads the clock during that time: a slow disk is no pause.
    pub(crate) async fn tick_until<T>(&self, work: impl Future<Output = T>) -> T {
        if let Source::Manual(_) = &self.source {
            return work.await; // no time passes for it
        }
        tokio::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.tick(TICK) => {}
            }
        }
    }

    /// Announces that the wait is about to change: a manual clock must not move before it has.
    pub(crate) fn unsettle(&self) {
        if let Source::Manual(clock) = &self.source {
            clock.hands().awaited = None;
        }
    }
}

/// Takes over the new distance between the two scales if the system's clock has stepped forward, or back by more than
/// [`TOLERATED_MS`], and returns the distance in use.
fn follow(offset: &AtomicU64, seen: u64) -> u64 {
    let known = offset.load(Ordering::Relaxed);
    if seen > known.saturating_add(STEP_MS) {
        return offset.fetch_max(seen, Ordering::Relaxed).max(seen);
    }
    if known <= seen.saturating_add(TOLERATED_MS) {
        return known;
    }
    if offset.compare_exchange(known, seen, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        tracing::warn!("the system's clock was set back by {}; timestamps follow it", describe(known - seen));
    }
    seen
}

/// Describes a length of time, given in milliseconds, for a message.
pub(crate) fn describe(ms: u64) -> String {
    let seconds = ms / 1000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600, seconds / 60);
    match () {
        () if days >= 2 => format!("{days} days"),
        () if hours >= 2 => format!("{hours} hours"),
        () if minutes >= 2 => format!("{minutes} minutes"),
        () => format!("{seconds} seconds"),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved. Clones show the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Manual>);

#[derive(Debug)]
struct Manual {
    hands: Mutex<Hands>,
    /// Notifies the registry that the clock has moved.
    moved: Notify,
    /// Notifies the mover that the registry waits again.
    settled: Condvar,
}

#[derive(Debug)]
struct Hands {
    now: Now,
    /// The time that the registry waits for; none while it is busy.
    awaited: Option<u64>,
    /// A registry uses this clock.
    is_watched: bool,
}

impl ManualClock {
    /// Makes a clock that shows `wall`, in milliseconds since 1970.
    #[must_use]
    pub fn new(wall: u64) -> Self {
        let hands = Hands { now: Now { mono: 0, wall }, awaited: None, is_watched: false };
        Self(Arc::new(Manual { hands: Mutex::new(hands), moved: Notify::new(), settled: Condvar::new() }))
    }

    /// Lets time pass while the registry runs: its background work up to that time is done when this
    /// returns. Must not be called on the runtime's only thread.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.settle(self.hands());
        let end = hands.now.mono + millis(by);
        while let Some(awaited) = hands.awaited.filter(|awaited| *awaited <= end) {
            hands.awaited = None;
            self.turn(&mut hands, awaited);
            hands = self.settle(hands);
        }
        self.turn(&mut hands, end);
    }

    /// Lets time pass while the registry stands still, as when its process is stopped.
    pub fn jump(&self, by: Duration) {
        let mut hands = self.hands();
        let end = hands.now.mono + millis(by);
        self.turn(&mut hands, end);
    }

    /// Steps the wall time forward without any time passing, as when the system's clock is set.
    pub fn step_forward(&self, by: Duration) {
        self.hands().now.wall += millis(by);
    }

    /// Steps the wall time back without any time passing.
    pub fn step_back(&self, by: Duration) {
        let mut hands = self.hands();
        hands.now.wall = hands.now.wall.saturating_sub(millis(by));
    }

    /// Returns the wall time in milliseconds since 1970.
    #[must_use]
    pub fn wall(&self) -> u64 {
        self.now().wall
    }

    /// Waits until the registry waits again. One that has ended never does.
    fn settle<'a>(&self, hands: MutexGuard<'a, Hands>) -> MutexGuard<'a, Hands> {
        let is_busy = |hands: &mut Hands| hands.is_watched && hands.awaited.is_none();
        let waited = self.0.settled.wait_timeout_while(hands, SETTLED, is_busy);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn turn(&self, hands: &mut Hands, mono: u64) {
        hands.now = Now { mono, wall: hands.now.wall_of(mono) };
        self.0.moved.notify_waiters();
    }

    fn now(&self) -> Now {
        self.hands().now
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reach(&self, mono: u64) {
        loop {
            let moved = self.0.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable(); // before the look, or a move between look and wait would be missed
            if self.is_reached(mono) {
                return;
            }
            moved.await;
        }
    }

    fn is_reached(&self, mono: u64) -> bool {
        let mut hands = self.hands();
        let is_reached = hands.now.mono >= mono;
        hands.is_watched = true;
        hands.awaited = (!is_reached).then_some(mono);
        self.0.settled.notify_all();
        is_reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_time_follows_a_step_forward_and_a_long_one_back() {
        let offset = AtomicU64::new(0);
        assert_eq!(follow(&offset, 1_000_000), 1_000_000);
        assert_eq!(follow(&offset, 1_000_000 + STEP_MS), 1_000_000, "rounding is not a step");
        assert_eq!(follow(&offset, 4_600_000), 4_600_000);
        assert_eq!(follow(&offset, 4_600_000 - TOLERATED_MS), 4_600_000, "it stays ahead");
        assert_eq!(follow(&offset, 4_600_000 - TOLERATED_MS - 1), 4_600_000 - TOLERATED_MS - 1);
        assert_eq!(follow(&offset, 1_000_000), 1_000_000);
        assert_eq!(follow(&offset, 1_000_000 + STEP_MS), 1_000_000);
    }

    #[test]
    fn wall_time_of_a_deadline_counts_from_the_same_reading() {
        let now = Now { mono: 5_000, wall: 1_005_000 };
        assert_eq!(now.wall_of(8_000), 1_008_000);
        assert_eq!(now.wall_of(2_000), 1_002_000);
    }

    #[tokio::test]
    async fn manual_clock_wakes_its_waiters() {
        let hand = ManualClock::new(1_000);
        let clock = Clock::manual(&hand);
        let waiting = tokio::spawn({
            let clock = clock.clone();
            async move { clock.tick(3_000).await }
        });
        tokio::task::yield_now().await;
        hand.jump(Duration::from_millis(2_999));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        hand.jump(Duration::from_millis(1));
        waiting.await.unwrap();
        assert_eq!(clock.now(), Now { mono: 3_000, wall: 4_000 });
    }
}

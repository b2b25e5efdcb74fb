//! The clock that also runs while the machine is suspended (CLOCK_BOOTTIME), for the fence: the registry's clock goes
//! on during that time. tokio's clock (CLOCK_MONOTONIC) does not count it.

use std::io;
use std::ops::Add;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

/// A moment, as the time since the machine was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BootTime(Duration);

impl BootTime {
    pub(super) fn now() -> Self {
        Self(clock_gettime(ClockId::CLOCK_BOOTTIME).map(Duration::from).unwrap_or_default()) // Linux always has it
    }

    pub(super) fn elapsed(self) -> Duration {
        Self::now().0.saturating_sub(self.0)
    }

    /// Returns how long ago this moment was, as a moment of tokio's clock. It moves into the past when the machine was
    /// suspended since.
    pub(super) fn to_instant(self) -> Instant {
        let now = Instant::now();
        now.checked_sub(self.elapsed()).unwrap_or(now) // the clock of Linux reaches below zero
    }

    /// Returns a moment of tokio's clock, if the machine is not suspended until then.
    pub(super) fn of(at: Instant) -> Self {
        // In this order: a wrapper that is preempted between the two gets an earlier moment, never a later one.
        let (boot, now) = (Self::now(), Instant::now());
        let past = now.saturating_duration_since(at);
        Self((boot.0 + at.saturating_duration_since(now)).saturating_sub(past))
    }

    /// In nanoseconds; never 0 while a program runs.
    pub(super) fn as_nanoseconds(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    pub(super) fn from_nanoseconds(nanoseconds: u64) -> Self {
        Self(Duration::from_nanos(nanoseconds))
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0.saturating_add(time))
    }
}

/// A timer on this clock. If its time comes while the machine is suspended, it fires when the machine wakes up.
pub(super) struct BootTimer(TimerFd);

impl BootTimer {
    pub(super) fn new() -> Result<Self, Errno> {
        let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
        TimerFd::new(TimerClock::CLOCK_BOOTTIME, flags).map(Self)
    }

    /// Sets when it becomes readable; never with none.
    pub(super) fn set(&self, at: Option<BootTime>) -> Result<(), Errno> {
        match at {
            Some(at) => {
                let at = Expiration::OneShot(TimeSpec::from_duration(at.0.max(Duration::from_nanos(1))));
                self.0.set(at, TimerSetTimeFlags::TFD_TIMER_ABSTIME)
            }
            None => self.0.unset(),
        }
    }
}

impl AsFd for BootTimer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for BootTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Waits for moments of this clock in the event loop.
pub(super) struct BootSleep {
    timer: AsyncFd<BootTimer>,
    at: Option<BootTime>,
    has_fired: bool,
}

impl BootSleep {
    #[expect(unsafe_code, reason = "tokio wants a promise about the descriptor")]
    pub(super) fn new() -> io::Result<Self> {
        // SAFETY: a BootTimer owns one descriptor from its creation to its end and never exchanges it.
        let timer = unsafe { AsyncFd::register_with_interest(BootTimer::new()?, Interest::READABLE) };
        Ok(Self { timer: timer?, at: None, has_fired: false })
    }

    /// Sets the moment to wait for.
    pub(super) fn set(&mut self, at: Option<BootTime>) -> io::Result<()> {
        if self.at != at {
            (self.at, self.has_fired) = (at, false);
            self.timer.get_ref().set(at)?;
        }
        Ok(())
    }

    /// Waits until the moment has come, once for each that was set.
    pub(super) async fn fired(&mut self) {
        while let Ok(mut ready) = self.timer.readable().await {
            ready.clear_ready();
            if !self.has_fired && self.at.is_some_and(|at| at <= BootTime::now()) {
                self.has_fired = true;
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn time_while_tokios_clock_stands_counts() {
        let (confirmed, instant) = (BootTime::now(), Instant::now());
        assert!(confirmed.to_instant() <= instant);
        std::thread::sleep(Duration::from_millis(50)); // tokio's clock is paused, as it is while a machine is suspended
        let moved = instant - confirmed.to_instant();
        assert!((Duration::from_millis(50)..Duration::from_secs(30)).contains(&moved), "{moved:?}");
        assert!(BootTime::of(instant + Duration::from_secs(9)) >= confirmed + Duration::from_secs(9));
    }

    #[tokio::test]
    async fn sleep_ends_at_its_moment() {
        let start = BootTime::now();
        let mut sleep = BootSleep::new().unwrap();
        sleep.set(Some(start + Duration::from_millis(30))).unwrap();
        sleep.fired().await;
        assert!((Duration::from_millis(30)..Duration::from_secs(30)).contains(&start.elapsed()));
        sleep.set(Some(start)).unwrap(); // over already
        sleep.fired().await;
    }
}

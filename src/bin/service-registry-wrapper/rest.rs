//! Waiting without waking up in between.
//!
//! tokio keeps timers in a wheel and turns it: who waits for seconds wakes up two or three times before they are over. A timer
//! of the kernel's, by the same clock, wakes the wrapper up once.

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Result;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// Waits so long from now on. To be called inside the event loop.
pub(super) fn rest(time: Duration) -> impl Future<Output = ()> {
    let alarm = (!time.is_zero()).then(|| alarm(time)); // the kernel takes zero for no timer
    async move {
        match alarm {
            None => {}
            Some(Ok(alarm)) if alarm.readable().await.is_ok() => {}
            Some(_) => sleep(time).await, // no descriptor is left
        }
    }
}

#[expect(unsafe_code, reason = "tokio takes no descriptor on trust")]
fn alarm(time: Duration) -> Result<AsyncFd<OwnedFd>> {
    let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    timer.set(Expiration::OneShot(TimeSpec::from_duration(time)), TimerSetTimeFlags::empty())?;
    // SAFETY: an OwnedFd is one descriptor from its creation to its end.
    Ok(unsafe { AsyncFd::register_with_interest(timer.into(), Interest::READABLE) }?)
}

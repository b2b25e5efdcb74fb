//! The state under its lock, the store behind it, and the task that looks at deadlines.
//!
//! Requests come in here one after the other: whatever they do, they do while they hold the lock, and never wait
//! there. What they changed goes to the store in the same order; the wait for it comes after.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::clock::{Clock, Now};
use super::expiry::GRACE_MS;
use super::state::State;
use super::store::Store;

/// How many expire before others get their turn.
const CHUNK: usize = 1_000;

/// How often the runtime may look at its sockets before somebody is expired: once to accept a connection, once to
/// read from it, once to handle what was read. A heartbeat that arrived in time is in time.
const LAST_LOOKS: usize = 3;

/// The shortest time between two rounds in the background, so that many deadlines make few rounds.
const ROUND_MS: u64 = 50;

/// Until when the background sleeps if there is nothing to wait for; somebody will wake it.
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// What requests work on.
#[derive(Debug)]
pub(crate) struct Engine {
    clock: Clock,
    inner: Mutex<Inner>,
    /// Somebody has a deadline before the one the background waits for.
    earlier: Notify,
}

#[derive(Debug)]
struct Inner {
    state: State,
    store: Store,
    /// The deadline the background waits for.
    awaited: Option<u64>,
}

impl Engine {
    pub(crate) fn new(clock: Clock, state: State, store: Store) -> Self {
        Self { clock, inner: Mutex::new(Inner { state, store, awaited: None }), earlier: Notify::new() }
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Does something to the state, and returns once it is kept.
    pub(crate) async fn run<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let (result, receipt) = {
            let mut inner = self.lock();
            let result = act(&mut inner.state);
            let changes = inner.state.take_changes();
            let receipt = inner.store.submit(changes);
            if inner.needs_earlier_look() {
                self.clock.unsettle();
                self.earlier.notify_one();
            }
            (result, receipt)
        };
        receipt.fulfilled().await;
        result
    }

    /// The same, after everyone who is overdue has been expired.
    pub(crate) async fn run_swept<T>(&self, now: Now, act: impl FnOnce(&mut State) -> T) -> T {
        let is_overdue = self.lock().state.is_overdue(now);
        if is_overdue {
            self.sweep(now).await;
        }
        self.run(|state| {
            state.sweep(now, usize::MAX); // under the same lock as what follows
            act(state)
        })
        .await
    }

    /// Expires everyone whose deadline has passed, in the background and for as long as it is polled.
    pub(crate) async fn keep_swept(&self) {
        let mut last_round = 0;
        loop {
            let next = self.await_next();
            let look = next.map_or(last_round + YEAR_MS, |deadline| (deadline + GRACE_MS).max(last_round + ROUND_MS));
            tokio::select! {
                () = self.earlier.notified() => continue,
                () = self.clock.reach(look) => {}
            }
            let now = self.clock.now();
            last_round = now.mono;
            // The grace is kept for everyone, not only for the one whose deadline ended the wait.
            let cutoff = now.mono.saturating_sub(GRACE_MS);
            self.sweep(Now { mono: cutoff, wall: now.wall_of(cutoff) }).await;
        }
    }

    async fn sweep(&self, now: Now) {
        for _ in 0..LAST_LOOKS {
            yield_now().await;
        }
        let chunk = |state: &mut State| {
            let is_done = state.sweep(now, CHUNK);
            state.has_looked(self.clock.now());
            is_done
        };
        while !self.run(chunk).await {
            yield_now().await;
        }
    }

    fn await_next(&self) -> Option<u64> {
        let mut inner = self.lock();
        inner.awaited = inner.state.next_deadline();
        inner.awaited
    }

    /// A panic while somebody held the lock is the end of a release build; elsewhere the others go on.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn needs_earlier_look(&self) -> bool {
        match (self.state.next_deadline(), self.awaited) {
            (Some(next), Some(awaited)) => next < awaited,
            (next, None) => next.is_some(),
            (None, _) => false,
        }
    }
}

//! The state under its lock, the disk behind it, and the task that looks at deadlines.
//!
//! Requests come in here one after the other: whatever they do, they do while they hold the lock, and never wait
//! there. What they changed goes to the store in the same order; the wait for it comes after.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::changes::Change;
use super::clock::{Clock, Now};
use super::expiry::GRACE_MS;
use super::objects::TenantId;
use super::state::State;
use super::store::keeper::Keeper;
use super::store::{Disk, Queue, Receipt, Store};

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
    shared: Arc<Shared>,
    pub(super) disk: Option<Arc<dyn Disk>>,
    keeper: Option<JoinHandle<()>>,
    /// Somebody has a deadline before the one the background waits for.
    earlier: Notify,
}

/// What requests share with the thread that commits.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Something was submitted, or nothing more will be.
    submitted: Condvar,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) store: Store,
    /// The deadline the background waits for.
    awaited: Option<u64>,
}

impl Engine {
    /// With the state as it was on the disk, if there is one.
    pub(crate) fn new(clock: Clock, state: State, disk: Option<Arc<dyn Disk>>) -> io::Result<Self> {
        let retention = state.retention;
        let store = if disk.is_some() { Store::Disk(Queue::default()) } else { Store::Memory };
        let inner = Mutex::new(Inner { state, store, awaited: None });
        let shared = Arc::new(Shared { inner, submitted: Condvar::new() });
        let start = |disk: &Arc<dyn Disk>| {
            let keeper = Keeper::new(shared.clone(), disk.clone(), clock.clone(), retention);
            thread::Builder::new().name("keeper".to_owned()).spawn(|| keeper.run())
        };
        let keeper = disk.as_ref().map(start).transpose()?;
        Ok(Self { clock, shared, disk, keeper, earlier: Notify::new() })
    }

    /// Makes tenants known that are expected. If that cannot be kept now, they are met when they come.
    pub(crate) fn meet(&self, now: Now, tenants: Vec<TenantId>) {
        drop(self.submit(false, |state| tenants.into_iter().for_each(|tenant| state.contact(now, tenant))));
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Does something to the state, and returns once what it changed is kept; or undone, for those who only look.
    pub(crate) async fn run<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.act(false, act).await.0
    }

    /// Changes the state. Returns once that is kept, and everything it was built upon; none if it had to be undone.
    pub(crate) async fn write<T>(&self, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        let (result, is_kept) = self.act(true, act).await;
        is_kept.then_some(result)
    }

    async fn act<T>(&self, all: bool, act: impl FnOnce(&mut State) -> T) -> (T, bool) {
        let (result, receipt) = self.submit(all, act);
        (result, receipt.fulfilled().await)
    }

    fn submit<T>(&self, all: bool, act: impl FnOnce(&mut State) -> T) -> (T, Receipt) {
        let mut inner = self.shared.lock();
        let result = act(&mut inner.state);
        let changes = inner.state.take_changes();
        if self.disk.is_some() {
            inner.state.will_keep(&changes);
        }
        let receipt = inner.submit(changes, all);
        if inner.needs_earlier_look() {
            self.clock.unsettle();
            self.earlier.notify_one();
        }
        drop(inner);
        if matches!(receipt, Receipt::Awaited(_)) {
            self.shared.submitted.notify_one();
        }
        (result, receipt)
    }

    /// Expires everyone who is overdue, as far as there is time. To be done before [`State::sweep`] under the lock.
    pub(crate) async fn sweep_first(&self, now: Now) {
        let is_overdue = self.shared.lock().state.is_overdue(now);
        if is_overdue {
            self.sweep(now).await;
        }
    }

    /// Looks at the state after everyone who is overdue has been expired.
    pub(crate) async fn run_swept<T>(&self, now: Now, act: impl FnOnce(&mut State) -> T) -> T {
        self.sweep_first(now).await;
        self.run(|state| {
            state.sweep(now, usize::MAX); // under the same lock as what follows
            act(state)
        })
        .await
    }

    /// Changes the state after everyone who is overdue has been expired.
    pub(crate) async fn write_swept<T>(&self, now: Now, act: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.sweep_first(now).await;
        self.write(|state| {
            state.sweep(now, usize::MAX);
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
        // What cannot be kept is undone, and would be swept again for as long as that lasts.
        while let (false, true) = self.act(false, chunk).await {
            yield_now().await;
        }
    }

    fn await_next(&self) -> Option<u64> {
        let mut inner = self.shared.lock();
        inner.awaited = inner.state.next_deadline();
        inner.awaited
    }
}

/// The keeper is waited for: what was acknowledged is on disk anyway, but its files must be free for the next one.
impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.lock().store.close();
        self.shared.submitted.notify_one();
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
    }
}

impl Shared {
    /// A panic while somebody held the lock is a mistake of that request; the others go on.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was submitted, or so long; says whether it was so long.
    pub(crate) fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, pause: Duration) -> (MutexGuard<'a, Inner>, bool) {
        let (inner, waited) = self.submitted.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner);
        (inner, waited.timed_out())
    }
}

impl Inner {
    fn submit(&mut self, changes: Vec<Change>, all: bool) -> Receipt {
        if !self.store.has_ended() || changes.is_empty() {
            return self.store.submit(changes, all);
        }
        self.state.undo(changes);
        self.state.has_kept(std::iter::empty());
        Receipt::Refused
    }

    fn needs_earlier_look(&self) -> bool {
        match (self.state.next_deadline(), self.awaited) {
            (Some(next), Some(awaited)) => next < awaited,
            (next, None) => next.is_some(),
            (None, _) => false,
        }
    }
}

//! The state under its lock, the disk behind it, and the task that looks at deadlines.
//!
//! Requests come in here one after the other: whatever they do, they do while they hold the lock, and never wait
//! there. What they changed goes to the store in the same order; the wait for it comes after.

mod commit;
mod event_reader;
mod pending;
#[cfg(test)]
mod reads_test;

pub(crate) use pending::{Pending, Scope};

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::yield_now;

use super::model::TenantId;
use super::model::{Clock, Now};
use super::state::GRACE_MS;

use super::model::TICK;
use super::state::State;
use super::store::{Backend, CommitTicket, Queue, Store};
use commit::Committer;

/// How many expire before others get their turn.
const CHUNK: usize = 1_000;

/// In milliseconds: so long before a deadline the background begins to look often.
const NEAR_MS: u64 = 1_500;

/// The longest time between two looks while somebody has a deadline, in milliseconds. A pause in between that is shorter, and
/// over long before any deadline, may pass unnoticed.
const FAR_MS: u64 = 1_000;

/// How long the background sleeps if nobody has a deadline, in milliseconds; who comes wakes it.
const YEAR_MS: u64 = 365 * 24 * 3_600_000;

/// What requests work on.
#[derive(Debug)]
pub(super) struct Engine {
    clock: Clock,
    shared: Arc<Shared>,
    pub(super) disk: Option<Arc<dyn Backend>>,
    keeper: Option<JoinHandle<()>>,
    /// Somebody has a deadline before the one the background waits for.
    earlier: Notify,
}

/// What a request waits for beside its own changes. Changes wait for all that was submitted before them in any case.
#[derive(Clone, Copy, Debug)]
enum Wait<'a> {
    Own,
    /// Everything before it.
    All,
    /// What it looked at.
    For(TenantId, Scope<'a>),
}

/// What requests share with the thread that commits.
#[derive(Debug)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    /// Something was submitted, or nothing more will be.
    submitted: Condvar,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) state: State,
    pub(super) store: Store,
    /// The deadline the background waits for.
    awaited: Option<u64>,
}

impl Engine {
    /// With the state as it was on the disk, if there is one.
    pub(super) fn new(clock: Clock, state: State, disk: Option<Arc<dyn Backend>>) -> io::Result<Self> {
        let retention = state.retention;
        let store = if disk.is_some() { Store::Backend(Queue::default()) } else { Store::Memory };
        let inner = Mutex::new(Inner { state, store, awaited: None });
        let shared = Arc::new(Shared { inner, submitted: Condvar::new() });
        let start = |disk: &Arc<dyn Backend>| {
            let keeper = Committer::new(shared.clone(), disk.clone(), clock.clone(), retention);
            thread::Builder::new().name("keeper".to_owned()).spawn(|| keeper.run())
        };
        let keeper = disk.as_ref().map(start).transpose()?;
        Ok(Self { clock, shared, disk, keeper, earlier: Notify::new() })
    }

    /// Makes tenants known that are expected. If that cannot be kept now, they are met when they come.
    pub(super) fn create_tenants(&self, now: Now, tenants: Vec<TenantId>) {
        let create_tenants =
            |state: &mut State| tenants.iter().for_each(|tenant| state.create_on_first_use(now, *tenant));
        drop(self.submit(Wait::Own, None, create_tenants));
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Looks at the state, and returns once everything it saw there is kept. What had to be undone it does not see: then
    /// it looks again. It may change what is not kept anyway, such as the time of a heartbeat.
    pub(super) async fn run<T>(&self, tenant: TenantId, scope: Scope<'_>, act: impl FnMut(&mut State) -> T) -> T {
        self.look(tenant, scope, None, act).await
    }

    /// The same, after everyone who is overdue has been expired.
    pub(super) async fn run_swept<T>(
        &self,
        now: Now,
        tenant: TenantId,
        scope: Scope<'_>,
        act: impl FnMut(&mut State) -> T,
    ) -> T {
        self.look(tenant, scope, Some(now), act).await
    }

    async fn look<T>(
        &self,
        tenant: TenantId,
        scope: Scope<'_>,
        swept: Option<Now>,
        mut act: impl FnMut(&mut State) -> T,
    ) -> T {
        loop {
            if let Some(now) = swept {
                self.sweep_first(now).await;
            }
            let (result, receipt) = self.submit(Wait::For(tenant, scope), swept, &mut act);
            let is_final = matches!(receipt, CommitTicket::Undone) || scope == Scope::Nothing;
            if receipt.fulfilled().await || is_final {
                return result;
            }
        }
    }

    /// Changes the state, after everyone who is overdue has been expired. Returns once that is kept, and everything it
    /// was built upon; none if it had to be undone.
    pub(super) async fn write_swept<T>(&self, now: Now, act: impl FnMut(&mut State) -> T) -> Option<T> {
        self.sweep_first(now).await;
        self.change(Wait::All, Some(now), act).await
    }

    /// The same without expiring anyone.
    #[cfg(test)]
    pub(super) async fn write<T>(&self, act: impl FnMut(&mut State) -> T) -> Option<T> {
        self.change(Wait::All, None, act).await
    }

    /// While the disk takes no writes, nothing that is changed is left in the state for others to see: first it is
    /// tried whether the disk takes writes again.
    async fn change<T>(&self, wait: Wait<'_>, swept: Option<Now>, mut act: impl FnMut(&mut State) -> T) -> Option<T> {
        for _ in 0..2 {
            let (result, receipt) = self.submit(wait, swept, &mut act);
            if !matches!(receipt, CommitTicket::Undone) {
                return receipt.fulfilled().await.then_some(result);
            }
            let again = self.shared.lock().store.try_again();
            self.shared.submitted.notify_one();
            if !again.fulfilled().await {
                break;
            }
        }
        None
    }

    fn submit<T>(&self, wait: Wait<'_>, swept: Option<Now>, mut act: impl FnMut(&mut State) -> T) -> (T, CommitTicket) {
        let mut inner = self.shared.lock();
        let Inner { state, store, .. } = &mut *inner;
        let is_failing = store.is_failing();
        if let Some(now) = swept.filter(|_| !is_failing) {
            state.sweep(now, usize::MAX); // under the same lock as what follows
        }
        let result = act(state);
        let changes = state.take_changes();
        let receipt = match wait {
            _ if is_failing && !changes.is_empty() => {
                state.undo(changes);
                CommitTicket::Undone
            }
            _ if !changes.is_empty() => {
                if self.disk.is_some() {
                    state.mark_pending(&changes);
                }
                store.submit(changes)
            }
            Wait::Own => CommitTicket::Kept,
            Wait::All => store.kept_so_far(),
            Wait::For(tenant, scope) => store.kept_of(tenant, scope),
        };
        if inner.needs_earlier_look() {
            self.clock.unsettle();
            self.earlier.notify_one();
        }
        drop(inner);
        if matches!(receipt, CommitTicket::Awaited(_)) {
            self.shared.submitted.notify_one();
        }
        (result, receipt)
    }

    /// Expires everyone who is overdue, as far as there is time. To be done before [`State::sweep`] under the lock.
    pub(super) async fn sweep_first(&self, now: Now) {
        let is_overdue = {
            let inner = self.shared.lock();
            inner.state.is_overdue(now) && !inner.store.is_failing()
        };
        if is_overdue {
            self.sweep(now).await;
        }
    }

    /// Expires everyone whose deadline has passed, in the background and for as long as it is polled.
    pub(super) async fn keep_swept(&self) {
        loop {
            let now = self.clock.now();
            let wait = self.await_next(now).map_or(YEAR_MS, |deadline| {
                let left = (deadline + GRACE_MS).saturating_sub(now.mono);
                left.saturating_sub(NEAR_MS).clamp(TICK, FAR_MS)
            });
            tokio::select! {
                () = self.earlier.notified() => continue,
                () = self.clock.tick(wait) => {}
            }
            let now = self.clock.now();
            // The grace is kept for everyone, not only for the one whose deadline ended the wait.
            let cutoff = now.mono.saturating_sub(GRACE_MS);
            self.clock.tick_until(self.sweep_first(Now { mono: cutoff, wall: now.wall_of(cutoff) })).await;
        }
    }

    async fn sweep(&self, now: Now) {
        // What cannot be kept is undone, and would be swept again for as long as that lasts.
        while let Some(false) = self.change(Wait::Own, None, |state| state.sweep(now, CHUNK)).await {
            yield_now().await;
        }
    }

    /// The deadline that the background waits for.
    fn await_next(&self, now: Now) -> Option<u64> {
        let mut inner = self.shared.lock();
        inner.state.refresh(now.mono + NEAR_MS);
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
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something was submitted, or so long; says whether it was so long.
    pub(super) fn wait<'a>(&self, inner: MutexGuard<'a, Inner>, pause: Duration) -> (MutexGuard<'a, Inner>, bool) {
        let (inner, waited) = self.submitted.wait_timeout(inner, pause).unwrap_or_else(PoisonError::into_inner);
        (inner, waited.timed_out())
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

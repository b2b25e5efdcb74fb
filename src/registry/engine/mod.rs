//! The engine: takes the lock on the state for each request, and has its changes committed.
//!
//! A request works under the lock and never waits there. Its changes are queued in the same order; the request waits
//! for their commit after it has released the lock.
//!
//! In reading order: this file is the way of a request; `shared` is what the lock guards; `pending` are the records
//! that wait for a commit; `commit` is the thread that commits, with `retention` of old events; `hub` wakes requests
//! that wait for a change; `expiry_task` expires leases; `event_reader` reads the feed; `health` tells
//! whether changes can be stored, and how much there is.

mod commit;
#[cfg(test)]
mod commit_test;
mod event_reader;
mod expiry_task;
mod health;
mod hub;
#[cfg(test)]
mod hub_test;
#[cfg(feature = "etcd")]
mod leave;
mod pending;
#[cfg(test)]
mod reads_test;
mod retention;
mod shared;

pub(crate) use hub::{Topic, Waiter};
pub(crate) use pending::Scope;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::counters::{Counters, EventLabels, ExpiryLabels};
use super::model::TenantId;
use super::model::{Change, Clock, Now, RecordChange, describe};
use super::state::State;
use super::store::Backend;
use commit::Committer;
use shared::{CommitTicket, Inner, Queue, Shared, Store};

/// The state, and what keeps it.
#[derive(Debug)]
pub(super) struct Engine {
    clock: Clock,
    retention: AtomicU64,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
    pub(super) disk: Option<Arc<dyn Backend>>,
    commit_thread: Mutex<Option<JoinHandle<()>>>,
    /// Whether the data has left for another process.
    has_left: watch::Sender<bool>,
    /// Notified when there is a deadline before the one that the expiry task waits for.
    earlier_deadline: Notify,
}

/// The changes that a request waits for. One that has changed something also waits for all changes before its own.
#[derive(Clone, Copy, Debug)]
enum Wait<'a> {
    /// Only its own changes, if it makes any.
    Own,
    /// All changes before it.
    All,
    /// The changes in a scope.
    For(TenantId, Scope<'a>),
}

impl Engine {
    /// Starts the commit thread, if there is a disk.
    pub(super) fn new(
        clock: Clock,
        state: State,
        disk: Option<Arc<dyn Backend>>,
        counters: Arc<Counters>,
    ) -> io::Result<Self> {
        let (retention, has_trimmed) = (state.retention, state.kept_since > 0);
        let store = if disk.is_some() { Store::Durable(Queue::default()) } else { Store::Memory };
        let inner = Mutex::new(Inner { state, store, awaited: None });
        let shared = Arc::new(Shared { inner, submitted: Condvar::new(), hub: Arc::default() });
        let start = |disk: &Arc<dyn Backend>| {
            let committer = Committer::new(shared.clone(), disk.clone(), clock.clone(), retention, counters.clone());
            thread::Builder::new().name("commit".to_owned()).spawn(|| committer.run())
        };
        let commit_thread = disk.as_ref().map(start).transpose()?;
        // Events may have been removed that are younger.
        let retention = AtomicU64::new(if has_trimmed { 0 } else { retention });
        let (commit_thread, has_left) = (Mutex::new(commit_thread), watch::Sender::new(false));
        Ok(Self { clock, retention, shared, counters, disk, commit_thread, has_left, earlier_deadline: Notify::new() })
    }

    /// Creates tenants. If that cannot be stored now, their first request creates them.
    pub(super) fn create_tenants(&self, now: Now, tenants: Vec<TenantId>) {
        let create_tenants =
            |state: &mut State| tenants.iter().for_each(|tenant| state.create_on_first_use(now, *tenant));
        drop(self.act_locked(Wait::Own, None, create_tenants));
    }

    /// Lets the ids of events follow the clock, which may have been ahead when the newest ones were made. If that
    /// cannot be stored now, the next event does so.
    pub(super) fn align_ids(&self, now: Now) {
        let (ahead, ticket) = self.act_locked(Wait::Own, None, |state| state.align_all_ids(now));
        drop(ticket);
        if let Some(ahead) = ahead {
            tracing::warn!(
                "the newest event is {} ahead of the clock: the clock was ahead then, or is behind now; timestamps \
                 follow it from now on",
                describe(ahead)
            );
        }
    }

    /// Returns whether the data has left for another process: what is read here may be out of date.
    pub(super) fn has_left(&self) -> bool {
        *self.has_left.borrow()
    }

    /// Waits until the data leaves for another process.
    pub(super) async fn left(&self) {
        let _ = self.has_left.subscribe().wait_for(|has_left| *has_left).await; // the sender is here
    }

    /// Returns as soon as the lock was free, which every request needs.
    pub(super) fn wait_responsive(&self) {
        drop(self.shared.lock());
    }

    /// Returns for how long no event is removed, in milliseconds.
    pub(super) fn retention(&self) -> u64 {
        self.retention.load(Ordering::Relaxed)
    }

    /// Removes events from before this time, in milliseconds since 1970, to make room.
    #[cfg(feature = "etcd")]
    pub(super) fn keep_since(&self, kept_since: u64) {
        let mut inner = self.shared.lock();
        if inner.state.kept_since < kept_since {
            inner.state.kept_since = kept_since;
            self.retention.store(0, Ordering::Relaxed); // the next time may come at any moment
            drop(inner.store.try_again());
            self.shared.submitted.notify_one();
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn now(&self) -> Now {
        self.clock.now()
    }

    /// Reads the state, and returns once every change that it saw is durable. If one is rolled back, it reads again. It
    /// may change what is never stored, such as the time of a heartbeat.
    pub(super) async fn read<T>(&self, tenant: TenantId, scope: Scope<'_>, act: impl FnMut(&mut State) -> T) -> T {
        self.read_after(tenant, scope, None, act).await
    }

    /// The same, after overdue leases have been expired.
    pub(super) async fn read_swept<T>(
        &self,
        now: Now,
        tenant: TenantId,
        scope: Scope<'_>,
        act: impl FnMut(&mut State) -> T,
    ) -> T {
        self.read_after(tenant, scope, Some(now), act).await
    }

    async fn read_after<T>(
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
            let (result, ticket) = self.act_locked(Wait::For(tenant, scope), swept, &mut act);
            let is_final = matches!(ticket, CommitTicket::RolledBack) || scope == Scope::Nothing;
            if ticket.durable().await || is_final {
                return result;
            }
        }
    }

    /// Changes the state, after overdue leases have been expired. Returns once the change is durable, and everything
    /// that it depends on; none if it was rolled back.
    pub(super) async fn write_swept<T>(&self, now: Now, act: impl FnMut(&mut State) -> T) -> Option<T> {
        self.sweep_first(now).await;
        self.change(Wait::All, Some(now), act).await
    }

    /// The same, without expiring leases.
    #[cfg(test)]
    pub(super) async fn write<T>(&self, act: impl FnMut(&mut State) -> T) -> Option<T> {
        self.change(Wait::All, None, act).await
    }

    /// While the disk fails, no change stays in the state where other requests could see it: the request first tries
    /// whether the disk accepts writes again.
    async fn change<T>(&self, wait: Wait<'_>, swept: Option<Now>, mut act: impl FnMut(&mut State) -> T) -> Option<T> {
        for _ in 0..2 {
            let (result, ticket) = self.act_locked(wait, swept, &mut act);
            if !matches!(ticket, CommitTicket::RolledBack) {
                return ticket.durable().await.then_some(result);
            }
            let again = self.shared.lock().store.try_again();
            self.shared.submitted.notify_one();
            if !again.durable().await {
                break;
            }
        }
        None
    }

    fn act_locked<T>(
        &self,
        wait: Wait<'_>,
        swept: Option<Now>,
        mut act: impl FnMut(&mut State) -> T,
    ) -> (T, CommitTicket) {
        let mut inner = self.shared.lock();
        let Inner { state, store, .. } = &mut *inner;
        let is_failing = store.is_failing();
        if let Some(now) = swept.filter(|_| !is_failing) {
            state.sweep(now, usize::MAX); // under the same lock as what follows
        }
        let result = act(state);
        for expired in state.take_expired() {
            let labels = ExpiryLabels { of: if expired.is_session { "session" } else { "service" } };
            let late = self.clock.now().mono.saturating_sub(expired.due);
            self.counters.expiries.get_or_create(&labels).observe(Duration::from_millis(late).as_secs_f64());
        }
        let changes = state.take_changes();
        if self.disk.is_none() {
            count_events(&self.counters, &changes);
        }
        // Without a disk they are durable at once; otherwise the commit thread wakes those who wait.
        let concerned = if self.disk.is_none() { self.shared.hub.concerned(&changes) } else { Vec::new() };
        let ticket = match wait {
            _ if is_failing && !changes.is_empty() => {
                state.undo(changes);
                CommitTicket::RolledBack
            }
            _ if !changes.is_empty() => {
                if self.disk.is_some() {
                    state.mark_pending(&changes);
                }
                store.submit(changes)
            }
            Wait::Own => CommitTicket::Durable,
            Wait::All => store.all_durable(),
            Wait::For(tenant, scope) => store.scope_durable(tenant, scope),
        };
        if inner.needs_earlier_wake_up() {
            self.clock.unsettle();
            self.earlier_deadline.notify_one();
        }
        drop(inner);
        hub::wake(&concerned);
        if matches!(ticket, CommitTicket::Awaited(_)) {
            self.shared.submitted.notify_one();
        }
        (result, ticket)
    }
}

/// Counts events that are durable.
fn count_events<'a>(counters: &Counters, changes: impl IntoIterator<Item = &'a Change>) {
    for Change { record, .. } in changes {
        if let RecordChange::Event { after: Some(event), .. } = record {
            let labels = EventLabels { r#type: event.kind.event_type().name() };
            counters.events.get_or_create(&labels).inc();
        }
    }
}

/// Waits for the commit thread: what was acknowledged is durable in any case, but the files must be free for the next
/// process.
impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.lock().store.close();
        self.shared.submitted.notify_one();
        if let Some(thread) = self.commit_thread.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = thread.join();
        }
    }
}

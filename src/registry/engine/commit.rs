//! The commit thread: commits the changes of many requests at once, and rolls them back if that fails.
//!
//! After a failed commit its changes, and all that wait behind them and may depend on them, are rolled back in reverse,
//! under the lock, and their requests are refused. The thread cannot know whether the failed commit is on disk. So the
//! next thing it writes is the state before that commit; until this has succeeded, it writes nothing else.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::pending::Pending;
use super::retention::Retention;
use super::shared::{Batch, Inner, Shared, Store};
use super::{count_events, hub};
use crate::registry::counters::Counters;
use crate::registry::model::{Change, Clock};
use crate::registry::store::{Backend, CommitError, RecordWrite};

/// The time between two attempts while the disk fails. Requests wait that long for their refusal.
const RETRY: Duration = Duration::from_millis(200);
/// The state of the thread.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    disk: Arc<dyn Backend>,
    /// The writes that restore the records of a failed commit, request by request, the last one first. A backend that
    /// divides them undoes whole requests.
    pending_undo: Vec<Vec<RecordWrite>>,
    failed: Option<Instant>,
    retention: Retention,
    counters: Arc<Counters>,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        disk: Arc<dyn Backend>,
        clock: Clock,
        retention: u64,
        counters: Arc<Counters>,
    ) -> Self {
        let retention = Retention::new(clock, retention);
        Self { shared, disk, pending_undo: Vec::new(), failed: None, retention, counters }
    }

    /// Commits until the store is closed and everything is on disk.
    pub(super) fn run(mut self) {
        let _end = RefuseOnExit(self.shared.clone());
        while let Some(group) = self.take() {
            if let Some(failed) = self.failed {
                thread::sleep(RETRY.saturating_sub(failed.elapsed()));
            }
            // A panic in the store is one more failure.
            let committed = catch_unwind(AssertUnwindSafe(|| self.commit(&group)));
            match committed
                .unwrap_or_else(|_| Err(io::Error::other("the store panicked; this is a defect in it").into()))
            {
                Ok(()) => self.acknowledge(group),
                Err(CommitError::Failed(error)) => self.roll_back(group, &error),
                // Dropping the batches refuses them, and the end of the thread refuses everything after.
                Err(CommitError::Fenced) => {
                    tracing::error!("another process has taken the data over; changes are refused until a restart");
                    drop(self.roll_back_all(group));
                    return;
                }
            }
        }
    }

    /// Waits for changes, or until old events are to be removed. Returns none once there will be no more changes.
    fn take(&self) -> Option<Vec<Batch>> {
        let pause = self.retention.pause();
        let mut inner = self.shared.lock();
        let mut is_time = self.retention.has_more();
        loop {
            let Store::Durable(queue) = &mut inner.store else { return None };
            if !queue.batches.is_empty() || is_time && !queue.closed {
                queue.in_flight = Some(std::mem::take(&mut queue.queued));
                queue.in_flight_since = Some(Instant::now());
                return Some(std::mem::take(&mut queue.batches));
            }
            if queue.closed {
                return None;
            }
            (inner, is_time) = self.shared.wait(inner, pause);
        }
    }

    /// Restores the records of a failed commit.
    fn undo_failed(&mut self) -> Result<(), CommitError> {
        if !self.pending_undo.is_empty() {
            self.disk.commit(&self.pending_undo)?;
            self.pending_undo.clear();
        }
        Ok(())
    }

    fn commit(&mut self, group: &[Batch]) -> Result<(), CommitError> {
        self.undo_failed()?;
        let requests = group.iter().map(|batch| batch.changes.iter().map(RecordWrite::encode).collect::<Vec<_>>());
        let requests: Vec<Vec<RecordWrite>> = requests.filter(|writes| !writes.is_empty()).collect();
        if requests.is_empty() { Ok(()) } else { self.commit_counted(&requests) }
    }

    fn commit_counted(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
        let started = Instant::now();
        let committed = self.disk.commit(requests);
        if committed.is_err() {
            self.counters.commit_failures.inc();
            return committed;
        }
        self.counters.commits.observe(started.elapsed().as_secs_f64());
        let (mut records, mut bytes) = (0_u32, 0);
        for RecordWrite { key, value } in requests.iter().flatten() {
            records += 1;
            bytes += key.len() + value.as_ref().map_or(0, Vec::len);
        }
        self.counters.commit_records.observe(records.into());
        self.counters.commit_bytes.inc_by(bytes as u64);
        committed
    }

    fn acknowledge(&mut self, group: Vec<Batch>) {
        // Restored records alone do not show that the disk accepts writes again.
        let has_written = group.iter().any(|batch| !batch.changes.is_empty());
        let had_failed = has_written && self.failed.take().is_some();
        let mut inner = self.shared.lock();
        let Inner { state, store, .. } = &mut *inner;
        let (mut committed, mut readers) = (None, Vec::new());
        if let Store::Durable(queue) = store {
            (committed, readers) = (queue.in_flight.take(), std::mem::take(&mut queue.readers));
            queue.in_flight_since = None;
            queue.failing = false;
            state.settle_except(queue.batches.iter().flat_map(|batch| &batch.changes));
        }
        drop(inner);
        count_events(&self.counters, group.iter().flat_map(|batch| &batch.changes));
        let concerned = self.shared.hub.concerned(group.iter().flat_map(|batch| &batch.changes));
        // First of all: what was kept of a list must not be answered after the request that has changed it.
        hub::wake(&concerned);
        for outcome in group.into_iter().map(|batch| batch.outcome).chain(readers) {
            let _ = outcome.send(true); // the request may be gone
        }
        drop(committed); // not under the lock: it may be large
        if had_failed {
            tracing::info!("{} accepts writes again", self.disk.name());
        }
        self.retention.remove_old(&self.shared, &*self.disk);
    }

    fn roll_back(&mut self, group: Vec<Batch>, error: &io::Error) {
        if self.pending_undo.is_empty() {
            self.pending_undo = group.iter().rev().map(undo_of).filter(|writes| !writes.is_empty()).collect();
            // Before the requests are refused: most failures do not repeat, and then no refused change is on disk.
            let undone = catch_unwind(AssertUnwindSafe(|| self.undo_failed()));
            drop(undone);
        }
        drop(self.roll_back_all(group));
        if self.failed.replace(Instant::now()).is_none() {
            tracing::error!(%error, "{} accepts no writes; changes are refused until it does", self.disk.name());
        }
    }
}

impl Committer {
    fn roll_back_all(&self, group: Vec<Batch>) -> Vec<oneshot::Sender<bool>> {
        undo(&mut self.shared.lock(), group)
    }
}

/// Returns the writes that restore the records of a batch.
fn undo_of(batch: &Batch) -> Vec<RecordWrite> {
    batch.changes.iter().rev().map(|change| RecordWrite::encode(&change.clone().inverse())).collect()
}

/// Rolls back these batches and all that wait behind them. A sender that is dropped tells its request.
fn undo(inner: &mut Inner, mut batches: Vec<Batch>) -> Vec<oneshot::Sender<bool>> {
    let mut outcomes = Vec::new();
    if let Store::Durable(queue) = &mut inner.store {
        queue.failing = true;
        (queue.in_flight, queue.in_flight_since) = (None, None);
        queue.queued = Pending::default();
        batches.append(&mut queue.batches);
        outcomes.append(&mut queue.readers);
    }
    let mut changes: Vec<Change> = Vec::new();
    for batch in batches {
        changes.extend(batch.changes);
        outcomes.push(batch.outcome);
    }
    inner.state.undo(changes);
    inner.state.settle_except(std::iter::empty());
    outcomes
}

/// Refuses everything that waits when the thread ends, also by a panic.
struct RefuseOnExit(Arc<Shared>);

impl Drop for RefuseOnExit {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        if let Store::Durable(queue) = &mut inner.store {
            queue.ended = true;
        }
        let outcomes = undo(&mut inner, Vec::new());
        drop(inner);
        drop(outcomes);
        if thread::panicking() {
            tracing::error!("the commit thread has panicked; changes are refused until a restart");
        }
    }
}

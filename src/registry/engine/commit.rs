//! The thread that commits, many requests at once, and what happens when it cannot.
//!
//! A commit that fails takes everything with it that was built upon it: its changes and all that wait behind them are
//! undone in reverse, under the lock, and their requests are told. Then it is tried again with whatever comes next.
//! Whether the failed commit is on disk cannot be known, so the first thing that is written afterwards is the state
//! before it; until that has succeeded nothing else is.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::pending::Pending;
use super::{Inner, Shared};
use crate::registry::model::Change;
use crate::registry::model::TenantId;
use crate::registry::model::Uuid1;
use crate::registry::model::{Clock, Now};
use crate::registry::state::first_kept;
use crate::registry::store::Write;
use crate::registry::store::record::event_key;
use crate::registry::store::{Backend, Batch, Store};

/// The shortest time between two attempts while the disk fails. Requests wait so long for their refusal.
const PAUSE: Duration = Duration::from_millis(200);
/// How many old events leave the disk after one commit.
const TRIM: usize = 2_000;
/// How often old events are looked for, as a part of the time they are kept.
const TRIMS: u64 = 200;
/// The shortest time between two looks while nothing is written.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread works with.
#[derive(Debug)]
pub(super) struct Committer {
    shared: Arc<Shared>,
    disk: Arc<dyn Backend>,
    clock: Clock,
    /// What puts things right after a commit that failed.
    debt: Vec<Write>,
    failed: Option<Instant>,
    /// The last reading, with a wall time that is believed.
    believed: Now,
    /// How long events are kept, and when the old ones are to be looked for next.
    retention: u64,
    next_trim: u64,
    /// There were more old events than leave at once.
    has_more: bool,
    /// Nothing is left before this.
    trimmed: Uuid1,
}

impl Committer {
    pub(super) fn new(shared: Arc<Shared>, disk: Arc<dyn Backend>, clock: Clock, retention: u64) -> Self {
        let (debt, trimmed, believed) = (Vec::new(), Uuid1::lowest(0), clock.now());
        Self { shared, disk, clock, debt, failed: None, believed, retention, next_trim: 0, has_more: false, trimmed }
    }

    /// Commits until the store is closed and everything is on disk.
    pub(super) fn run(mut self) {
        let _end = End(self.shared.clone());
        while let Some(group) = self.take() {
            if let Some(failed) = self.failed {
                thread::sleep(PAUSE.saturating_sub(failed.elapsed()));
            }
            // A mistake in the store is one more way to fail.
            let kept = catch_unwind(AssertUnwindSafe(|| self.keep(&group)));
            match kept.unwrap_or_else(|_| Err(io::Error::other("the store panicked; this is a mistake in it"))) {
                Ok(()) => self.acknowledge(group),
                Err(error) => self.roll_back(group, &error),
            }
        }
    }

    /// Waits for something to do, which may be no more than to look for old events. None when there will be nothing any
    /// more.
    fn take(&self) -> Option<Vec<Batch>> {
        let pause = Duration::from_millis(self.retention / TRIMS).max(LOOK);
        let mut inner = self.shared.lock();
        let mut is_time = self.has_more;
        loop {
            let Store::Backend(queue) = &mut inner.store else { return None };
            if !queue.batches.is_empty() || is_time && !queue.closed {
                queue.in_flight = Some(std::mem::take(&mut queue.queued));
                return Some(std::mem::take(&mut queue.batches));
            }
            if queue.closed {
                return None;
            }
            (inner, is_time) = self.shared.wait(inner, pause);
        }
    }

    /// Puts right what a commit that failed may have left.
    fn pay(&mut self) -> io::Result<()> {
        if !self.debt.is_empty() {
            self.disk.commit(&self.debt)?;
            self.debt.clear();
        }
        Ok(())
    }

    fn keep(&mut self, group: &[Batch]) -> io::Result<()> {
        self.pay()?;
        let writes: Vec<Write> = group.iter().flat_map(|batch| &batch.changes).map(Write::of).collect();
        if writes.is_empty() { Ok(()) } else { self.disk.commit(&writes) }
    }

    fn acknowledge(&mut self, group: Vec<Batch>) {
        // After a failure, that what was there before could be written says little about what comes next.
        let has_written = group.iter().any(|batch| !batch.changes.is_empty());
        let had_failed = has_written && self.failed.take().is_some();
        let mut inner = self.shared.lock();
        let Inner { state, store, .. } = &mut *inner;
        let (mut kept, mut readers) = (None, Vec::new());
        if let Store::Backend(queue) = store {
            (kept, readers) = (queue.in_flight.take(), std::mem::take(&mut queue.readers));
            queue.failing = false;
            state.mark_durable(queue.batches.iter().flat_map(|batch| &batch.changes));
        }
        drop(inner);
        for receipt in group.into_iter().map(|batch| batch.receipt).chain(readers) {
            let _ = receipt.send(true); // unless nobody waits any more
        }
        drop(kept); // not under the lock: it may be much
        if had_failed {
            tracing::info!("the disk takes writes again");
        }
        let now = self.believe();
        if now >= self.next_trim || self.has_more {
            self.next_trim = now + self.retention / TRIMS;
            if let Err(error) = self.trim(now) {
                tracing::warn!(%error, "old events could not be removed; they will be tried again");
            }
        }
    }

    fn roll_back(&mut self, group: Vec<Batch>, error: &io::Error) {
        if self.debt.is_empty() {
            let changes = group.iter().flat_map(|batch| &batch.changes);
            self.debt = changes.cloned().map(|change| Write::of(&change.inverse())).rev().collect();
            // Before anybody is told: most of what fails does so once, and then nothing that was refused is on disk.
            let paid = catch_unwind(AssertUnwindSafe(|| self.pay()));
            drop(paid);
        }
        let mut inner = self.shared.lock();
        let receipts = undo(&mut inner, group);
        drop(inner);
        drop(receipts);
        if self.failed.replace(Instant::now()).is_none() {
            tracing::error!(%error, "the disk takes no writes; requests that change something are refused until it does");
        }
    }

    /// A wall time that follows a step forward no faster than by as much time as has passed since. Whoever sets a clock a month
    /// ahead for a moment should not lose a month of events: what is removed is gone for good.
    fn believe(&mut self) -> u64 {
        let now = self.clock.now();
        let passed = now.mono.saturating_sub(self.believed.mono);
        let wall = now.wall.min(self.believed.wall.saturating_add(2 * passed));
        self.believed = Now { mono: now.mono, wall };
        wall
    }

    /// Removes events that are older than they are kept, a part at a time so that nobody waits for long. It goes on
    /// where it was last time: what was removed is in the way for a while.
    fn trim(&mut self, now: u64) -> io::Result<()> {
        self.has_more = false;
        let first = first_kept(now, self.retention);
        let tenants: Vec<TenantId> = self.shared.lock().state.tenants.keys().copied().collect();
        let mut old = Vec::new();
        for tenant in tenants {
            let (from, to) = (event_key(tenant, self.trimmed), event_key(tenant, first.max(self.trimmed)));
            self.disk.scan(&from, &to, &mut |key, _| {
                old.push(Write { key: key.to_vec(), value: None });
                Ok(old.len() < TRIM)
            })?;
            if old.len() >= TRIM {
                self.disk.commit(&old)?;
                self.has_more = true;
                return Ok(());
            }
        }
        if !old.is_empty() {
            self.disk.commit(&old)?;
        }
        self.trimmed = first;
        Ok(())
    }
}

/// Takes back what these changed, and all that waits behind them. A receipt that is dropped says so to its request.
fn undo(inner: &mut Inner, mut batches: Vec<Batch>) -> Vec<oneshot::Sender<bool>> {
    let mut receipts = Vec::new();
    if let Store::Backend(queue) = &mut inner.store {
        queue.failing = true;
        queue.in_flight = None;
        queue.queued = Pending::default();
        batches.append(&mut queue.batches);
        receipts.append(&mut queue.readers);
    }
    let mut changes: Vec<Change> = Vec::new();
    for batch in batches {
        changes.extend(batch.changes);
        receipts.push(batch.receipt);
    }
    inner.state.undo(changes);
    inner.state.mark_durable(std::iter::empty());
    receipts
}

/// When the thread ends, however it does, nobody waits for it any more.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        if let Store::Backend(queue) = &mut inner.store {
            queue.ended = true;
        }
        let receipts = undo(&mut inner, Vec::new());
        drop(inner);
        drop(receipts);
        if thread::panicking() {
            tracing::error!("the thread that writes has ended by a mistake; changes are refused until a restart");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    use std::task::{Context, Waker};

    use super::*;
    use crate::registry::engine::Engine;
    use crate::registry::engine::pending::Scope;
    use crate::registry::model::ManualClock;
    use crate::registry::model::Quota;
    use crate::registry::state::State;
    use crate::registry::store::EVENT;
    use crate::registry::store::{Visit, fjall, recovery};

    type Records = BTreeMap<Vec<u8>, Vec<u8>>;

    /// A disk in memory that can be told to fail, before or after it has written.
    #[derive(Debug, Default)]
    pub(crate) struct FaultyBackend {
        records: Mutex<Records>,
        pub(crate) failure_mode: Mutex<FailureMode>,
        commits: Mutex<usize>,
    }

    #[derive(Clone, Copy, Debug, Default, PartialEq)]
    pub(crate) enum FailureMode {
        #[default]
        Fine,
        Full,
        /// It is written, but says it is not.
        Lying,
        /// The same, but the next time it does what it should.
        LyingOnce,
        /// There is a mistake in how it writes.
        Panicking,
        /// There is one in how it reads.
        Blind,
    }

    impl FaultyBackend {
        pub(crate) fn set_failure(&self, failure_mode: FailureMode) {
            *self.failure_mode.lock().unwrap() = failure_mode;
        }

        fn visit<'a>(
            records: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>,
            visit: &mut Visit<'_>,
        ) -> io::Result<()> {
            for (key, value) in records {
                if !visit(key, value)? {
                    break;
                }
            }
            Ok(())
        }
    }

    impl Backend for FaultyBackend {
        fn commit(&self, writes: &[Write]) -> io::Result<()> {
            let failure_mode = *self.failure_mode.lock().unwrap();
            if failure_mode == FailureMode::Full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            assert_ne!(failure_mode, FailureMode::Panicking);
            let mut records = self.records.lock().unwrap();
            for Write { key, value } in writes {
                match value {
                    Some(value) => records.insert(key.clone(), value.clone()),
                    None => records.remove(key),
                };
            }
            *self.commits.lock().unwrap() += 1;
            if failure_mode == FailureMode::LyingOnce {
                self.set_failure(FailureMode::Fine);
            }
            if matches!(failure_mode, FailureMode::Lying | FailureMode::LyingOnce) {
                Err(io::ErrorKind::Interrupted.into())
            } else {
                Ok(())
            }
        }

        fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
            assert_ne!(*self.failure_mode.lock().unwrap_or_else(PoisonError::into_inner), FailureMode::Blind);
            Self::visit(self.records.lock().unwrap().range(from.to_vec()..to.to_vec()), visit)
        }

        fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
            Self::visit(self.records.lock().unwrap().range(from.to_vec()..to.to_vec()).rev(), visit)
        }

        fn dump(&self, visit: &mut Visit<'_>) -> io::Result<()> {
            Self::visit(self.records.lock().unwrap().iter(), visit)
        }
    }

    pub(crate) struct Bench {
        pub(crate) disk: Arc<FaultyBackend>,
        pub(crate) clock: Clock,
        pub(crate) engine: Engine,
    }

    impl Bench {
        pub(crate) fn new() -> Self {
            Self::keeping_events_for(u64::MAX, &ManualClock::new(1_700_000_000_000))
        }

        /// In milliseconds.
        pub(crate) fn keeping_events_for(retention: u64, hand: &ManualClock) -> Self {
            let disk = Arc::new(FaultyBackend::default());
            let clock = Clock::manual(hand);
            let mut state = recovery::state(&*disk, clock.now()).unwrap();
            state.retention = retention;
            let engine = Engine::new(clock.clone(), state, Some(disk.clone())).unwrap();
            engine.create_tenants(clock.now(), vec![1]);
            Self { disk, clock, engine }
        }

        pub(crate) async fn set(&self, id: &str, value: &str) -> bool {
            let value: Arc<str> = value.into();
            let set = |state: &mut State| state.set_value(self.clock.now(), 1, &Quota::default(), id, &value).unwrap();
            self.engine.write(set).await.is_some()
        }

        /// How many events are on the disk.
        fn events(&self) -> usize {
            self.disk.records.lock().unwrap().keys().filter(|key| key.first() == Some(&EVENT)).count()
        }

        pub(crate) async fn value(&self, id: &str) -> Option<String> {
            self.engine
                .run(1, Scope::Value(id), |state| state.value(1, id))
                .await
                .ok()
                .map(|value| value.value.to_string())
        }

        /// What the same disk would start with after a power cut now.
        pub(crate) fn after_restart(&self) -> String {
            let mut state = recovery::state(&*self.disk, self.clock.now()).unwrap();
            format!("{:?} {:?}", state.value(1, "key"), state.events(self.clock.now(), 1))
        }

        async fn now(&self) -> String {
            let now = self.clock.now();
            let look = |state: &mut State| format!("{:?} {:?}", state.value(1, "key"), state.events(now, 1));
            self.engine.run(1, Scope::Values, look).await
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_cannot_be_kept_is_undone_and_tried_again_later() {
        for failure_mode in [FailureMode::Full, FailureMode::Lying, FailureMode::Panicking] {
            let bench = Bench::new();
            assert!(bench.set("key", "old").await);
            let before = bench.now().await;
            bench.disk.set_failure(failure_mode);
            let (one, two, three) =
                tokio::join!(bench.set("key", "new"), bench.set("key", "newer"), bench.set("other", "x"));
            assert_eq!((one, two, three), (false, false, false), "{failure_mode:?}");
            assert_eq!(bench.now().await, before, "{failure_mode:?}");
            bench.disk.set_failure(FailureMode::Fine);
            assert!(bench.set("other", "y").await, "it is tried again by itself");
            assert_eq!(bench.value("other").await.as_deref(), Some("y"));
            assert_eq!(
                bench.after_restart(),
                bench.now().await,
                "{failure_mode:?}: what failed is not there after a restart"
            );
        }
    }

    /// It should not come to that, but if it does, nobody waits for a thread that is no more.
    #[tokio::test(flavor = "multi_thread")]
    async fn without_the_thread_changes_are_refused() {
        let disk = Arc::new(FaultyBackend::default());
        let clock = Clock::manual(&ManualClock::new(1_700_000_000_000));
        let state = recovery::state(&*disk, clock.now()).unwrap();
        disk.set_failure(FailureMode::Blind);
        let engine = Engine::new(clock.clone(), state, Some(disk.clone())).unwrap();
        engine.create_tenants(clock.now(), vec![1]); // after which it looks for old events
        let value: Arc<str> = "x".into();
        let set = |id: &'static str| {
            engine.write(|state| state.set_value(clock.now(), 1, &Quota::default(), id, &value).unwrap())
        };
        let timeouts = Duration::from_secs(20);
        let _ = tokio::time::timeout(timeouts, set("first")).await.unwrap(); // perhaps in time
        assert!(tokio::time::timeout(timeouts, set("second")).await.unwrap().is_none());
        assert!(engine.run(1, Scope::Values, |state| state.value(1, "second").is_err()).await, "it was undone");
    }

    /// What a wrong clock removes is gone for good. It is believed as time goes by.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_step_of_the_clock_removes_nothing_from_the_disk() {
        let hand = ManualClock::new(1_700_000_000_000);
        let bench = Bench::keeping_events_for(60_000, &hand);
        // Twice: after the second, what followed the first commit has been done.
        let change = async |value: &str| {
            for part in ["a", "b"] {
                assert!(bench.set("key", &format!("{value}-{part}")).await);
            }
            bench.events()
        };
        assert_eq!(change("first").await, 2);
        hand.step_forward(Duration::from_secs(31 * 86_400));
        assert_eq!(change("second").await, 4);
        hand.jump(Duration::from_secs(61));
        assert_eq!(change("third").await, 4, "the first two were old by any clock");
    }

    /// A request that finds its work done must not say so before that is kept.
    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_is_built_on_what_is_then_undone() {
        let bench = Bench::new();
        assert!(bench.set("key", "old").await);
        bench.disk.set_failure(FailureMode::Full);
        let (first, same) = tokio::join!(bench.set("key", "new"), bench.set("key", "new"));
        assert_eq!((first, same), (false, false));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn many_requests_share_a_commit_and_looking_costs_none() {
        let bench = Bench::new();
        assert!(bench.set("key", "x").await);
        let before = *bench.disk.commits.lock().unwrap();
        let ids: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
        let mut writes: Vec<_> = ids.iter().map(|id| Box::pin(bench.set(id, "x"))).collect();
        {
            let _held = bench.disk.failure_mode.lock().unwrap(); // the first commit does not get beyond this
            let mut context = Context::from_waker(Waker::noop());
            assert!(writes.iter_mut().all(|write| write.as_mut().poll(&mut context).is_pending()));
        }
        for write in writes {
            assert!(write.await);
        }
        let commits = *bench.disk.commits.lock().unwrap() - before;
        assert!(commits <= 2, "{commits} commits");
        bench.value("key").await;
        assert_eq!(*bench.disk.commits.lock().unwrap() - before, commits);
    }

    /// Whoever writes a lot and then nothing does not leave it on the disk for ever.
    #[tokio::test(flavor = "multi_thread")]
    async fn old_events_leave_the_disk_though_nothing_is_written() {
        let hand = ManualClock::new(1_700_000_000_000);
        let bench = Bench::keeping_events_for(60_000, &hand);
        let churn = |state: &mut State| {
            for number in 0..2 * TRIM + 1 {
                let value: Arc<str> = number.to_string().into();
                state.set_value(bench.clock.now(), 1, &Quota::default(), "key", &value).unwrap();
            }
        };
        assert!(bench.engine.write(churn).await.is_some());
        assert_eq!(bench.events(), 2 * TRIM + 1);
        hand.jump(Duration::from_secs(61));
        let start = Instant::now();
        while bench.events() > 0 {
            assert!(start.elapsed() < Duration::from_secs(20), "{} events are still there", bench.events());
            tokio::time::sleep(Duration::from_millis(10)).await; // the pause between two looks
        }
    }

    /// A day of changes, with events kept for an hour: an hour's worth is what there is, however long it goes on.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_day_of_churn_takes_an_hours_room() {
        const HOUR: u64 = 3_600_000;
        let folder = tempfile::tempdir().unwrap();
        let hand = ManualClock::new(1_700_000_000_000);
        let clock = Clock::manual(&hand);
        let disk = Arc::new(fjall::FjallBackend::open(folder.path()).unwrap());
        let mut state = recovery::state(&*disk, clock.now()).unwrap();
        state.retention = HOUR;
        state.recent = 100;
        let engine = Engine::new(clock.clone(), state, Some(disk.clone())).unwrap();
        engine.create_tenants(clock.now(), vec![1]);
        let mut sizes = Vec::new();
        for _ in 0..24 {
            for _ in 0..36 {
                let churn = |state: &mut State| {
                    for number in 0..30 {
                        let value: Arc<str> = number.to_string().into();
                        state.set_value(clock.now(), 1, &Quota::default(), "key", &value).unwrap();
                    }
                };
                assert!(engine.write(churn).await.is_some());
                hand.jump(Duration::from_millis(HOUR / 36));
            }
            let mut events = 0;
            disk.scan(&[EVENT], &[EVENT + 1], &mut |_, _| {
                events += 1;
                Ok(true)
            })
            .unwrap();
            sizes.push(events);
        }
        assert!(sizes.iter().all(|events| (900..1_300).contains(events)), "{sizes:?}");
        let in_memory = engine.run(1, Scope::Nothing, |state| state.tenants[&1].events.len()).await;
        assert!(in_memory <= 200, "{in_memory}");

        // And all of the last hour can be had, from both places.
        let feed = |limit| crate::registry::state::Feed { from: None, kind: None, strict: false, limit };
        let from = engine.run(1, Scope::Nothing, |state| state.feed_start(clock.now(), 1, &feed(1))).await.unwrap();
        let page = engine.feed(1, from, &feed(10_000)).await.unwrap().values;
        assert!((1_020..1_110).contains(&page.len()), "{}", page.len());
        assert!(page.windows(2).all(|pair| pair[0].id < pair[1].id));
        let part = engine.feed(1, page[50].id, &feed(10)).await.unwrap();
        assert_eq!((&part.values[..], part.next), (&page[50..60], Some(page[60].id.to_string())));
    }
}

//! The engine on a disk in memory that fails on demand.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use crate::registry::engine::Engine;
use crate::registry::engine::pending::Scope;
use crate::registry::model::Attribution;
use crate::registry::model::Quota;
use crate::registry::model::{Clock, ManualClock, Uuid1};
use crate::registry::state::State;
use crate::registry::store::record::{event_key, is_event};
use crate::registry::store::{Backend, CommitError, REMOVED_AT_A_TIME, RecordWrite, Visit, fjall, recovery};

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
    /// The data is another process's.
    Fenced,
    /// It writes, and reports an error.
    Lying,
    /// The same, once.
    LyingOnce,
    /// A commit panics.
    Panicking,
    /// A scan panics.
    Blind,
}

impl FaultyBackend {
    pub(crate) fn set_failure(&self, failure_mode: FailureMode) {
        *self.failure_mode.lock().unwrap() = failure_mode;
    }

    fn visit<'a>(records: impl Iterator<Item = (&'a Vec<u8>, &'a Vec<u8>)>, visit: &mut Visit<'_>) -> io::Result<()> {
        for (key, value) in records {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl Backend for FaultyBackend {
    fn commit(&self, requests: &[Vec<RecordWrite>]) -> Result<(), CommitError> {
        let failure_mode = *self.failure_mode.lock().unwrap();
        match failure_mode {
            FailureMode::Full => return Err(io::Error::from(io::ErrorKind::StorageFull).into()),
            FailureMode::Fenced => return Err(CommitError::Fenced),
            _ => {}
        }
        assert_ne!(failure_mode, FailureMode::Panicking);
        let mut records = self.records.lock().unwrap();
        for RecordWrite { key, value } in requests.iter().flatten() {
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
            Err(io::Error::from(io::ErrorKind::Interrupted).into())
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
        let engine = Engine::new(clock.clone(), state, Some(disk.clone()), Arc::default()).unwrap();
        engine.create_tenants(clock.now(), vec![1]);
        Self { disk, clock, engine }
    }

    pub(crate) async fn set(&self, id: &str, value: &str) -> bool {
        let value: Arc<str> = value.into();
        let set = |state: &mut State| {
            state.set_value(self.clock.now(), 1, &Quota::default(), id, &value, &Attribution::default()).unwrap()
        };
        self.engine.write(set).await.is_some()
    }

    /// The number of events on the disk.
    fn events(&self) -> usize {
        self.disk.records.lock().unwrap().keys().filter(|key| is_event(key)).count()
    }

    pub(crate) async fn value(&self, id: &str) -> Option<String> {
        self.engine
            .read(1, Scope::Value(id), |state| state.value(1, id))
            .await
            .ok()
            .map(|value| value.value.to_string())
    }

    /// The content of the same disk after a power cut now.
    pub(crate) fn after_restart(&self) -> String {
        let mut state = recovery::state(&*self.disk, self.clock.now()).unwrap();
        format!("{:?} {:?}", state.value(1, "key"), state.events(self.clock.now(), 1))
    }

    async fn now(&self) -> String {
        let now = self.clock.now();
        let look = |state: &mut State| format!("{:?} {:?}", state.value(1, "key"), state.events(now, 1));
        self.engine.read(1, Scope::Values, look).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_commit_is_rolled_back_and_retried() {
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

/// This should not happen, but if it does, no request waits for a thread that has ended.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_refused_without_the_commit_thread() {
    let disk = Arc::new(FaultyBackend::default());
    let hand = ManualClock::new(1_700_000_000_000);
    let clock = Clock::manual(&hand);
    let state = recovery::state(&*disk, clock.now()).unwrap();
    disk.set_failure(FailureMode::Blind);
    let engine = Engine::new(clock.clone(), state, Some(disk.clone()), Arc::default()).unwrap();
    engine.create_tenants(clock.now(), vec![1]);
    let value: Arc<str> = "x".into();
    let set = async |id: &str| {
        let set = engine.write(|state| {
            state.set_value(clock.now(), 1, &Quota::default(), id, &value, &Attribution::default()).unwrap()
        });
        tokio::time::timeout(Duration::from_secs(20), set).await.unwrap()
    };
    let mut number = 0;
    while set(&number.to_string()).await.is_some() {
        number += 1;
        hand.jump(Duration::from_secs(24 * 3600)); // after the next commit it looks for old events
    }
    let is_undone = engine.read(1, Scope::Values, |state| state.value(1, &number.to_string()).is_err());
    assert!(is_undone.await, "it was undone");
}

/// A wrong clock must not remove events for good, so it is trusted only as fast as time passes.
#[tokio::test(flavor = "multi_thread")]
async fn clock_step_removes_no_events() {
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
async fn no_response_depends_on_a_change_that_is_rolled_back() {
    let bench = Bench::new();
    assert!(bench.set("key", "old").await);
    bench.disk.set_failure(FailureMode::Full);
    let (first, same) = tokio::join!(bench.set("key", "new"), bench.set("key", "new"));
    assert_eq!((first, same), (false, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_share_a_commit_and_reads_need_none() {
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

/// Events of a client that writes much and then nothing do not stay on the disk for ever.
#[tokio::test(flavor = "multi_thread")]
async fn old_events_leave_the_disk_without_writes() {
    let hand = ManualClock::new(1_700_000_000_000);
    let bench = Bench::keeping_events_for(60_000, &hand);
    let churn = |state: &mut State| {
        for number in 0..2 * REMOVED_AT_A_TIME + 2 {
            let value: Arc<str> = number.to_string().into();
            state.set_value(bench.clock.now(), 1, &Quota::default(), "key", &value, &Attribution::default()).unwrap();
        }
    };
    assert!(bench.engine.write(churn).await.is_some());
    assert_eq!(bench.events(), 2 * REMOVED_AT_A_TIME + 2);
    hand.jump(Duration::from_secs(61));
    let start = Instant::now();
    while bench.events() > 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} events are still there", bench.events());
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause between two looks
    }
    // The newest stays on disk, though it is not listed: the next id must be above it after a restart, too.
    let mut state = recovery::state(&*bench.disk, bench.clock.now()).unwrap();
    state.retention = 60_000;
    assert_eq!((state.tenants[&1].events.len(), state.events(bench.clock.now(), 1).len()), (1, 0));
}

/// No request is needed, and markers before the removed events are refused.
#[cfg(feature = "etcd")]
#[tokio::test(flavor = "multi_thread")]
async fn events_leave_early_to_make_room() {
    const DAY: u64 = 86_400_000;
    let hand = ManualClock::new(1_700_000_000_000);
    let bench = Bench::keeping_events_for(DAY, &hand);
    assert!(bench.set("key", "1").await && bench.set("key", "2").await);
    hand.jump(Duration::from_secs(3_600));
    assert!(bench.set("key", "3").await && bench.set("key", "4").await);
    let first = bench.engine.shared.lock().state.tenants[&1].events[0].id;
    assert_eq!((bench.events(), bench.engine.retention()), (4, DAY));
    bench.engine.keep_since(bench.clock.now().wall - 1_800_000);
    let start = Instant::now();
    while bench.events() > 2 {
        assert!(start.elapsed() < Duration::from_secs(20), "{} events are still there", bench.events());
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause between two looks
    }
    assert!(bench.engine.shared.lock().state.has_lost(bench.clock.now(), 1, first));
    assert_eq!(bench.engine.retention(), 0, "streams look whether they have lost something");
    bench.engine.keep_since(0);
    assert!(bench.engine.shared.lock().state.has_lost(bench.clock.now(), 1, first), "what is gone stays gone");
}

/// A clock that is ahead for a moment removes nothing at once; what was made then leaves in time, with and without
/// further writes.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_clock_that_was_ahead_leave_by_the_time_that_passes() {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    let hand = ManualClock::new(1_700_000_000_000);
    let bench = Bench::keeping_events_for(60_000, &hand);
    // The second write begins after the look for old events that follows the first one.
    let write_twice = async || assert!(bench.set("key", "x").await && bench.set("key", "y").await);
    write_twice().await;
    hand.step_forward(YEAR);
    write_twice().await;
    hand.step_back(YEAR);
    hand.jump(Duration::from_secs(1));
    write_twice().await;
    assert_eq!(bench.events(), 6);
    hand.jump(Duration::from_secs(58));
    write_twice().await;
    assert_eq!(bench.events(), 8);
    hand.jump(Duration::from_secs(3));
    write_twice().await;
    assert_eq!(bench.events(), 4, "those of the last minute");

    hand.step_forward(YEAR);
    write_twice().await;
    let scale = || bench.engine.shared.lock().state.id_scale(1);
    let before = scale();
    hand.step_back(YEAR);
    hand.jump(Duration::from_secs(1));
    let start = Instant::now();
    while scale() == before || bench.events() > 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}, {} events", scale(), bench.events());
        if scale() != before {
            hand.jump(Duration::from_secs(1));
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // the pause between two looks
    }
}

/// A day of changes, with events kept for an hour: an hour's worth is what there is, however long it goes on.
#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_day_take_the_space_of_their_retention() {
    const HOUR: u64 = 3_600_000;
    let folder = tempfile::tempdir().unwrap();
    let hand = ManualClock::new(1_700_000_000_000);
    let clock = Clock::manual(&hand);
    let disk = Arc::new(fjall::FjallBackend::open(folder.path()).unwrap());
    let mut state = recovery::state(&*disk, clock.now()).unwrap();
    state.retention = HOUR;
    state.recent = 100;
    let engine = Engine::new(clock.clone(), state, Some(disk.clone()), Arc::default()).unwrap();
    engine.create_tenants(clock.now(), vec![1]);
    let mut sizes = Vec::new();
    for _ in 0..24 {
        for _ in 0..36 {
            let churn = |state: &mut State| {
                for number in 0..30 {
                    let value: Arc<str> = number.to_string().into();
                    state.set_value(clock.now(), 1, &Quota::default(), "key", &value, &Attribution::default()).unwrap();
                }
            };
            assert!(engine.write(churn).await.is_some());
            hand.jump(Duration::from_millis(HOUR / 36));
        }
        let mut events = 0;
        disk.scan(&event_key(1, Uuid1::lowest(0)), &event_key(2, Uuid1::lowest(0)), &mut |_, _| {
            events += 1;
            Ok(true)
        })
        .unwrap();
        sizes.push(events);
    }
    assert!(sizes.iter().all(|events| (900..1_300).contains(events)), "{sizes:?}");
    let in_memory = engine.read(1, Scope::Nothing, |state| state.tenants[&1].events.len()).await;
    assert!(in_memory <= 200, "{in_memory}");

    // And all of the last hour can be had, from both places.
    let feed = |limit| crate::registry::state::Feed { from: None, kind: None, strict: false, extended: false, limit };
    let from = engine.read(1, Scope::Nothing, |state| state.feed_start(clock.now(), 1, &feed(1))).await.unwrap();
    let page = engine.feed(1, from, &feed(10_000)).await.unwrap().values;
    assert!((1_020..1_110).contains(&page.len()), "{}", page.len());
    assert!(page.windows(2).all(|pair| pair[0].id < pair[1].id));
    let part = engine.feed(1, page[50].id, &feed(10)).await.unwrap();
    assert_eq!((&part.values[..], part.next), (&page[50..60], Some(page[60].id.to_string())));
}

#[tokio::test(flavor = "multi_thread")]
async fn fenced_backend_refuses_every_change_from_then_on() {
    let bench = Bench::new();
    assert!(bench.set("key", "old").await);
    bench.disk.set_failure(FailureMode::Fenced);
    assert!(!bench.set("key", "new").await);
    bench.disk.set_failure(FailureMode::Fine);
    assert!(!bench.set("key", "new").await, "the data is another process's for good");
    assert_eq!(bench.value("key").await.as_deref(), Some("old"));
}

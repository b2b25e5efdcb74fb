//! A start from a shard in a real etcd.

use std::sync::Arc;
use std::time::Instant;

use super::{take, wait};
use crate::registry::engine::{Engine, Scope};
use crate::registry::model::{Attribution, Clock, Keys, ManualClock, NewService, NewServiceKind, NewSession, Quota};
use crate::registry::model::{Listing, StringList, Uuid1};
use crate::registry::state::{Feed, State};
use crate::registry::store::etcd::client::fixture::Etcd;
use crate::registry::store::{Backend, recovery};

const AT_A_TIME: usize = 500;

/// Opens sessions with a service each, some of them in one commit.
async fn fill(engine: &Engine, clock: &Clock, sessions: usize) {
    let (quota, by) = (Quota::default(), Attribution::default());
    for first in (0..sessions).step_by(AT_A_TIME) {
        let add = |state: &mut State| {
            for number in first..(first + AT_A_TIME).min(sessions) {
                let metadata = StringList::new(["zone", "a"]);
                let new = NewSession { timeout: 30, metadata: metadata.clone() };
                let (session, _) = state.create_session(clock.now(), 1, &quota, &new, &by).unwrap();
                let kind = NewServiceKind::InSession(session.as_str().into());
                let id = format!("service-{number:06}").into();
                let new = NewService { id, kind, tags: StringList::new(["web", "http"]), metadata };
                state.create_service(clock.now(), 1, &quota, &new, &by).unwrap();
            }
        };
        assert!(engine.write(add).await.is_some());
    }
}

async fn load(sessions: usize) {
    let Some(etcd) = Etcd::start(&[]).await else { return };
    let clock = Clock::manual(&ManualClock::new(1_700_000_000_000));
    let store = Arc::new(take(&etcd.client()).await);
    let empty = || State::new(Arc::new(Keys::random().unwrap()));
    let engine = Engine::new(clock.clone(), empty(), Some(store.clone()), Arc::default()).unwrap();
    engine.create_tenants(clock.now(), vec![1, 2, 3]);
    let start = Instant::now();
    fill(&engine, &clock, sessions).await;
    eprintln!("{sessions} sessions with a service each: written in {:?}", start.elapsed());

    let store = Arc::new(take(&etcd.client()).await);
    let start = Instant::now();
    let mut keys = 0;
    wait(|| {
        store.scan(b"d", b"e", &mut |_, _| {
            Ok({
                keys += 1;
                true
            })
        })
    })
    .unwrap();
    eprintln!("{keys} records read in {:?}", start.elapsed());
    let (start, mut state) = (Instant::now(), empty());
    wait(|| recovery::load(&*store, clock.now(), &mut state)).unwrap();
    eprintln!("loaded in {:?}", start.elapsed());

    assert_eq!(keys, 3 + 4 * sessions); // and two events
    let loaded = Engine::new(clock.clone(), state, Some(store), Arc::default()).unwrap();
    let feed = async |engine: &Engine| {
        let feed = Feed { from: None, kind: None, strict: false, extended: true, limit: 10 * sessions };
        let read = |state: &mut State| state.feed_start(clock.now(), 1, &feed);
        let mut from = engine.read(1, Scope::Nothing, read).await.unwrap();
        let mut ids = Vec::new();
        loop {
            let Listing { values, next, .. } = engine.feed(1, from, &feed).await.unwrap();
            ids.extend(values.iter().map(|event| event.id));
            match next {
                Some(next) => from = Uuid1::parse(&next).unwrap(),
                None => break ids,
            }
        }
    };
    let (before, after) = (feed(&engine).await, feed(&loaded).await);
    assert_eq!(before.len(), 2 * sessions);
    assert!(before == after, "the feed goes on from old pages in etcd to memory");
    let services = |state: &mut State| {
        let tenant = &state.tenants[&1];
        (tenant.sessions.len(), tenant.services.values().map(|service| service.info.clone()).collect::<Vec<_>>())
    };
    let (before, after) =
        (engine.read(1, Scope::Nothing, services).await, loaded.read(1, Scope::Nothing, services).await);
    assert!(before == after && after.0 == sessions);
}

#[tokio::test(flavor = "multi_thread")]
async fn start_from_a_shard_finds_everything_and_the_whole_feed() {
    load(6_000).await; // more events than are kept in memory
}

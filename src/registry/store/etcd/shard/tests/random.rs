//! Registries that take the same shard from each other, in an etcd whose answers get lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::join_all;

use super::{take, wait};
use crate::registry::engine::Engine;
use crate::registry::model::{Attribution, Clock, EventKind, Keys, ManualClock, Quota};
use crate::registry::state::State;
use crate::registry::store::etcd::client::EtcdClient;
use crate::registry::store::etcd::client::fragile::Fragile;
use crate::registry::store::recovery;

const OWNERS: usize = 6;
const ROUNDS: usize = 25;

/// A request that sets a value which no other sets, and one that all set.
struct Request {
    value: String,
    owner: usize,
    round: usize,
    is_acknowledged: bool,
}

struct Trial {
    etcd: Arc<Fragile>,
    clock: Clock,
    random: Rng,
    requests: Vec<Request>,
}

impl Trial {
    fn new(seed: u64) -> Self {
        let clock = Clock::manual(&ManualClock::new(1_700_000_000_000));
        Self { etcd: Arc::default(), clock, random: Rng::with_seed(seed), requests: Vec::new() }
    }

    /// Takes the shard, and starts a registry with what is in it. Meanwhile no answers are lost.
    async fn start(&mut self) -> Engine {
        self.etcd.at_random(None);
        let mut store = take(&EtcdClient::fragile(&self.etcd)).await;
        store.time_limit = Duration::from_millis([0, 5, 50][self.random.usize(..3)]);
        let store = Arc::new(store);
        let mut state = State::new(Arc::new(Keys::random().unwrap()));
        wait(|| recovery::load(&*store, self.clock.now(), &mut state)).unwrap();
        let engine = Engine::new(self.clock.clone(), state, Some(store), Arc::default()).unwrap();
        self.etcd.at_random(Some(self.random.fork()));
        engine
    }

    /// Lets some requests be carried out at once.
    async fn round(&mut self, engine: &Engine, owner: usize, round: usize) {
        let first = self.requests.len();
        let values: Vec<_> = (0..self.random.usize(1..5)).map(|number| format!("{:06}", first + number)).collect();
        let clock = &self.clock;
        let set = |value: String| {
            let change = move |state: &mut State| {
                for id in [format!("/own/{value}"), "/shared".to_owned()] {
                    let (quota, by) = (Quota::default(), Attribution::default());
                    state.set_value(clock.now(), 1, &quota, &id, &value.clone().into(), &by).unwrap();
                }
            };
            async move { engine.write(change).await.is_some() }
        };
        let outcomes = join_all(values.iter().cloned().map(set)).await;
        for (value, is_acknowledged) in values.into_iter().zip(outcomes) {
            self.requests.push(Request { value, owner, round, is_acknowledged });
        }
    }

    /// Every acknowledged request is there, once; every other one is not, or it is the last one of its owner.
    async fn check(&mut self) {
        let engine = self.start().await;
        self.etcd.at_random(None);
        self.etcd.make_late();
        drop(engine);
        let (mut values, mut events) = (BTreeMap::new(), Vec::new());
        let store = take(&EtcdClient::fragile(&self.etcd)).await;
        let mut state = State::new(Arc::new(Keys::random().unwrap()));
        wait(|| recovery::load(&store, self.clock.now(), &mut state)).unwrap();
        for request in &self.requests {
            let there = state.value(1, &format!("/own/{}", request.value)).ok().map(|value| value.value.to_string());
            values.insert(request.value.clone(), there);
        }
        for event in state.events(self.clock.now(), 1) {
            let EventKind::ValueUpdate(update) = &event.kind else { panic!("{event:?}") };
            events.push((update.id.to_string(), update.new.to_string()));
        }
        let last_of = |owner| {
            let acknowledged = self.requests.iter().filter(|request| request.owner == owner && request.is_acknowledged);
            acknowledged.map(|request| request.round).max()
        };
        let (mut expected, mut shared) = (Vec::new(), None);
        for request in &self.requests {
            let is_there = values[&request.value].is_some();
            let may_be_there = request.is_acknowledged || last_of(request.owner) <= Some(request.round);
            assert!(is_there || !request.is_acknowledged, "{} is lost", request.value);
            assert!(!is_there || may_be_there, "{} was refused, and is there", request.value);
            if is_there {
                expected.extend(
                    [format!("/own/{}", request.value), "/shared".to_owned()].map(|id| (id, request.value.clone())),
                );
                shared = Some(request.value.clone());
            }
        }
        assert_eq!(events, expected);
        assert_eq!(state.value(1, "/shared").ok().map(|value| value.value.to_string()), shared);
    }
}

async fn trial(seed: u64) {
    let mut trial = Trial::new(seed);
    let mut before: Option<Engine> = None;
    for owner in 0..OWNERS {
        let engine = trial.start().await;
        if let Some(before) = &before {
            let first = trial.requests.len();
            trial.round(before, owner, 0).await;
            let mut late = trial.requests.drain(first..);
            assert!(late.all(|request| !request.is_acknowledged), "the owner before still writes");
        }
        for round in 0..ROUNDS {
            trial.round(&engine, owner, round).await;
        }
        before = Some(engine);
    }
    drop(before);
    trial.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_commit_is_lost_or_made_twice() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    join_all((seed..seed + 6).map(|seed| async move { tokio::spawn(trial(seed)).await.unwrap() })).await;
}

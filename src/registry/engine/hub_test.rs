//! Tests of the hub: who is woken by which change.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Engine, Topic, Waiter};
use crate::registry::model::{
    Attribution, Clock, Keys, ManualClock, NewService, NewServiceKind, Now, Quota, StringList, TenantId,
};
use crate::registry::state::State;

fn engine() -> Engine {
    let clock = Clock::manual(&ManualClock::new(1_700_000_000_000));
    let mut state = State::new(Arc::new(Keys::random().unwrap()));
    state.create_on_first_use(clock.now(), 1);
    Engine::new(clock, state, None, Arc::default()).unwrap()
}

async fn register(engine: &Engine, tenant: TenantId, id: &str, tag: &str) {
    let new = NewService {
        id: id.into(),
        tags: StringList::new([tag]),
        metadata: StringList::default(),
        kind: NewServiceKind::Standalone { timeout: 30 },
    };
    let now: Now = engine.now();
    let create = |state: &mut State| {
        state.create_on_first_use(now, tenant);
        state.create_service(now, tenant, &Quota::default(), &new, &Attribution::default()).unwrap();
    };
    engine.write_swept(now, create).await.unwrap();
}

/// Whether a change wakes this one: a change that has woken it has done so when the request is answered.
async fn is_woken(woken: impl Future<Output = ()>) -> bool {
    timeout(Duration::ZERO, woken).await.is_ok()
}

#[tokio::test]
async fn change_wakes_those_who_wait_for_its_topic_and_tenant() {
    let engine = engine();
    let topics = [Topic::Events, Topic::Services, Topic::Tag("web".into()), Topic::Tag("db".into())];
    let waiters: Vec<Waiter> = topics.map(|topic| engine.waiter(1, topic)).into();
    for (tenant, tag, expected) in [(1, "web", [true, true, true, false]), (2, "web", [false; 4])] {
        let woken: Vec<_> = waiters.iter().map(Waiter::woken).collect();
        register(&engine, tenant, "api-1", tag).await;
        for (woken, expected) in woken.into_iter().zip(expected) {
            assert_eq!(is_woken(woken).await, expected, "{tenant} {tag}");
        }
    }
}

#[tokio::test]
async fn nothing_remains_of_waiters_that_are_gone() {
    let engine = engine();
    let (first, second) = (engine.waiter(1, Topic::Events), engine.waiter(1, Topic::Events));
    drop(first);
    let woken = second.woken();
    register(&engine, 1, "api-1", "web").await;
    assert!(is_woken(woken).await);
    drop(second);
    assert_eq!(format!("{:?}", engine.shared.hub), "Hub(Mutex { data: {}, poisoned: false, .. })");
}

//! Wakes requests that wait for a change, once the change is durable.
//!
//! A request first asks to be woken, then reads, and then waits: no change between its reading and its waiting is
//! missed. While nobody waits, a commit looks at one empty table; a heartbeat changes nothing and does not come here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::Engine;
use crate::registry::model::{Change, RecordChange, Service, TenantId};

/// What a request waits for, in a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Topic {
    /// Any event.
    Events,
    /// A change of any service.
    Services,
    /// A change of a service that has this tag, before or after.
    Tag(Arc<str>),
}

/// The waiting requests.
#[derive(Debug, Default)]
pub(super) struct Hub(Mutex<HashMap<(TenantId, Topic), Bell>>);

/// Wakes the requests that wait for one topic.
#[derive(Debug, Default)]
struct Bell {
    notify: Arc<Notify>,
    waiters: usize,
}

/// The wish to be woken, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiter {
    hub: Arc<Hub>,
    of: (TenantId, Topic),
    notify: Arc<Notify>,
}

impl Waiter {
    /// Returns a future that is ready after the next change, counted from this call and not from the first poll.
    pub(crate) fn woken(&self) -> OwnedNotified {
        self.notify.clone().notified_owned()
    }

    /// Returns whether it waits for changes in this engine.
    #[cfg(feature = "dns")]
    pub(crate) fn is_of(&self, engine: &Engine) -> bool {
        Arc::ptr_eq(&self.hub, &engine.shared.hub)
    }
}

impl Engine {
    /// Lets the caller wait for changes of a topic.
    pub(crate) fn waiter(&self, tenant: TenantId, topic: Topic) -> Waiter {
        let (hub, of) = (self.shared.hub.clone(), (tenant, topic));
        let notify = {
            let mut bells = hub.lock();
            let bell = bells.entry(of.clone()).or_default();
            bell.waiters += 1;
            bell.notify.clone()
        };
        Waiter { hub, of, notify }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut bells = self.hub.lock();
        if let Some(bell) = bells.get_mut(&self.of) {
            bell.waiters -= 1;
            if bell.waiters == 0 {
                bells.remove(&self.of);
            }
        }
    }
}

impl Hub {
    /// Returns what to notify about these changes.
    pub(super) fn concerned<'a>(&self, changes: impl IntoIterator<Item = &'a Change>) -> Vec<Arc<Notify>> {
        let bells = self.lock();
        let mut concerned: Vec<Arc<Notify>> = Vec::new();
        if bells.is_empty() {
            return concerned; // the common case
        }
        let mut add = |bell: Option<&Bell>| {
            let Some(Bell { notify, .. }) = bell else { return };
            if !concerned.iter().any(|known| Arc::ptr_eq(known, notify)) {
                concerned.push(notify.clone());
            }
        };
        for Change { tenant, record } in changes {
            match record {
                RecordChange::Event { .. } => add(bells.get(&(*tenant, Topic::Events))),
                RecordChange::Service { before, after, .. } => {
                    add(bells.get(&(*tenant, Topic::Services)));
                    tags(before).chain(tags(after)).for_each(|tag| add(bells.get(&(*tenant, Topic::Tag(tag.into())))));
                }
                // Services may be listed with the timeout of their session.
                RecordChange::Session { before: Some(_), after: Some(_), .. } => {
                    let lists = bells.iter().filter(|((of, topic), _)| of == tenant && *topic != Topic::Events);
                    lists.for_each(|(_, bell)| add(Some(bell)));
                }
                RecordChange::Session { .. } | RecordChange::Tenant { .. } | RecordChange::Value { .. } => {}
            }
        }
        concerned
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, Topic), Bell>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tags(service: &Option<Service>) -> impl Iterator<Item = &str> {
    service.iter().flat_map(|service| service.info.tags.iter())
}

/// Wakes the waiting requests. Not called under the lock on the state: there may be thousands.
pub(super) fn wake(concerned: &[Arc<Notify>]) {
    for notify in concerned {
        notify.notify_waiters();
    }
}

//! The records that are changed but not yet on disk, and the scope of a read, which may wait for some of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::registry::model::TenantId;
use crate::registry::model::{Change, RecordChange, Resource};

/// The records that a read depends on, all of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// None that can be rolled back.
    Nothing,
    Session(&'a str),
    Sessions,
    /// `with_session`: also the session that keeps it alive.
    Service {
        id: &'a str,
        with_session: bool,
    },
    Services {
        with_sessions: bool,
    },
    Overview,
    Value(&'a str),
    Values,
}

/// The ids of the records that queued changes name.
#[derive(Debug, Default)]
pub(crate) struct Pending(HashMap<(TenantId, Resource), HashSet<Arc<str>>>);

impl Pending {
    pub(crate) fn add(&mut self, changes: &[Change]) {
        for Change { tenant, record } in changes {
            let (resource, id) = match record {
                RecordChange::Session { id, .. } => (Resource::Session, Arc::from(id.as_str())),
                RecordChange::Service { id, .. } => (Resource::Service, id.clone()),
                RecordChange::Value { id, .. } => (Resource::ConfigurationValue, id.clone()),
                RecordChange::Tenant { .. } | RecordChange::Event { .. } => continue, // the feed ends before the first pending event itself
            };
            self.0.entry((*tenant, resource)).or_default().insert(id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether a read of this scope sees any of them.
    pub(crate) fn has(&self, tenant: TenantId, scope: Scope<'_>) -> bool {
        if self.is_empty() {
            return false; // the common case
        }
        let ids = |resource: Resource| self.0.get(&(tenant, resource));
        let has = |resource: Resource, id: &str| ids(resource).is_some_and(|ids| ids.contains(id));
        let has_any = |resource: Resource| ids(resource).is_some();
        match scope {
            Scope::Nothing => false,
            Scope::Session(id) => has(Resource::Session, id),
            Scope::Sessions => has_any(Resource::Session),
            Scope::Service { id, with_session } => {
                has(Resource::Service, id) || (with_session && has_any(Resource::Session))
            }
            Scope::Services { with_sessions } => {
                has_any(Resource::Service) || (with_sessions && has_any(Resource::Session))
            }
            Scope::Overview => has_any(Resource::Session) || has_any(Resource::Service),
            Scope::Value(id) => has(Resource::ConfigurationValue, id),
            Scope::Values => has_any(Resource::ConfigurationValue),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::SessionId;

    #[test]
    fn read_sees_the_records_of_its_own_scope_and_tenant() {
        let mut pending = Pending::default();
        let has = |pending: &Pending, scope| pending.has(1, scope);
        assert!(!has(&pending, Scope::Values));
        pending
            .add(&[Change { tenant: 1, record: RecordChange::Value { id: "key".into(), before: None, after: None } }]);
        for scope in [Scope::Value("key"), Scope::Values] {
            assert!(has(&pending, scope) && !pending.has(2, scope), "{scope:?}");
        }
        for scope in [
            Scope::Nothing,
            Scope::Value("other"),
            Scope::Service { id: "key", with_session: false },
            Scope::Services { with_sessions: false },
            Scope::Session("key"),
            Scope::Sessions,
            Scope::Overview,
        ] {
            assert!(!has(&pending, scope), "{scope:?}");
        }
    }

    #[test]
    fn service_with_its_session_waits_for_that_session() {
        let mut pending = Pending::default();
        let id = SessionId::random(|| 'a');
        pending.add(&[Change { tenant: 1, record: RecordChange::Session { id, before: None, after: None } }]);
        for with in [false, true] {
            let scopes = [Scope::Service { id: "api", with_session: with }, Scope::Services { with_sessions: with }];
            assert_eq!(scopes.map(|scope| pending.has(1, scope)), [with, with]);
        }
        for scope in [Scope::Session("seaaaaaaaa"), Scope::Sessions, Scope::Overview] {
            assert!(pending.has(1, scope), "{scope:?}");
        }
        assert!(!pending.has(1, Scope::Session("sebbbbbbbb")));
    }
}

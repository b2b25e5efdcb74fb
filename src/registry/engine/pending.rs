//! Which records are changed by what is not on disk yet, and which of them an answer is built upon.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::registry::http::ServiceShape;
use crate::registry::model::TenantId;
use crate::registry::model::{Change, RecordChange};
use crate::registry::state::Resource;

/// The records that a read looks at, all of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope<'a> {
    /// None that a commit could undo.
    Nothing,
    Session(&'a str),
    Sessions,
    Service(&'a str),
    Services,
    Overview,
    Value(&'a str),
    Values,
}

/// Records that are about to be kept: the ids that changes in a queue name.
#[derive(Debug, Default)]
pub(crate) struct Pending(HashMap<(TenantId, Resource), HashSet<Arc<str>>>);

impl Pending {
    pub(crate) fn add(&mut self, changes: &[Change]) {
        for Change { tenant, slot } in changes {
            let (resource, id) = match slot {
                RecordChange::Session { id, .. } => (Resource::Session, Arc::from(id.as_str())),
                RecordChange::Service { id, .. } => (Resource::Service, id.clone()),
                RecordChange::Value { id, .. } => (Resource::ConfigurationValue, id.clone()),
                RecordChange::Tenant { .. } | RecordChange::Event { .. } => continue, // the feed knows for itself where it ends
            };
            self.0.entry((*tenant, resource)).or_default().insert(id);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a read of this scope sees any of them, where services are represented so.
    pub(crate) fn has(&self, tenant: TenantId, scope: Scope<'_>, shape: ServiceShape) -> bool {
        if self.is_empty() {
            return false; // as nearly always
        }
        let ids = |resource: Resource| self.0.get(&(tenant, resource));
        let has = |resource: Resource, id: &str| ids(resource).is_some_and(|ids| ids.contains(id));
        let has_any = |resource: Resource| ids(resource).is_some();
        let of_session = || shape == ServiceShape::Union && has_any(Resource::Session);
        match scope {
            Scope::Nothing => false,
            Scope::Session(id) => has(Resource::Session, id),
            Scope::Sessions => has_any(Resource::Session),
            Scope::Service(id) => has(Resource::Service, id) || of_session(),
            Scope::Services => has_any(Resource::Service) || of_session(),
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
    fn a_read_sees_the_records_of_its_own_scope_and_tenant() {
        let mut pending = Pending::default();
        let has = |pending: &Pending, scope| pending.has(1, scope, ServiceShape::Form);
        assert!(!has(&pending, Scope::Values));
        pending.add(&[Change { tenant: 1, slot: RecordChange::Value { id: "key".into(), before: None, after: None } }]);
        for scope in [Scope::Value("key"), Scope::Values] {
            assert!(has(&pending, scope) && !pending.has(2, scope, ServiceShape::Form), "{scope:?}");
        }
        for scope in [
            Scope::Nothing,
            Scope::Value("other"),
            Scope::Service("key"),
            Scope::Services,
            Scope::Session("key"),
            Scope::Sessions,
            Scope::Overview,
        ] {
            assert!(!has(&pending, scope), "{scope:?}");
        }
    }

    #[test]
    fn a_service_that_shows_a_part_of_its_session_is_built_upon_it() {
        let mut pending = Pending::default();
        let id = SessionId::random(|| 'a');
        pending.add(&[Change { tenant: 1, slot: RecordChange::Session { id, before: None, after: None } }]);
        let seen = |scope| [ServiceShape::Form, ServiceShape::Union].map(|shape| pending.has(1, scope, shape));
        for scope in [Scope::Service("api"), Scope::Services] {
            assert_eq!(seen(scope), [false, true], "{scope:?}");
        }
        for scope in [Scope::Session("seaaaaaaaa"), Scope::Sessions, Scope::Overview] {
            assert_eq!(seen(scope), [true, true], "{scope:?}");
        }
        assert_eq!(seen(Scope::Session("sebbbbbbbb")), [false, false]);
    }
}

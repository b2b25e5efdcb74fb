//! A lasting change, as data: it is applied to memory, handed to the store and, if the store fails, rolled back
//! in reverse order.

use std::sync::Arc;

use super::event::Event;
use super::ids::{SessionId, TenantId};
use super::records::{Service, Session, TenantRecord};
use super::uuid::Uuid1;

/// A change of one record, with its value before and after.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    pub(crate) record: RecordChange,
}

/// The record: none before when it is created, none after when it is removed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RecordChange {
    /// The tenant itself.
    Tenant {
        before: Option<TenantRecord>,
        after: Option<TenantRecord>,
    },
    Session {
        id: SessionId,
        before: Option<Session>,
        after: Option<Session>,
    },
    Service {
        id: Arc<str>,
        before: Option<Service>,
        after: Option<Service>,
    },
    Value {
        id: Arc<str>,
        before: Option<Arc<str>>,
        after: Option<Arc<str>>,
    },
    Event {
        id: Uuid1,
        before: Option<Event>,
        after: Option<Event>,
    },
}

impl Change {
    /// Returns the change that undoes this one.
    pub(crate) fn inverse(self) -> Self {
        let record = match self.record {
            RecordChange::Tenant { before, after } => RecordChange::Tenant { before: after, after: before },
            RecordChange::Session { id, before, after } => RecordChange::Session { id, before: after, after: before },
            RecordChange::Service { id, before, after } => RecordChange::Service { id, before: after, after: before },
            RecordChange::Value { id, before, after } => RecordChange::Value { id, before: after, after: before },
            RecordChange::Event { id, before, after } => RecordChange::Event { id, before: after, after: before },
        };
        Self { tenant: self.tenant, record }
    }
}

//! What happened.

use std::sync::Arc;

use super::attribution::Cause;
use crate::registry::model::records::{ServiceInfo, SessionInfo};

/// The content of an event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum EventKind {
    Join(Arc<ServiceInfo>),
    Remove(Arc<ServiceInfo>),
    ServiceTimeout(Arc<ServiceInfo>),
    /// A session expired, with the services in it, sorted by id.
    SessionTimeout(Box<[Arc<ServiceInfo>]>),
    ValueUpdate(Box<ValueUpdate>),
    ValueRemove(Box<ValueRemove>),
    ServiceUpdate(Box<ServiceUpdated>),
    SessionCreate(Arc<SessionInfo>),
    SessionUpdate(Arc<SessionInfo>),
    SessionRemove(Arc<SessionInfo>),
}

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Join,
    Remove,
    ServiceTimeout,
    SessionTimeout,
    ValueUpdate,
    ValueRemove,
    ServiceUpdate,
    SessionCreate,
    SessionUpdate,
    SessionRemove,
}

impl EventType {
    /// In the order of the API's error message about types.
    pub(crate) const ALL: [Self; 10] = [
        Self::Join,
        Self::Remove,
        Self::ServiceTimeout,
        Self::SessionTimeout,
        Self::ValueUpdate,
        Self::ValueRemove,
        Self::ServiceUpdate,
        Self::SessionCreate,
        Self::SessionUpdate,
        Self::SessionRemove,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Join => "service.join",
            Self::Remove => "service.remove",
            Self::ServiceTimeout => "service.timeout",
            Self::SessionTimeout => "services.timeout",
            Self::ValueUpdate => "configuration_value.update",
            Self::ValueRemove => "configuration_value.remove",
            Self::ServiceUpdate => "service.update",
            Self::SessionCreate => "session.create",
            Self::SessionUpdate => "session.update",
            Self::SessionRemove => "session.remove",
        }
    }

    /// Returns whether only requests that ask for more types than the original had see it.
    pub(crate) fn is_extended(self) -> bool {
        matches!(self, Self::ServiceUpdate | Self::SessionCreate | Self::SessionUpdate | Self::SessionRemove)
    }
}

impl EventKind {
    pub(crate) fn event_type(&self) -> EventType {
        match self {
            Self::Join(_) => EventType::Join,
            Self::Remove(_) => EventType::Remove,
            Self::ServiceTimeout(_) => EventType::ServiceTimeout,
            Self::SessionTimeout(_) => EventType::SessionTimeout,
            Self::ValueUpdate(_) => EventType::ValueUpdate,
            Self::ValueRemove(_) => EventType::ValueRemove,
            Self::ServiceUpdate(_) => EventType::ServiceUpdate,
            Self::SessionCreate(_) => EventType::SessionCreate,
            Self::SessionUpdate(_) => EventType::SessionUpdate,
            Self::SessionRemove(_) => EventType::SessionRemove,
        }
    }

    /// Returns the cause, as far as the type tells it: a service is removed for one of several.
    pub(crate) fn cause(&self) -> Option<Cause> {
        Some(match self {
            Self::Join(_) => Cause::Registered,
            Self::ServiceTimeout(_) | Self::SessionTimeout(_) => Cause::Expired,
            Self::ValueUpdate(update) if update.old.is_none() => Cause::Set,
            Self::ValueUpdate(_) | Self::ServiceUpdate(_) | Self::SessionUpdate(_) => Cause::Updated,
            Self::ValueRemove(_) => Cause::Removed,
            Self::SessionCreate(_) => Cause::Opened,
            Self::Remove(_) | Self::SessionRemove(_) => return None,
        })
    }
}

/// A service was changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceUpdated {
    pub(crate) old: Arc<ServiceInfo>,
    pub(crate) new: Arc<ServiceInfo>,
}

/// A configuration value got a new value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueUpdate {
    pub(crate) id: Arc<str>,
    pub(crate) old: Option<Arc<str>>,
    pub(crate) new: Arc<str>,
}

/// A configuration value was removed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueRemove {
    pub(crate) id: Arc<str>,
    pub(crate) old: Arc<str>,
}

//! The error of the domain: why the registry refuses a request. `http::error` decides about its form on the
//! wire.

use crate::registry::model::{Quota, Resource, Uuid1};

/// A kind of thing that can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Session,
    Service,
    ConfigurationValue,
    /// A heartbeat token that is not, or no longer, the lease's.
    HeartbeatMarker,
}

/// A request that was understood and is refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DomainError {
    /// A part of the request is wrong in another way than the following ones.
    Malformed(String),
    /// A field of the body breaks a rule.
    Field { field: &'static str, rule: String },
    /// A part of the path or query breaks a rule.
    Parameter { name: &'static str, rule: String },
    /// `limit` is not a number, or out of range.
    PageLimit(String),
    /// The id is in use.
    ServiceExists(String),
    /// The tenant has as many as it may.
    Quota { resource: Resource, most: u64 },
    /// No record has this key.
    Missing { kind: Kind, key: String },
    /// Events after the marker may have been removed. A follower can start again at `start`.
    MarkerExpired { start: Uuid1 },
    /// The credentials are unknown, or not for this tenant.
    Unauthorized(&'static str),
    /// The request was not processed, because too many others are.
    Busy(&'static str),
}

impl DomainError {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }

    /// Refuses one more record if the tenant has `count` already.
    pub(super) fn check_quota(quota: &Quota, resource: Resource, count: usize) -> Result<(), Self> {
        let most = quota.of(resource);
        let fits = u64::try_from(count).is_ok_and(|count| count < most);
        if fits { Ok(()) } else { Err(Self::Quota { resource, most }) }
    }

    pub(super) fn missing(kind: Kind, key: &str) -> Self {
        Self::Missing { kind, key: key.to_owned() }
    }
}

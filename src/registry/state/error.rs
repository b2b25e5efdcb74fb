//! Why the registry refuses to do something: the one error of the domain. What it looks like on the wire is decided
//! in `http::faults`.

/// What an account may only have so many of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Session,
    Service,
    ConfigurationValue,
}

impl Resource {
    /// The name in `GET /limits` and in the fault.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Service => "service",
            Self::ConfigurationValue => "configuration_value",
        }
    }
}

/// What can be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Session,
    Service,
    ConfigurationValue,
    /// A heartbeat token that is not, or no longer, the holder's.
    HeartbeatMarker,
}

/// A request that was understood and will not be carried out. Nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum DomainError {
    /// A part of the request is wrong in a way of its own.
    Malformed(String),
    /// A field of the body breaks a rule.
    Field { field: &'static str, rule: String },
    /// A part of the path or query breaks a rule.
    Parameter { name: &'static str, rule: String },
    /// `limit` is not a number, or out of range.
    PageLimit(String),
    /// The id is taken.
    ServiceExists(String),
    /// The account has as many as it may.
    Quota { resource: Resource, most: u64 },
    /// There is none with this key.
    Missing { kind: Kind, key: String },
    /// Who asks is not known, or not for this tenant.
    Unauthorized(&'static str),
    /// It was not looked at, since too much else is.
    Busy(&'static str),
}

impl DomainError {
    pub(crate) fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }

    pub(super) fn missing(kind: Kind, key: &str) -> Self {
        Self::Missing { kind, key: key.to_owned() }
    }
}

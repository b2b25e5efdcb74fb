//! Every error of the registry, and its form on the wire.

use std::borrow::Cow;

use hyper::StatusCode;
use serde_json::{Value, json};

use super::public_url::PublicUrl;
use super::response::Answer;
use crate::registry::state::{DomainError, Kind};
use crate::wire::Fault;

/// Why a request fails.
#[derive(Debug)]
pub(super) enum HttpError {
    /// The domain refuses it.
    Refused(DomainError),
    /// There is no such resource.
    RouteNotFound { requested: String },
    /// The registry is no node of a cluster.
    NoCluster,
    /// It is not meant for an open registry: it comes from a web page, or names a foreign host.
    Forbidden(Cow<'static, str>),
    /// The tenant has sent too many requests.
    RateReached { limit: u64, period: u64, path: String },
    /// The body has 5000 bytes or more.
    TooLarge,
    /// The body did not arrive in time.
    TooSlow,
    /// The body breaks its transfer encoding.
    Garbled,
    /// The disk accepts no writes. Nothing has changed.
    StorageUnavailable,
    /// The tenant has too many long responses under way.
    Busy,
    /// No node answers for the tenant at present. What was asked may have been done.
    #[cfg(feature = "etcd")]
    NoOwner,
}

#[cfg(feature = "etcd")]
impl HttpError {
    /// It claims to come from another node, and does not.
    pub(super) const FORGED: Self = Self::Forbidden(Cow::Borrowed("The seal of the forwarding node is not valid"));
}

impl From<DomainError> for HttpError {
    fn from(refusal: DomainError) -> Self {
        Self::Refused(refusal)
    }
}

/// The faults of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FaultType {
    BadRequest,
    ServiceWithThisIdExists,
    InvalidLimit,
    LimitReached,
    RateLimitReached,
    Unauthorized,
    Forbidden,
    NotFound,
    MarkerExpired,
    SystemFailure,
}

impl FaultType {
    fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "badRequest",
            Self::ServiceWithThisIdExists => "serviceWithThisIdExists",
            Self::InvalidLimit => "invalidLimit",
            Self::LimitReached => "limitReached",
            Self::RateLimitReached => "rateLimitReached",
            Self::Unauthorized => "unauthorizedError",
            Self::Forbidden => "forbiddenError",
            Self::NotFound => "notFoundError",
            Self::MarkerExpired => "markerExpired",
            Self::SystemFailure => "systemFailureError",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MarkerExpired => StatusCode::GONE,
            Self::SystemFailure => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

impl HttpError {
    /// Returns the response; `id` is its id, and `base` the registry's own address as the client sees it.
    pub(super) fn answer(self, id: &str, base: &PublicUrl<'_>) -> Answer {
        let is_garbled = matches!(self, Self::Garbled); // the start of the next request cannot be found
        let is_deferred_login = matches!(self, Self::Refused(DomainError::Busy(_)));
        let is_busy = is_deferred_login || matches!(self, Self::Busy);
        #[cfg(feature = "etcd")]
        let is_busy = is_busy || matches!(self, Self::NoOwner);
        let marker = match &self {
            Self::Refused(DomainError::MarkerExpired { start }) => Some(start.to_string()),
            _ => None,
        };
        let (kind, message, details) = match self {
            Self::Garbled => message_as_details(FaultType::BadRequest, "Invalid transfer encoding".into()),
            Self::TooLarge => return Answer::empty(StatusCode::PAYLOAD_TOO_LARGE).closing(),
            Self::TooSlow => return Answer::empty(StatusCode::REQUEST_TIMEOUT).closing(),
            Self::Refused(refusal) => describe(refusal),
            Self::RouteNotFound { requested } => {
                let details = json!({ "requested_path": requested });
                (FaultType::NotFound, "The page cannot be found.".into(), details)
            }
            Self::NoCluster => {
                message_as_details(FaultType::NotFound, "This registry is not part of a cluster.".into())
            }
            Self::StorageUnavailable | Self::Busy => {
                message_as_details(FaultType::SystemFailure, "Internal Error".into())
            } // the log has the reason
            #[cfg(feature = "etcd")]
            Self::NoOwner => message_as_details(FaultType::SystemFailure, "Internal Error".into()),
            Self::Forbidden(why) => (FaultType::Forbidden, "forbidden".into(), why.into()),
            Self::RateReached { limit, period, path } => {
                let details =
                    format!("Limit of {limit} requests in {period} seconds for path \"{path}\" has been reached");
                (FaultType::RateLimitReached, "Rate limit has been reached.".into(), details.into())
            }
        };
        let code = kind.status();
        let fault =
            Fault { kind: kind.name().into(), code: code.as_u16(), message, details, txn_id: id.into(), marker };
        let answer = Answer::json(code, &fault);
        if is_busy {
            return if is_deferred_login { answer.retry().closing() } else { answer.retry() };
        }
        if kind != FaultType::Unauthorized {
            return if is_garbled { answer.closing() } else { answer };
        }
        // The Twisted client does not read this response. Twisted before 14 then receives nothing more on the
        // connection, on which the client repeats the request after its login.
        answer.challenge(base).closing()
    }
}

fn describe(refusal: DomainError) -> (FaultType, String, Value) {
    match refusal {
        DomainError::Malformed(text) => message_as_details(FaultType::BadRequest, text),
        DomainError::Field { field, rule } => {
            (FaultType::BadRequest, format!("Validation error for key '{field}'"), rule.into())
        }
        DomainError::Parameter { name, rule } => {
            (FaultType::BadRequest, format!("Invalid value for '{name}' query string parameter"), rule.into())
        }
        DomainError::PageLimit(rule) => (FaultType::InvalidLimit, "Invalid limit".into(), rule.into()),
        DomainError::ServiceExists(id) => {
            message_as_details(FaultType::ServiceWithThisIdExists, format!("Service with id {id} already exists."))
        }
        DomainError::Quota { resource, most } => {
            let name = resource.name();
            let details = format!("Limit for resource {name} has been reached. Maximum allowed objects: {most}");
            (FaultType::LimitReached, "Resource limit has been reached".into(), details.into())
        }
        DomainError::Missing { kind, key } => {
            let kind = match kind {
                Kind::Session => "Session",
                Kind::Service => "Service",
                Kind::ConfigurationValue => "ConfigurationValue",
                Kind::HeartbeatMarker => "HeartbeatMarker",
            };
            let details = format!("Object \"{kind}\" with key \"{key}\" does not exist");
            (FaultType::NotFound, "object does not exist".into(), details.into())
        }
        DomainError::MarkerExpired { start } => {
            let details = format!("Events after the marker may have been removed. Start again with the marker {start}");
            (FaultType::MarkerExpired, "The marker is too old".into(), details.into())
        }
        DomainError::Busy(why) => (FaultType::SystemFailure, "Service Unavailable".into(), why.into()),
        DomainError::Unauthorized(why) => (FaultType::Unauthorized, "forbidden".into(), why.into()),
    }
}

fn message_as_details(kind: FaultType, text: String) -> (FaultType, String, Value) {
    let details = Value::String(text.clone());
    (kind, text, details)
}

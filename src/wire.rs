//! The JSON of the v1.0 API: one definition, used by the client and by the registry.
//!
//! Only (de)serialisation. Field order is the order on the wire. Fields that a registry of the original
//! kind may leave out have defaults, so a client reads both generations of the API.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The default port of a registry.
pub const DEFAULT_PORT: u16 = 7117;

/// The limits of the API. Lengths count UTF-16 code units, as those of the original service did.
pub mod limits {
    use std::ops::RangeInclusive;

    /// Heartbeat timeouts, in seconds.
    pub const HEARTBEAT_TIMEOUT: RangeInclusive<u32> = 3..=120;
    /// Characters of a service id.
    pub const SERVICE_ID: RangeInclusive<usize> = 3..=65;
    /// Tags of a service.
    pub const TAGS: usize = 10;
    /// Characters of a tag.
    pub const TAG: RangeInclusive<usize> = 1..=55;
    /// Pairs of metadata.
    pub const PAIRS: usize = 20;
    /// Characters of a key or value of metadata.
    pub const KEY_OR_VALUE: RangeInclusive<usize> = 1..=255;
    /// Characters of a configuration value's id.
    pub const CONFIGURATION_ID: RangeInclusive<usize> = 3..=500;
    /// Characters of a configuration value.
    pub const CONFIGURATION_VALUE: RangeInclusive<usize> = 1..=1024;
    /// Characters of the reason for which something is removed.
    pub const REASON: usize = 255;
    /// Characters of the name of a client's program in an event.
    pub const AGENT: usize = 100;
    /// Entries of a page of a list.
    pub const PAGE: RangeInclusive<usize> = 1..=1000;
    /// Entries of a page if the request names no number.
    pub const DEFAULT_PAGE: usize = 100;
    /// Bytes of a request body.
    pub const BODY: usize = 4999;
}

/// Pairs that describe a session or a service: at most 20, keys and values of 1 to 255 characters.
pub type Metadata = BTreeMap<String, String>;

/// A group of services with common heartbeats: they expire together when the heartbeats stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Made by the registry: `se` and 8 letters or digits.
    pub id: String,
    /// The creator's description.
    #[serde(default)]
    pub metadata: Metadata,
    /// Seconds (3 to 120) without a heartbeat after which the session is expired.
    pub heartbeat_timeout: u32,
    /// Time of the last accepted heartbeat in milliseconds since 1970, or none before the first.
    #[serde(default)]
    pub last_seen: Option<u64>,
}

/// A registered service, in the form of the generation of the API it was created with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Service {
    /// Lives as long as the heartbeats of its session.
    InSession(SessionService),
    /// Has heartbeats of its own.
    Own(OwnService),
}

/// A service that belongs to a session (the API of 2012).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionService {
    /// 3 to 65 of letters, digits, `_`, `-`, `.`; unique in the account.
    pub id: String,
    /// Its session.
    pub session_id: String,
    /// At most 10 labels of 1 to 55 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The service's description.
    #[serde(default)]
    pub metadata: Metadata,
}

/// A service with heartbeats of its own (the API of 2013).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnService {
    /// 3 to 65 of letters, digits, `_`, `-`, `.`; unique in the account.
    pub id: String,
    /// At most 10 labels of 1 to 55 characters.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The service's description.
    #[serde(default)]
    pub metadata: Metadata,
    /// Seconds (3 to 120) without a heartbeat after which the service is expired.
    pub heartbeat_timeout: u32,
    /// Time of the last accepted heartbeat in milliseconds since 1970, or none before the first.
    #[serde(default)]
    pub last_seen: Option<u64>,
}

/// The token of a heartbeat; the response contains the next one.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// A version-1 UUID; opaque to clients.
    pub token: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive() // the token suffices to keep the session alive
    }
}

/// One entry of `GET /views/overview`: a session and its services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The session.
    pub session: Session,
    /// Its services, by id.
    pub services: Vec<SessionService>,
}

/// A configuration value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationValue {
    /// `key`, or `/namespace/.../key`.
    pub id: String,
    /// 1 to 1024 characters.
    pub value: String,
}

/// An event of the account. A registry of the original kind, or with `--strict-feed`, gives none of the members after
/// the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event<P = Value> {
    /// A version-1 UUID; the `marker` to continue from.
    pub id: String,
    /// Milliseconds since 1970.
    pub timestamp: u64,
    /// `service.join`, `services.timeout`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// Depends on the type: an object, or for `services.timeout` an array of services.
    pub payload: P,
    /// Why it happened: `registered`, `deregistered`, `session removed`, `replaced`, `expired`, `updated`, `set`,
    /// `removed` or `opened`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The reason that the request gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Who made the request; none for an expiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<EventBy>,
    /// For an expiry: when the holder was last heard, in milliseconds since 1970. None if the registry has not heard it
    /// since its last start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heard: Option<u64>,
}

/// The client whose request caused an event, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EventBy {
    /// Its user; none in a registry without users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Its address, as in the registry's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its program, as it names itself in `User-Agent`: at most 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The entries, in ascending order of their ids (events: oldest first).
    pub values: Vec<T>,
    /// The position of the page.
    pub metadata: PageMetadata,
}

/// The position of a page in its list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageMetadata {
    /// Entries in this page.
    pub count: usize,
    /// The most entries this page could have held.
    pub limit: usize,
    /// The marker as given.
    #[serde(default)]
    pub marker: Option<String>,
    /// The first id of the next page; none on the last page.
    #[serde(default)]
    pub next_marker: Option<String>,
    /// URL of the next page; none on the last page.
    #[serde(default)]
    pub next_href: Option<String>,
}

/// `GET /limits`: the limits of the account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most objects of each kind.
    pub resource: BTreeMap<String, u64>,
    /// Rate limits, by path expression.
    pub rate: BTreeMap<String, RateLimit>,
}

/// A rate limit, and its use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Requests allowed in a window.
    pub limit: u64,
    /// Requests counted in the current window.
    pub used: u64,
    /// In words: `24.0 hours`.
    pub window: String,
}

/// The body of every response that is not a success.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// `badRequest`, `notFoundError`, `serviceWithThisIdExists`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status again.
    pub code: u16,
    /// The fault in words.
    pub message: String,
    /// The rule that was broken. A string, except for a missing page, where it is an object.
    #[serde(default)]
    pub details: Value,
    /// The id of the response, as in the `X-Response-Id` header.
    #[serde(rename = "txnId", default)]
    pub txn_id: String,
    /// Only of `markerExpired`: the marker to start again with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

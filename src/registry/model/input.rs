//! The content of a request that creates or changes something, checked against the rules of the API.

use std::sync::Arc;

use super::string_list::StringList;

#[derive(Clone, Debug)]
pub(crate) struct NewSession {
    /// In seconds.
    pub(crate) timeout: u8,
    pub(crate) metadata: StringList,
}

/// Changes to a session; members that are `None` stay unchanged.
#[derive(Clone, Debug)]
pub(crate) struct SessionUpdate {
    /// In seconds.
    pub(crate) timeout: Option<u8>,
    pub(crate) metadata: Option<StringList>,
}

#[derive(Clone, Debug)]
pub(crate) struct NewService {
    pub(crate) id: Arc<str>,
    pub(crate) tags: StringList,
    pub(crate) metadata: StringList,
    pub(crate) kind: NewServiceKind,
}

#[derive(Clone, Debug)]
pub(crate) enum NewServiceKind {
    /// In the session with this name, which may not exist.
    InSession(String),
    /// With heartbeats of its own; the timeout is in seconds.
    Standalone { timeout: u8 },
}

/// The services that a list is to have: those that have all of this.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServiceFilter {
    pub(crate) tags: Vec<Arc<str>>,
    /// Keys and values.
    pub(crate) metadata: Vec<(String, String)>,
    pub(crate) id_prefix: String,
}

/// Changes to a service; members that are `None` stay unchanged.
#[derive(Clone, Debug)]
pub(crate) struct ServiceUpdate {
    pub(crate) tags: Option<StringList>,
    pub(crate) metadata: Option<StringList>,
    /// In seconds, for a service with heartbeats of its own.
    pub(crate) timeout: Option<u8>,
}

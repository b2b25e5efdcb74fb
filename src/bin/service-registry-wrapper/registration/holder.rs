//! The holder of a service id.

use std::fmt;

use service_registry::client::Client;
use service_registry::wire::Service as Found;

/// The session that holds a service id, and the metadata of the service.
pub(super) struct Holder {
    /// Empty for a service with heartbeats of its own.
    pub session: String,
    metadata: String,
}

impl Holder {
    /// Asks the registry for the holder of an id.
    pub(super) async fn find(client: &Client, id: &str) -> Option<Self> {
        client.services().get(id).await.ok().map(Self::of)
    }

    pub fn of(found: Found) -> Self {
        let (session, metadata) = match found {
            Found::InSession(service) => (service.session_id, service.metadata),
            Found::Own(service) => (String::new(), service.metadata),
        };
        let metadata = if metadata.is_empty() { String::new() } else { format!(" {metadata:?}") };
        Self { session, metadata }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.session.as_str() {
            "" => write!(f, "a client that sends heartbeats for the service itself{}", self.metadata),
            session => write!(f, "session {session}{}", self.metadata),
        }
    }
}

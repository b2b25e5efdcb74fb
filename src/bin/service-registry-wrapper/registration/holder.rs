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

    /// Describes the holder with the host and the process that its session names, for which it asks the registry.
    pub(super) async fn describe(&self, client: &Client) -> String {
        let session = client.sessions().get(&self.session).await.ok();
        let pair = |key: &str| session.as_ref()?.metadata.get(key).map(|value| format!("{key} {value:?}"));
        let process: Vec<String> = ["host", "pid"].into_iter().filter_map(pair).collect();
        let process = if process.is_empty() { String::new() } else { format!(" ({})", process.join(", ")) };
        format!("{self}{process}")
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

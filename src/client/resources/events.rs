//! Events: the changes of services and values, in order.

use crate::client::{Client, Error};
use crate::wire::{Event, Page};

/// The events of the account; from [`Client::events`].
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    pub(crate) client: &'a Client,
}

/// The events to get. The default is the first page of the last hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventOptions {
    /// At most this many, 1 to 1000; the registry's default is 100.
    pub limit: Option<u32>,
    /// The id of the first event. Any version-1 UUID is valid: it stands for a time.
    pub marker: Option<String>,
    /// Only events of this type: `service.join`, `services.timeout`, ...
    pub kind: Option<String>,
    /// Also events of the types that the original registry did not have: `service.update`, `session.create`,
    /// `session.update` and `session.remove`. A registry that does not know them ignores it.
    pub extended: bool,
}

impl EventOptions {
    fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        let marker = self.marker.clone().map(|marker| ("marker", marker));
        let kind = self.kind.clone().map(|kind| ("type", kind));
        let extended = self.extended.then(|| ("extended", "true".to_owned()));
        limit.into_iter().chain(marker).chain(kind).chain(extended).collect()
    }
}

impl Client {
    /// Events: the changes of services and values.
    #[must_use]
    pub fn events(&self) -> Events<'_> {
        Events { client: self }
    }
}

impl Events<'_> {
    /// Returns one page of events, oldest first.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; of faults, `badRequest` for a marker before the creation of the account or after now.
    pub async fn list(self, options: &EventOptions) -> Result<Page<Event>, Error> {
        Ok(self.client.page(&["events"], options.query()).await?.0)
    }
}

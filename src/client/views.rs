//! Views: several resources in one answer.

use super::{Client, Error, ListOptions};
use crate::wire::{Overview, Page};

/// The views of the account; from [`Client::views`].
#[derive(Clone, Copy, Debug)]
pub struct Views<'a> {
    pub(crate) client: &'a Client,
}

impl Views<'_> {
    /// One page of the sessions, by id, each with the services that live in it.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn overview(self, options: &ListOptions) -> Result<Page<Overview>, Error> {
        Ok(self.client.page(&["views", "overview"], options.query()).await?.0)
    }

    /// All sessions, each with the services that live in it.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn overview_all(self) -> Result<Vec<Overview>, Error> {
        self.client.all_pages(&["views", "overview"], &[]).await
    }
}

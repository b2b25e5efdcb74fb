//! Views: several resources in one response.

use crate::client::{Client, Error, ListOptions};
use crate::wire::{Overview, Page};

/// The views of the account; from [`Client::views`].
#[derive(Clone, Copy, Debug)]
pub struct Views<'a> {
    pub(crate) client: &'a Client,
}

impl Client {
    /// Views: sessions with their services.
    #[must_use]
    pub fn views(&self) -> Views<'_> {
        Views { client: self }
    }
}

impl Views<'_> {
    /// Returns one page of the sessions, by id, each with its services. A page that ends within a session is
    /// followed by one that begins with the same session and its other services.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn overview(self, options: &ListOptions) -> Result<Page<Overview>, Error> {
        Ok(self.client.page(&["views", "overview"], options.query()).await?.0)
    }

    /// Returns all sessions, each with its services. A session whose services fill more than a page comes in
    /// parts, which are joined here.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn overview_all(self) -> Result<Vec<Overview>, Error> {
        let mut all: Vec<Overview> = Vec::new();
        for part in self.client.all_pages::<Overview>(&["views", "overview"], &[]).await? {
            match all.last_mut() {
                Some(last) if last.session.id == part.session.id => last.services.extend(part.services),
                _ => all.push(part),
            }
        }
        Ok(all)
    }
}

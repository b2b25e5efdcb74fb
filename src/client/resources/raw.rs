//! Resources as JSON, with the members that this version of the library does not know. For the programs of this package.

use std::borrow::Cow;

use serde_json::Value;

use super::pagination::rises;
use crate::client::transport::Call;
use crate::client::transport::url::not_empty;
use crate::client::{Client, Error};

impl Client {
    /// Returns one object.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    #[doc(hidden)]
    pub async fn raw(&self, path: &[&str]) -> Result<Value, Error> {
        for segment in path {
            not_empty(segment, "id")?;
        }
        self.send(Call::get(path)).await?.json()
    }

    /// Returns all pages of a list. `on_page` gets the number of entries read so far.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    #[doc(hidden)]
    pub async fn raw_list(
        &self,
        path: &[&str],
        query: Vec<(Cow<'static, str>, String)>,
        on_page: impl Fn(usize),
    ) -> Result<Vec<Value>, Error> {
        // The text of an event's id does not rise as its time does.
        let leads_on = if path == ["events"] { |next: &str, marker: Option<&str>| Some(next) != marker } else { rises };
        self.all_pages_with(path, query, leads_on, on_page).await
    }
}

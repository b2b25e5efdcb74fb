//! Pages of lists, and whole lists.

use super::list_options::ListOptions;
use crate::client::transport::{Answer, Call};
use crate::client::{Client, Error};
use crate::wire::Page;
use crate::wire::limits::PAGE;

/// The most entries a page may have.
const LARGEST_PAGE: u32 = *PAGE.end() as u32;

/// The longest list of all pages that is read, in bytes: a registry that goes on for ever would fill the memory.
const LONGEST_LIST: usize = 1 << 30;

impl Client {
    /// Returns one page of the list at a path.
    pub(super) async fn page<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: Vec<(&'static str, String)>,
    ) -> Result<(Page<T>, Answer), Error> {
        let answer = self.send(Call::get(path).query(query)).await?;
        Ok((answer.json()?, answer))
    }

    /// Returns all pages of the list at a path. Markers must rise, or reading would never end.
    pub(super) async fn all_pages<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, Error> {
        let mut options = ListOptions { limit: Some(LARGEST_PAGE), marker: None };
        let (mut all, mut length) = (Vec::new(), 0);
        loop {
            let query = query.iter().cloned().chain(options.query()).collect();
            let (page, answer) = match (self.page::<T>(path, query).await, options.limit) {
                (Err(error), Some(limit @ 2..)) if error.is_too_long() => {
                    options.limit = Some(limit / 2);
                    continue;
                }
                (page, _) => page?,
            };
            all.extend(page.values);
            length += answer.length();
            if length > LONGEST_LIST {
                return Err(answer.bad("is part of a list of more than 1 GiB; read it page by page"));
            }
            match page.metadata.next_marker {
                None => return Ok(all),
                next if next <= options.marker => return Err(answer.bad("has a next_marker that does not lead on")),
                next => options.marker = next,
            }
        }
    }
}

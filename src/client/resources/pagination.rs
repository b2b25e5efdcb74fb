//! Lists come in pages: which page to get, and how to get them all.

use crate::client::transport::{Answer, Call};
use crate::client::{Client, Error};
use crate::wire::Page;
use crate::wire::limits::PAGE;

/// The most entries a page may have.
const LARGEST_PAGE: u32 = *PAGE.end() as u32;

/// The longest list of all pages that is read, in bytes: a registry that goes on for ever would fill the memory.
const LONGEST_LIST: usize = 1 << 30;

/// Which part of a list to get. The default is the first page, as long as the registry likes (100 entries).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOptions {
    /// At most so many entries, 1 to 1000.
    pub limit: Option<u32>,
    /// The id to begin with: `next_marker` of the page before.
    pub marker: Option<String>,
}

impl ListOptions {
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let limit = self.limit.map(|limit| ("limit", limit.to_string()));
        let marker = self.marker.clone().map(|marker| ("marker", marker));
        limit.into_iter().chain(marker).collect()
    }
}

impl Client {
    /// One page of the list at a path.
    pub(super) async fn page<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: Vec<(&'static str, String)>,
    ) -> Result<(Page<T>, Answer), Error> {
        let answer = self.send(Call::get(path).query(query)).await?;
        Ok((answer.json()?, answer))
    }

    /// All pages of the list at a path. Each must lead on: markers grow, or it would go round for ever.
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

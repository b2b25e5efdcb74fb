//! Pages of lists, and whole lists.

use super::list_options::ListOptions;
use crate::client::transport::{Answer, Call, Query};
use crate::client::{Client, Error};
use crate::wire::Page;
use crate::wire::limits::PAGE;

/// The most entries a page may have.
const LARGEST_PAGE: u32 = *PAGE.end() as u32;

/// The longest list of all pages that is read, in bytes: a registry that goes on for ever would fill the memory.
const LONGEST_LIST: usize = 1 << 30;

/// Whether a marker leads on from the one before.
pub(super) type LeadsOn = fn(&str, Option<&str>) -> bool;

/// Returns whether a marker rises, or reading would never end.
pub(super) fn rises(next: &str, marker: Option<&str>) -> bool {
    Some(next) > marker
}

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

    /// Returns all pages of the list at a path.
    pub(super) async fn all_pages<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&'static str, String)],
    ) -> Result<Vec<T>, Error> {
        let query = query.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
        self.all_pages_with(path, query, rises, |_| ()).await
    }

    /// Returns all pages of the list at a path; `on_page` gets the number of entries read so far.
    pub(super) async fn all_pages_with<T: serde::de::DeserializeOwned>(
        &self,
        path: &[&str],
        query: Query,
        leads_on: LeadsOn,
        on_page: impl Fn(usize),
    ) -> Result<Vec<T>, Error> {
        let marker_of_query = query.iter().find(|(key, _)| key == "marker").map(|(_, marker)| marker.clone());
        let query: Query = query.into_iter().filter(|(key, _)| key != "marker").collect();
        let mut options = ListOptions { limit: Some(LARGEST_PAGE), marker: marker_of_query };
        let (mut all, mut length) = (Vec::new(), 0);
        loop {
            let of_page = options.query().into_iter().map(|(key, value)| (key.into(), value));
            let answer = self.send(Call::get(path).query(query.iter().cloned().chain(of_page))).await;
            let answer = match (answer, options.limit) {
                (Err(error), Some(limit @ 2..)) if error.is_too_long() => {
                    options.limit = Some(limit / 2);
                    continue;
                }
                (answer, _) => answer?,
            };
            let page: Page<T> = answer.json()?;
            all.extend(page.values);
            on_page(all.len());
            length += answer.length();
            if length > LONGEST_LIST {
                return Err(answer.bad("is part of a list of more than 1 GiB; read it page by page"));
            }
            match page.metadata.next_marker {
                None => return Ok(all),
                Some(next) if leads_on(&next, options.marker.as_deref()) => options.marker = Some(next),
                Some(_) => return Err(answer.bad("has a next_marker that does not lead on")),
            }
        }
    }
}

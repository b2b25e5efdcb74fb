//! Responses with a page of a list: the only ones that may be long.
//!
//! Entries are copied under the lock, shared rather than cloned, and written as JSON afterwards, with a pause for other
//! tasks from time to time. The number of pages in the making and the bytes of unsent pages are bounded, and divided
//! among the tenants. Heartbeats need neither, and wait for none of this.

use std::future::Future;
use std::io;

use hyper::header::{ETAG, HeaderValue};
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::fair_share::{PageShares, WAIT_LIMIT};
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::{Answer, INDENT};
use crate::registry::model::{Entry, Listing, MAX_PAGE_BYTES};
use crate::wire;

/// Pages up to this size are not counted, in bytes: most are shorter, and a poller should not wait for slow readers.
pub(super) const SHORT: usize = 8 << 10;
/// The bytes that are written before other tasks get their turn.
const PIECE: usize = 32 << 10;

/// How a page is presented.
pub(super) struct Form<'a> {
    /// The most entries.
    pub(super) limit: usize,
    /// The marker that the page repeats.
    pub(super) marker: Option<&'a str>,
    /// The page is of those after this id. Then the next page begins after the last entry, or after this id if there is
    /// none, and there always is a next page.
    pub(super) position: Option<&'a str>,
}

impl RequestContext<'_> {
    /// Answers with a page of what `look` finds.
    pub(super) async fn list<T: Entry + Serialize, F: Future<Output = Result<Listing<T>, HttpError>>>(
        &self,
        limit: usize,
        marker: Option<&str>,
        look: impl Fn() -> F,
    ) -> Result<Answer, HttpError> {
        self.list_with(&Form { limit, marker, position: None }, |_| None, look).await
    }

    /// The same, with an entity tag of the page or in another form. It may look twice: there is no room for a long page
    /// that has to wait.
    pub(super) async fn list_with<T: Entry + Serialize, F: Future<Output = Result<Listing<T>, HttpError>>>(
        &self,
        form: &Form<'_>,
        tag: impl Fn(&Listing<T>) -> Option<HeaderValue>,
        look: impl Fn() -> F,
    ) -> Result<Answer, HttpError> {
        let PageShares { slots, unsent, .. } = &self.app.lists;
        let party = (self.tenant, self.address);
        let until = Instant::now() + WAIT_LIMIT;
        let mut room = None;
        loop {
            let turn = slots.take(party, 1, until).await.ok_or(HttpError::Busy)?;
            let page = look().await?;
            let tag = tag(&page);
            let tagged = |answer: Answer| if let Some(tag) = tag { answer.header(ETAG, tag) } else { answer };
            let text = match self.page_text(page, form).await {
                Ok(text) => text,
                Err(error) => return Ok(Answer::not_written(&error)),
            };
            drop(turn);
            if text.len() <= SHORT {
                return Ok(tagged(Answer::page_of_list(text, None)));
            }
            if let Some(mut held) = room.or_else(|| unsent.try_take(party, text.len())) {
                held.shrink(text.len());
                return Ok(tagged(Answer::page_of_list(text, Some(held))));
            }
            drop(text);
            room = Some(unsent.take(party, MAX_PAGE_BYTES, until).await.ok_or(HttpError::Busy)?);
        }
    }

    /// Writes the page as JSON, in the form of [`wire::Page`]. It ends before an entry that makes it too long; a first
    /// entry that is too long is cut if possible.
    async fn page_text<T: Entry + Serialize>(&self, listing: Listing<T>, form: &Form<'_>) -> io::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(256);
        let mut json = PrettyFormatter::with_indent(INDENT);
        json.begin_object(&mut text)?;
        begin_member(&mut json, &mut text, "values", true)?;
        json.begin_array(&mut text)?;
        let (mut count, mut next, mut piece) = (0, listing.next, PIECE);
        let mut last = form.position.map(str::to_owned);
        for mut entry in listing.values {
            let before = text.len();
            write_entry(&mut json, &mut text, &entry, count == 0)?;
            while text.len() > MAX_PAGE_BYTES && count == 0 && entry.halve() {
                text.truncate(before);
                write_entry(&mut json, &mut text, &entry, true)?;
                next = entry.continuation();
            }
            if text.len() > MAX_PAGE_BYTES && count > 0 {
                text.truncate(before);
                next = Some(entry.marker());
                break;
            }
            count += 1;
            last = last.map(|_| entry.marker());
            if entry.continuation().is_some() {
                break;
            }
            if text.len() > piece {
                yield_now().await;
                piece = text.len() + PIECE;
            }
        }
        json.end_array(&mut text)?;
        json.end_object_value(&mut text)?;
        begin_member(&mut json, &mut text, "metadata", false)?;
        let (limit, marker, next) = (form.limit, form.marker.map(str::to_owned), last.or(next));
        let next_href = |next: &String| format!("{}{}?{}", self.base, self.path, self.query.with_marker(next));
        let next_href = next.as_ref().map(next_href);
        let metadata = wire::PageMetadata { count, limit, marker, next_href, next_marker: next };
        metadata.serialize(&mut Serializer::with_formatter(&mut text, json.clone()))?;
        json.end_object_value(&mut text)?;
        json.end_object(&mut text)?;
        text.push(b'\n');
        text.shrink_to_fit();
        Ok(text)
    }
}

fn begin_member(json: &mut PrettyFormatter<'_>, text: &mut Vec<u8>, name: &str, is_first: bool) -> io::Result<()> {
    json.begin_object_key(text, is_first)?;
    text.extend([b"\"", name.as_bytes(), b"\""].concat());
    json.end_object_key(text)?;
    json.begin_object_value(text)
}

fn write_entry(
    json: &mut PrettyFormatter<'_>,
    text: &mut Vec<u8>,
    entry: &impl Serialize,
    is_first: bool,
) -> io::Result<()> {
    json.begin_array_value(text, is_first)?;
    entry.serialize(&mut Serializer::with_formatter(&mut *text, json.clone()))?;
    json.end_array_value(text)
}

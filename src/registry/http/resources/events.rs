//! `/events`.

use hyper::Method;

use super::follow::{last_event_id, wait, wants_event_stream};
use super::lists::Form;
use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::request::events::{event_type, extended, marker};
use crate::registry::http::request::pagination;
use crate::registry::http::response::Answer;
use crate::registry::model::{Event, ListedEvent, Listing, Uuid1};
use crate::registry::state::Feed;
use crate::wire::limits::DEFAULT_PAGE;

/// The marker is a time here, with rules of its own; `metadata.marker` never repeats it.
pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let is_stream = context.base.parts.method == Method::GET && wants_event_stream(context.headers());
    let limit = if is_stream { DEFAULT_PAGE } else { pagination::limit(&context.query.values("limit"))? };
    let from = match last_event_id(context.headers()).filter(|_| is_stream) {
        Some(id) => marker(&[id])?,
        None => marker(&context.query.values("marker"))?,
    };
    let strict = context.app.compatibility.strict_feed;
    let extended = !strict && extended(&context.query.values("extended"))?;
    let kind = event_type(&context.query.values("type"), extended)?;
    let feed = Feed { from, kind, strict, extended, limit };
    if is_stream {
        return Box::pin(context.stream_events(feed)).await;
    }
    if let Some(wait) = wait(&context.query.values("wait"))? {
        return Box::pin(context.poll_events(&feed, wait)).await;
    }
    let look = || async {
        let start =
            context.read_swept(Scope::Nothing, |state| state.feed_start(context.now, context.tenant, &feed)).await?;
        context.listed_feed(start, &feed).await
    };
    context.list(limit, None, look).await
}

impl RequestContext<'_> {
    /// Answers with a page of the events after a position.
    pub(super) async fn events_after(&self, position: Uuid1, feed: &Feed) -> Result<Answer, HttpError> {
        let text = position.to_string();
        let form = Form { limit: feed.limit, marker: None, position: Some(&text) };
        self.list_with(&form, |_| None, || self.listed_feed(position.following(), feed)).await
    }

    /// Returns a page of the events from this one on.
    pub(super) async fn feed(&self, from: Uuid1, feed: &Feed) -> Result<Listing<Event>, HttpError> {
        self.engine.feed(self.tenant, from, feed).await.map_err(|error| {
            tracing::error!(%error, "old events cannot be read");
            HttpError::StorageUnavailable
        })
    }

    /// The same, with their timestamps.
    async fn listed_feed(&self, from: Uuid1, feed: &Feed) -> Result<Listing<ListedEvent>, HttpError> {
        let page = self.feed(from, feed).await?;
        // Read after the events, so that it covers all of them.
        let ids = self.read(Scope::Nothing, |state| state.id_scale(self.tenant)).await;
        Ok(page.map(|event| feed.listed(event, &ids)))
    }
}

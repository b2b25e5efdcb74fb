//! `/events`.

use crate::registry::engine::Scope;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::request::events::{event_type, extended, marker};
use crate::registry::http::request::pagination;
use crate::registry::http::response::Answer;
use crate::registry::state::Feed;

/// The marker is a time here, with rules of its own; `metadata.marker` never repeats it.
pub(crate) async fn list(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let limit = pagination::limit(&context.query.values("limit"))?;
    let from = marker(&context.query.values("marker"))?;
    let strict = context.app.compatibility.strict_feed;
    let extended = !strict && extended(&context.query.values("extended"))?;
    let kind = event_type(&context.query.values("type"), extended)?;
    let feed = Feed { from, kind, strict, extended, limit };
    let look = || async {
        let start =
            context.read_swept(Scope::Nothing, |state| state.feed_start(context.now, context.tenant, &feed)).await?;
        let page = context.app.engine.feed(context.tenant, start, &feed).await.map_err(|error| {
            tracing::error!(%error, "old events cannot be read");
            HttpError::StorageUnavailable
        })?;
        // Read after the events, so that it covers all of them.
        let ids = context.read(Scope::Nothing, |state| state.id_scale(context.tenant)).await;
        Ok(page.map(|event| feed.listed(event, &ids)))
    };
    context.list(limit, None, look).await
}

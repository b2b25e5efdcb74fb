//! `/events`.

use crate::registry::engine::Scope;
use crate::registry::http::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::model::Page;
use crate::registry::state::Feed;
use crate::registry::state::events::{kind, marker};

/// The marker is a time here and has rules of its own; `metadata.marker` never repeats it.
pub(crate) async fn list(asked: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let limit = Page::limit(&asked.query.values("limit"))?;
    let from = marker(&asked.query.values("marker"))?;
    let kind = kind(&asked.query.values("type"))?;
    let feed = Feed { from, kind, strict: asked.front.compatibility.strict_feed, limit };
    let look = || async {
        let start = asked.run_swept(Scope::Nothing, |state| state.feed_start(asked.now, asked.tenant, &feed)).await?;
        asked.front.engine.feed(asked.tenant, start, &feed).await.map_err(|error| {
            tracing::error!(%error, "old events cannot be read");
            HttpError::StorageUnavailable
        })
    };
    asked.list(limit, None, look).await
}

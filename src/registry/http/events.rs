//! `/events`.

use super::Asked;
use super::answer::Answer;
use super::faults::Problem;
use crate::registry::events::{Feed, kind, marker};
use crate::registry::objects::Event;
use crate::registry::pages::{Listing, Page};
use crate::registry::pending::Scope;

/// The marker is a time here and has rules of its own; `metadata.marker` never repeats it.
pub(super) async fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let limit = Page::limit(&asked.query.values("limit"))?;
    let from = marker(&asked.query.values("marker"))?;
    let kind = kind(&asked.query.values("type"))?;
    let feed = Feed { from, kind, strict: asked.front.indulgence.strict_feed };
    let start = asked.run_swept(Scope::Nothing, |state| state.feed_start(asked.now, asked.tenant, &feed)).await?;
    // One more than asked for: the next page starts with it.
    let events = asked.front.engine.feed(asked.tenant, start, limit + 1, &feed).await.map_err(|error| {
        tracing::error!(%error, "old events cannot be read");
        Problem::NotKept
    })?;
    let listing = Listing::take(events.iter(), limit, Event::to_wire, |event| event.id.to_string());
    Ok(asked.listing(listing, limit, None))
}

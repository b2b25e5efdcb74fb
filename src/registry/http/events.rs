//! `/events`.

use super::Asked;
use super::answer::Answer;
use super::faults::Problem;
use crate::registry::events::{Feed, kind, marker};
use crate::registry::pages::Page;

/// The marker is a time here and has rules of its own; `metadata.marker` never repeats it.
pub(super) async fn list(asked: &Asked<'_>) -> Result<Answer, Problem> {
    let limit = Page::limit(&asked.query.values("limit"))?;
    let from = marker(&asked.query.values("marker"))?;
    let kind = kind(&asked.query.values("type"))?;
    let feed = Feed { limit, from, kind, strict: asked.front.strict_feed };
    let listing = asked.run_swept(|state| state.events(asked.now, asked.tenant, &feed)).await?;
    Ok(asked.listing(listing, limit, None))
}

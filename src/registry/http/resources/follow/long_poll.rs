//! Long polls of the feed: a page of the events after a position, as soon as there is one.

use std::time::Duration;

use super::pause::Pause;
use crate::registry::engine::{Scope, Topic};
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::response::Answer;
use crate::registry::model::Uuid1;
use crate::registry::state::{Feed, State};

impl RequestContext<'_> {
    /// Answers with the first page of events after the marker, or an empty one at the end of the wait.
    pub(in crate::registry::http::resources) async fn poll_events(
        &self,
        feed: &Feed,
        wait: Duration,
    ) -> Result<Answer, HttpError> {
        let waiter = self.engine.waiter(self.tenant, Topic::Events);
        let mut pause = Pause::begin(self, wait)?;
        let start = |state: &mut State| state.position(self.now, self.tenant, feed.from);
        let mut position = self.read_swept(Scope::Nothing, start).await?;
        loop {
            let woken = waiter.woken();
            let is_over = pause.is_over();
            let found = self.look_after(position, feed).await?;
            position = found.position;
            if found.is_wanted || is_over {
                break;
            }
            if found.is_complete {
                pause.wait(woken).await?;
            }
        }
        let answer = self.events_after(position, feed).await?;
        Ok(if pause.is_stopping() { answer.closing() } else { answer })
    }

    /// Looks for a wanted event after a position.
    async fn look_after(&self, position: Uuid1, feed: &Feed) -> Result<Found, HttpError> {
        let _turn = self.turn().await?;
        // Read before the events, so that none is passed over.
        let (now, tenant) = (self.engine.now(), self.tenant);
        let end = self.read(Scope::Nothing, |state| state.feed_end(now, tenant)).await;
        let page = self.feed(position.following(), &Feed { limit: 1, ..feed.clone() }).await?;
        let next = page.next.as_deref().and_then(|next| Uuid1::parse(next).ok());
        let (is_wanted, is_complete) = (!page.values.is_empty(), next.is_none());
        let position = match next {
            _ if is_wanted => position,
            Some(next) => next.previous_tick(), // the search goes on there
            None => position.max(end),
        };
        Ok(Found { position, is_wanted, is_complete })
    }
}

/// The outcome of a look for a wanted event.
struct Found {
    /// No wanted event is at or before this position.
    position: Uuid1,
    is_wanted: bool,
    /// The feed was read to its end.
    is_complete: bool,
}

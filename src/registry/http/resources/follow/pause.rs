//! One wait of a request, with all that may end it.

use std::time::Duration;

use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, sleep_until};

use super::interrupts::Interrupted;
use super::places::Place;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;

/// A wait, and the request's place among those that wait.
pub(super) struct Pause<'a> {
    context: &'a RequestContext<'a>,
    interrupted: Interrupted,
    until: Instant,
    _place: Option<Place>,
}

impl<'a> Pause<'a> {
    /// Begins a wait. Fails if too many requests of the client's account or address wait already.
    pub(super) fn begin(context: &'a RequestContext<'a>, wait: Duration) -> Result<Self, HttpError> {
        #[cfg(feature = "etcd")]
        let wait = context.longest_wait.map_or(wait, |longest| wait.min(longest));
        let place = if wait.is_zero() { None } else { Some(context.follower_place()?) };
        let interrupted = context.app.interrupts.subscribe();
        Ok(Self { context, interrupted, until: Instant::now() + wait, _place: place })
    }

    /// The registry stops: the connection is to be closed after the response.
    pub(super) fn is_stopping(&self) -> bool {
        self.interrupted.is_stopping()
    }

    /// Nothing is waited for any more.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopping() || self.context.engine.has_left() || Instant::now() >= self.until
    }

    /// Waits for a change, or for the end. Fails if the client's credentials are no longer valid.
    pub(super) async fn wait(&mut self, woken: OwnedNotified) -> Result<(), HttpError> {
        tokio::select! {
            () = woken => {}
            () = sleep_until(self.until) => {}
            () = self.interrupted.changed() => {}
            () = self.context.engine.left() => {}
        }
        self.context.admit_again()
    }
}

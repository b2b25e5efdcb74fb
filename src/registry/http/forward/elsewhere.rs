//! Answers a request whose shard is elsewhere, while shards move and nodes end.

use std::future::Future;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::select_all;
use hyper::StatusCode;
use hyper::header::HeaderValue;
use tokio::time::{Instant, sleep, timeout};

use super::address::Location;
use super::outgoing::{Outgoing, is_repeatable};
use super::peers::{Forwarded, OWNER, Peers};
use crate::registry::http::app::App;
use crate::registry::http::error::HttpError;
use crate::registry::http::request::Query;
use crate::registry::http::resources::{self, Place};
use crate::registry::http::response::Answer;
use crate::registry::model::TenantId;
use crate::registry::switches::is_switched_off;

/// How long a request waits for an owner that takes it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How soon the same node is asked again, if nothing is heard of a change.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a node that is no longer the owner has for what it began before.
const GRACE: Duration = Duration::from_millis(500);

/// Who answers.
pub(in crate::registry::http) enum Elsewhere<H> {
    /// This node: the shard is here now.
    Here(H),
    /// The owner, or nobody: this is the answer.
    Answered(Answer),
}

/// What is asked, and how long its client waits.
pub(in crate::registry::http) struct Question<'a> {
    outgoing: Outgoing<'a>,
    /// Another node forwarded it.
    is_forwarded: bool,
    /// The time that the client gives for a change to wait for.
    client_wait: Duration,
    /// Among the requests of this node that wait or go on.
    follower: Option<Place>,
}

impl<'a> Question<'a> {
    /// # Errors
    ///
    /// If too many requests of the client's account or address wait already.
    pub(in crate::registry::http) fn new(
        app: &App,
        outgoing: Outgoing<'a>,
        tenant: TenantId,
        query: &Query<'_>,
        is_forwarded: bool,
    ) -> Result<Self, HttpError> {
        let place = || app.followers.enter((tenant, outgoing.caller.address)).ok_or(HttpError::Busy);
        let is_follower = resources::is_followed(query, &outgoing.parts.headers) && !is_forwarded;
        let follower = if is_follower { Some(place()?) } else { None };
        Ok(Self { outgoing, is_forwarded, client_wait: resources::client_wait(query), follower })
    }
}

/// Forwards a request to the owner of its shard, and again when that has changed. `place` tells where the shard is, and
/// `changed` is ready after the next change of that.
///
/// A request that may have been executed is repeated only if that makes no difference.
///
/// # Errors
///
/// If there is no owner within five seconds, or the request may have been executed.
pub(in crate::registry::http) async fn answer_elsewhere<H: 'static, F, C>(
    app: &App,
    peers: &Peers,
    question: Question<'_>,
    place: impl Fn() -> Location<H> + Clone + Send + 'static,
    changed: F,
) -> Result<Elsewhere<H>, HttpError>
where
    F: Fn() -> C + Clone + Send + 'static,
    C: Future<Output = ()> + Send + 'static,
{
    let Question { outgoing, is_forwarded, client_wait, follower } = question;
    let start = Instant::now();
    let mut deadline = start + PATIENCE;
    let is_repeatable = is_repeatable(outgoing.parts);
    let mut is_stopping = false;
    loop {
        let change = changed();
        let location = place();
        let left = deadline.saturating_duration_since(Instant::now());
        let (node, url) = match location {
            Location::Here(hold) => return Ok(Elsewhere::Here(hold)),
            other if is_forwarded => {
                return Ok(Elsewhere::Answered(not_owner(other.node())));
            }
            _ if left.is_zero() => return Err(HttpError::NoOwner),
            Location::Unsettled => {
                let _ = timeout(PAUSE.min(left), change).await;
                continue;
            }
            Location::At { node, url } => (node, url),
        };
        let client_left = if is_stopping { Duration::ZERO } else { client_wait.saturating_sub(start.elapsed()) };
        let sent = Instant::now();
        let outcome = tokio::select! {
            biased;
            outcome = peers.forward(&url, &outgoing, left + client_left, client_left) => outcome,
            () = moved(place.clone(), changed.clone(), node.clone()), if is_repeatable => {
                Forwarded::Unclear(format!("{url}: the shard moved"))
            }
            () = async { app.interrupts.stopped().await }, if is_repeatable && !client_left.is_zero() => {
                (is_stopping, deadline) = (true, Instant::now() + PATIENCE); // ask again, for what there is
                continue;
            }
        };
        app.metrics.count_forward(outcome.result());
        let why = match outcome {
            Forwarded::Answer(answer) => {
                let answer = if is_stopping { answer.closing() } else { answer };
                return Ok(Elsewhere::Answered(if answer.goes_on() {
                    let ends = [app.interrupts.stopped().boxed(), moved(place, changed, node).boxed()];
                    answer.until(select_all(ends).map(drop), follower)
                } else {
                    answer
                }));
            }
            Forwarded::NotOwner(owner) => {
                format!("{url} says that the owner is {}", owner.as_deref().unwrap_or("none"))
            }
            Forwarded::NotSent(why) => why,
            Forwarded::Unclear(why) if is_repeatable || is_switched_off("retry") => why,
            Forwarded::Unclear(why) => {
                tracing::warn!(why, response = outgoing.id, "a forwarded request got no answer");
                return Err(HttpError::NoOwner);
            }
        };
        tracing::debug!(why, response = outgoing.id, "a forwarded request is sent again");
        if !client_left.is_zero() && sent.elapsed() >= PATIENCE {
            deadline = Instant::now() + PATIENCE; // it was not waiting for an owner
        }
        if place().is_at(&node) {
            let _ = timeout(PAUSE, change).await;
        }
    }
}

/// Waits until a shard has been elsewhere for a while.
async fn moved<H, C: Future<Output = ()>>(place: impl Fn() -> Location<H>, changed: impl Fn() -> C, node: String) {
    loop {
        let change = changed();
        if !place().is_at(&node) {
            return sleep(GRACE).await;
        }
        change.await;
    }
}

/// The answer to a node that takes this one for the owner.
pub(in crate::registry::http) fn not_owner(owner: Option<&str>) -> Answer {
    let owner = HeaderValue::from_str(owner.unwrap_or_default()).unwrap_or(HeaderValue::from_static(""));
    Answer::empty(StatusCode::MISDIRECTED_REQUEST).header(OWNER, owner)
}

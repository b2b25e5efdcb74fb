//! The feed as server-sent events: a response that goes on until the client, or the registry, ends it.
//!
//! A piece is made when the connection has room for it. So a slow client costs one piece, and the position that it has
//! reached; the connection's time limit ends one that reads nothing.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use hyper::StatusCode;
use hyper::body::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::time::{Instant, sleep_until};

use super::interrupts::Interrupted;
use super::parameters::EVENT_STREAM;
use super::places::Place;
use crate::registry::engine::{Engine, Scope, Topic, Waiter};
use crate::registry::http::app::App;
use crate::registry::http::context::RequestContext;
use crate::registry::http::credentials::Claim;
use crate::registry::http::error::HttpError;
use crate::registry::http::resources::fair_share::Party;
use crate::registry::http::resources::lists::SHORT;
use crate::registry::http::response::{Answer, Unsent};
use crate::registry::model::{Event, IdScale, Listing, TenantId, Uuid1};
use crate::registry::state::{Feed, State};

/// The time between two signs of life on a stream without events: proxies end silent responses, often after a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// The most events that are taken from the feed at a time.
const EVENTS_AT_A_TIME: usize = 100;
/// Events are sent together up to this size, in bytes.
const PIECE: usize = 16 << 10;
/// How long a client should wait before it connects again, in milliseconds.
const RETRY_MS: u64 = 1000;
/// Asks nginx to pass each event on at once.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

impl RequestContext<'_> {
    /// Answers with the events after a position, as they come.
    pub(in crate::registry::http::resources) async fn stream_events(&self, feed: Feed) -> Result<Answer, HttpError> {
        let place = self.follower_place()?;
        let waiter = Arc::new(self.engine.waiter(self.tenant, Topic::Events));
        let start = |state: &mut State| state.position(self.now, self.tenant, feed.from);
        let position = self.read_swept(Scope::Nothing, start).await?;
        let follower = Follower {
            app: self.app.clone(),
            engine: self.engine.clone(),
            tenant: self.tenant,
            party: (self.tenant, self.address),
            claim: self.claim.into(),
            feed: Feed { limit: EVENTS_AT_A_TIME, ..feed },
            waiter,
            interrupted: self.app.interrupts.subscribe(),
            position,
            told: None,
            complete_at: self.now.mono,
            page: Vec::new().into_iter(),
            ids: IdScale::default(),
            keep_alive: Instant::now() + KEEP_ALIVE,
            _place: place,
        };
        let pieces =
            stream::unfold(follower, async |mut follower| follower.next().await.map(|piece| (Ok(piece), follower)));
        Ok(Answer::stream(StatusCode::OK, Box::pin(pieces))
            .header(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM))
            .header(CACHE_CONTROL, HeaderValue::from_static("no-cache"))
            .header(ACCEL_BUFFERING, HeaderValue::from_static("no")))
    }
}

/// A client that follows the feed.
struct Follower {
    app: Arc<App>,
    engine: Arc<Engine>,
    tenant: TenantId,
    party: Party,
    claim: Claim,
    feed: Feed,
    waiter: Arc<Waiter>,
    interrupted: Interrupted,
    /// The last event that was taken from the feed, or passed over.
    position: Uuid1,
    /// The last id that the client was told. None before the first piece.
    told: Option<Uuid1>,
    /// When the feed was last read to its end, on the scale of deadlines.
    complete_at: u64,
    /// Events that were taken from the feed and not sent yet.
    page: std::vec::IntoIter<Event>,
    ids: IdScale,
    keep_alive: Instant,
    _place: Place,
}

impl Follower {
    /// Waits for the next piece; none at the end of the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if self.told.is_none() {
            let position = self.position;
            self.told = Some(position);
            return Some(format!("retry: {RETRY_MS}\n: marker {position}\nid: {position}\n\n").into());
        }
        loop {
            if self.is_ending() {
                return None;
            }
            if let Some(piece) = self.piece().await? {
                self.keep_alive = Instant::now() + KEEP_ALIVE;
                return Some(piece);
            }
            let woken = self.waiter.woken();
            if !self.read().await? || self.page.len() > 0 {
                continue;
            }
            tokio::select! {
                () = woken => {}
                () = sleep_until(self.keep_alive) => {
                    self.is_permitted().then_some(())?;
                    self.keep_alive = Instant::now() + KEEP_ALIVE;
                    return Some(self.sign_of_life());
                }
                () = self.interrupted.changed() => self.is_permitted().then_some(())?,
                () = self.engine.left() => return None,
            }
        }
    }

    /// Takes events from the feed. Returns whether it was read to its end; none if events are lost to the client.
    async fn read(&mut self) -> Option<bool> {
        let engine = &self.engine;
        let Some(_turn) = self.app.lists.turn(self.party).await else { return Some(false) };
        let (now, tenant) = (engine.now(), self.tenant);
        // Otherwise all events after the position are younger.
        let may_have_lost = now.mono.saturating_sub(self.complete_at) >= self.engine.retention();
        let position = self.position;
        let look = |state: &mut State| {
            let is_lost = may_have_lost && state.has_lost(now, tenant, position);
            (is_lost, state.feed_end(now, tenant))
        };
        let (is_lost, end) = engine.read(tenant, Scope::Nothing, look).await;
        if is_lost {
            tracing::debug!(tenant, "a follower has fallen behind the retention of events");
            return None;
        }
        let page: Listing<Event> = match engine.feed(tenant, position.following(), &self.feed).await {
            Ok(page) => page,
            Err(error) => {
                tracing::error!(%error, "old events cannot be read");
                return None;
            }
        };
        let next = page.next.as_deref().and_then(|next| Uuid1::parse(next).ok());
        self.position = match (next, page.values.last()) {
            (Some(next), _) => next.previous_tick(),
            (None, last) => position.max(end).max(last.map_or(position, |last| last.id)),
        };
        if next.is_none() {
            self.complete_at = now.mono;
        }
        // Read after the events, so that it covers all of them.
        self.ids = engine.read(tenant, Scope::Nothing, |state| state.id_scale(tenant)).await;
        self.page = page.values.into_iter();
        Some(next.is_none())
    }

    /// Writes events that were taken from the feed; none inside if there are none, none if one cannot be written.
    async fn piece(&mut self) -> Option<Option<Bytes>> {
        let mut text = Vec::new();
        for event in self.page.by_ref() {
            let (id, kind) = (event.id, event.kind.event_type().name());
            text.extend_from_slice(format!("id: {id}\nevent: {kind}\ndata: ").as_bytes());
            let event = self.feed.listed(event, &self.ids);
            serde_json::to_writer(&mut text, &event).ok()?;
            text.extend_from_slice(b"\n\n");
            self.told = Some(id);
            if text.len() >= PIECE {
                break;
            }
        }
        if text.len() <= SHORT {
            return Some(Some(text.into()).filter(|text: &Bytes| !text.is_empty()));
        }
        text.shrink_to_fit();
        let held = loop {
            if self.is_ending() {
                return None;
            }
            if let Some(held) = self.app.lists.unsent(self.party, text.len()).await {
                break held;
            }
        };
        Some(Some(Bytes::from_owner(Unsent::new(text, held))))
    }

    /// A comment. If events that the client does not want were passed over, the client learns its new position, from
    /// which it can continue.
    fn sign_of_life(&mut self) -> Bytes {
        let position = Some(self.position);
        if self.told == position {
            return Bytes::from_static(b": keep-alive\n\n");
        }
        self.told = position;
        format!(": keep-alive\nid: {}\n\n", self.position).into()
    }

    fn is_ending(&self) -> bool {
        self.interrupted.is_stopping() || self.engine.has_left()
    }

    fn is_permitted(&self) -> bool {
        self.claim.admit(&self.app.authenticator.load(), self.engine.now()).is_ok()
    }
}

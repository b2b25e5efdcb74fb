//! Follows the feed: every event once, in order, as it happens.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::{self, BoxStream};
use tokio::time::Instant;

use super::attempts::Attempts;
use crate::client::resources::follow::{BEFORE_ACCOUNT, EventsPoller};
use crate::client::transport::Call;
use crate::client::{Client, Error, Events};
use crate::wire::{Event, Page};

/// The pause between two requests to a registry that does not wait for events.
const POLL: Duration = Duration::from_secs(1);
/// The default number of events of a page.
const USUAL_PAGE: u32 = 100;

/// What an [`EventFollower`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Followed {
    /// The next event. Its id is the marker to continue from.
    Event(Event),
    /// Events may be missing here: the registry no longer has all that followed the marker, or was set up anew. The
    /// events after this are those that it has. A program that keeps what it learned from events should read the lists.
    StartedAgain,
    /// The registry does not answer. The follower goes on asking; no event is lost. Once for each outage.
    Interrupted(Error),
}

/// A stream of events, from [`Events::follow`](crate::client::Events::follow).
///
/// It goes on through outages and restarts of the registry, and yields every event once, in order. It ends after an
/// error that will not pass by itself, such as wrong credentials or a marker that is no UUID.
///
/// ```no_run
/// # async fn example(client: service_registry::client::Client, saved: Option<String>) {
/// use futures_util::StreamExt;
/// use service_registry::client::Followed;
///
/// let mut events = client.events().follow(saved.as_deref()).of_type("service.join");
/// while let Some(next) = events.next().await {
///     match next {
///         Ok(Followed::Event(event)) => println!("{} {}", event.id, event.payload),
///         Ok(Followed::StartedAgain) => eprintln!("events may be missing"),
///         Ok(other) => eprintln!("{other:?}"),
///         Err(error) => eprintln!("{error}"), // the last item
///     }
/// }
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct EventFollower {
    begin: Option<Position>,
    running: Option<BoxStream<'static, Result<Followed, Error>>>,
}

impl Events<'_> {
    /// Follows the events after a marker, the id of an event; without one, those that happen from now on.
    ///
    /// With a registry that does not wait for events (version 0.1.0), it asks every second.
    pub fn follow(self, marker: Option<&str>) -> EventFollower {
        let position = Position {
            client: self.client.clone(),
            marker: marker.map(str::to_owned),
            kind: None,
            is_extended: false,
            limit: None,
            attempts: Attempts::default(),
            ready: VecDeque::new(),
            poller: None,
            has_ended: false,
        };
        EventFollower { begin: Some(position), running: None }
    }
}

impl EventFollower {
    /// Only events of this type.
    pub fn of_type(mut self, kind: impl Into<String>) -> Self {
        if let Some(begin) = &mut self.begin {
            begin.kind = Some(kind.into());
        }
        self
    }

    /// Also events of the types that clients have to ask for: `service.update` and those of sessions.
    pub fn extended(mut self) -> Self {
        if let Some(begin) = &mut self.begin {
            begin.is_extended = true;
        }
        self
    }
}

impl Stream for EventFollower {
    type Item = Result<Followed, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(begin) = self.begin.take() {
            let next = async |mut position: Position| position.next().await.map(|item| (item, position));
            self.running = Some(Box::pin(stream::unfold(begin, next)));
        }
        self.running.as_mut().map_or(Poll::Ready(None), |running| running.as_mut().poll_next(cx))
    }
}

impl Debug for EventFollower {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventFollower").finish_non_exhaustive()
    }
}

/// How far a follower has come.
struct Position {
    client: Client,
    /// None before the registry has said where its feed ends.
    marker: Option<String>,
    kind: Option<String>,
    is_extended: bool,
    /// The number of events to request, if a page of the registry's choice is longer than the client reads.
    limit: Option<u32>,
    attempts: Attempts,
    /// What was received and not yet yielded.
    ready: VecDeque<Followed>,
    /// Asks a registry that does not wait.
    poller: Option<EventsPoller>,
    has_ended: bool,
}

impl Position {
    async fn next(&mut self) -> Option<Result<Followed, Error>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            if self.has_ended {
                return None;
            }
            let outcome = match &mut self.poller {
                Some(poller) => {
                    let event = poller.next().await;
                    self.ready.extend(poller.has_started_again().then_some(Followed::StartedAgain));
                    event.map(|event| {
                        self.attempts.succeeded(None);
                        self.ready.push_back(Followed::Event(event));
                    })
                }
                None => self.ask().await,
            };
            if let Err(error) = outcome
                && let Some(item) = self.failed(error)
            {
                return Some(item);
            }
        }
    }

    /// Waits for the next page. Without a marker, asks where the feed ends: an answer that is lost later loses nothing.
    async fn ask(&mut self) -> Result<(), Error> {
        self.attempts.pause().await;
        let (began, wait) = (Instant::now(), if self.marker.is_none() { 0 } else { self.attempts.wait() });
        let mut query = vec![("wait", wait.to_string())];
        query.extend(self.marker.clone().map(|marker| ("marker", marker)));
        query.extend(self.kind.clone().map(|kind| ("type", kind)));
        query.extend(self.is_extended.then(|| ("extended", "true".to_owned())));
        query.extend(self.limit.map(|limit| ("limit", limit.to_string())));
        let page: Page<Event> =
            self.client.send(Call::get(&["events"]).query(query).waiting(Duration::from_secs(wait))).await?.json()?;
        if !self.is_after_marker(&page) {
            return self.fall_back(page).await;
        }
        let brings_nothing = page.values.is_empty() && wait > 0;
        self.attempts.succeeded(brings_nothing.then_some(began));
        self.limit = None;
        self.marker = page.metadata.next_marker;
        self.ready.extend(page.values.into_iter().map(Followed::Event));
        Ok(())
    }

    /// Returns whether the registry knows `wait`: then the page begins after the marker, and always leads on.
    fn is_after_marker(&self, page: &Page<Event>) -> bool {
        let id = |event: Option<&Event>| event.map(|event| event.id.clone());
        let (first, last, next) = (id(page.values.first()), id(page.values.last()), page.metadata.next_marker.as_ref());
        next.is_some() && (last.is_none() || last.as_ref() == next && first != self.marker)
    }

    /// Continues with a registry that does not wait. Without a marker, it has sent the first page of the last hour.
    async fn fall_back(&mut self, mut page: Page<Event>) -> Result<(), Error> {
        if self.marker.is_none() {
            loop {
                self.marker = page.values.last().map(|event| event.id.clone()).or(self.marker.take());
                let Some(next) = page.metadata.next_marker else { break };
                let query = vec![("marker", next)];
                page = self.client.send(Call::get(&["events"]).query(query)).await?.json()?;
            }
        }
        self.attempts.succeeded(None);
        self.poll(self.marker.clone());
        Ok(())
    }

    fn poll(&mut self, after: Option<String>) {
        let poller = EventsPoller::new(&self.client).every(POLL);
        let poller = if let Some(kind) = &self.kind { poller.of_type(kind) } else { poller };
        self.poller = Some(if let Some(id) = after { poller.after(id) } else { poller });
    }

    /// Decides what a failure means; returns what to yield.
    fn failed(&mut self, error: Error) -> Option<Result<Followed, Error>> {
        let fault = error.fault();
        if let (true, Some(limit @ 2..)) = (error.is_too_long(), Some(self.limit.unwrap_or(USUAL_PAGE))) {
            self.limit = Some(limit / 2);
            return None;
        }
        if self.poller.is_none() && fault.is_some_and(|fault| fault.kind == "markerExpired") {
            self.marker = fault.and_then(|fault| fault.marker.clone());
            self.attempts.started_again();
            return Some(Ok(Followed::StartedAgain));
        }
        // A registry that does not wait, and was set up anew.
        if self.poller.is_none() && fault.is_some_and(|fault| fault.message.ends_with(BEFORE_ACCOUNT)) {
            self.poll(None);
            return Some(Ok(Followed::StartedAgain));
        }
        if error.is_retryable() {
            return self.attempts.failed(&error).then_some(Ok(Followed::Interrupted(error)));
        }
        self.has_ended = true;
        Some(Err(error))
    }
}

//! Follows the event feed: every event once, in order, through outages and restarts.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::client::{Client, Error, EventOptions, Events};
use crate::wire::{Event, Page};

/// The default pause between two requests: 10 s.
pub const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// The default number of events of a page.
const USUAL_PAGE: u32 = 100;

/// Practically for ever, and within the range of clocks.
const LONGEST_PAUSE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A registry that was set up anew refuses older markers with a message that ends like this.
pub(super) const BEFORE_ACCOUNT: &str = "greater than or equal to the account creation date";

/// Returns one event after the other; from [`Events::poller`](crate::client::Events::poller).
///
/// ```no_run
/// # async fn example(client: service_registry::client::Client) {
/// let mut events = client.events().poller();
/// loop {
///     match events.next().await {
///         Ok(event) => println!("{} {}", event.kind, event.payload),
///         Err(error) => eprintln!("{error}"), // asked again after the interval
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
#[must_use]
pub struct EventsPoller {
    client: Client,
    every: Duration,
    kind: Option<String>,
    due: Instant,
    /// The number of events to request, if a page of the registry's choice is longer than the client reads.
    limit: Option<u32>,
    feed: Feed,
}

/// The position of the poller. No clock, no socket.
#[derive(Debug, Default)]
struct Feed {
    waiting: VecDeque<Event>,
    /// The last event that was returned.
    given: Option<String>,
    /// The last event that was fetched.
    fetched: Option<String>,
    /// The first id of the next page of an unfinished list.
    next_page: Option<String>,
    /// The last page contained a new event.
    is_new: bool,
    /// The registry was set up anew since the last event.
    is_anew: bool,
}

impl Events<'_> {
    /// Follows the events, beginning with those of the last hour.
    pub fn poller(self) -> EventsPoller {
        EventsPoller::new(self.client)
    }
}

impl EventsPoller {
    pub(super) fn new(client: &Client) -> Self {
        Self {
            client: client.clone(),
            every: DEFAULT_POLL_INTERVAL,
            kind: None,
            due: Instant::now(),
            limit: None,
            feed: Feed::default(),
        }
    }

    /// The pause between two requests; 10 s by default. A list of several pages is read without pauses.
    pub fn every(mut self, pause: Duration) -> Self {
        self.every = pause;
        self
    }

    /// Only events of this type.
    pub fn of_type(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Begins after this event: a [`marker`](Self::marker) from earlier, so that a restarted program
    /// continues where it was.
    pub fn after(mut self, event_id: impl Into<String>) -> Self {
        let id = Some(event_id.into());
        self.feed = Feed { given: id.clone(), fetched: id, ..Feed::default() };
        self
    }

    /// Returns the id of the last event that was returned.
    #[must_use]
    pub fn marker(&self) -> Option<&str> {
        self.feed.given.as_deref()
    }

    /// Returns, once, whether the registry was set up anew.
    pub(super) fn has_started_again(&mut self) -> bool {
        std::mem::take(&mut self.feed.is_anew)
    }

    /// Waits for the next event. May be dropped while it waits, without losing an event.
    ///
    /// A poller without a position begins with the registry's last hour. If the registry was
    /// set up anew, its events are returned from their beginning.
    ///
    /// # Errors
    ///
    /// Any [`Error`], once for each failed request. No event is lost: the next call repeats the request,
    /// after the usual pause or the one that the registry asks for.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.feed.give() {
                return Ok(event);
            }
            if self.feed.next_page.is_none() || !self.feed.is_new {
                sleep_until(self.due).await;
            }
            let options = EventOptions {
                limit: self.limit,
                marker: self.feed.marker(),
                kind: self.kind.clone(),
                ..EventOptions::default()
            };
            let page = self.client.events().list(&options).await;
            let asked_to_wait = page.as_ref().err().and_then(Error::retry_after).unwrap_or_default();
            self.due = Instant::now() + self.every.max(asked_to_wait).min(LONGEST_PAUSE);
            match (page, self.limit.unwrap_or(USUAL_PAGE)) {
                (Ok(page), _) => {
                    self.feed.take(page);
                    self.limit = self.limit.filter(|_| self.feed.next_page.is_some());
                }
                (Err(error), limit @ 2..) if error.is_too_long() => {
                    self.limit = Some(limit / 2);
                    self.due = Instant::now();
                }
                (Err(error), _) => self.feed.fail(error)?,
            }
        }
    }
}

impl Feed {
    fn give(&mut self) -> Option<Event> {
        let event = self.waiting.pop_front()?;
        self.given = Some(event.id.clone());
        Some(event)
    }

    /// Returns where the next list begins. Markers are inclusive, so it begins with a known event.
    fn marker(&self) -> Option<String> {
        self.next_page.clone().or_else(|| self.fetched.clone())
    }

    fn take(&mut self, page: Page<Event>) {
        let (asked, before) = (self.marker(), self.fetched.clone());
        for event in page.values {
            if self.fetched.as_deref() != Some(&event.id) {
                self.fetched = Some(event.id.clone());
                self.waiting.push_back(event);
            }
        }
        // A page may be empty and continue, if the registry has found no event of the type among those that it visits
        // for one request. Asking at once again could go on for ever.
        self.is_new = self.fetched != before;
        self.next_page = page.metadata.next_marker.filter(|next| self.is_new || asked.as_ref() != Some(next));
    }

    /// The next list begins after the fetched events; or anew, if the registry did.
    fn fail(&mut self, error: Error) -> Result<(), Error> {
        self.next_page = None;
        let anew = error.fault().is_some_and(|fault| fault.message.ends_with(BEFORE_ACCOUNT));
        if anew && self.fetched.take().is_some() {
            self.is_anew = true;
            Ok(())
        } else {
            Err(error)
        }
    }
}

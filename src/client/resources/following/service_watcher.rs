//! Watches a list of services: the whole list, whenever it changes.

use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::future::try_join_all;
use futures_util::stream::{self, BoxStream};
use tokio::time::{Instant, sleep};

use super::attempts::Attempts;
use super::service_filter::ServiceFilter;
use crate::client::transport::{Answer, Call};
use crate::client::{Client, Error, Services};
use crate::wire::limits::PAGE;
use crate::wire::{Page, Service};

/// The pause between two requests to a registry whose lists have no entity tags.
const POLL: Duration = Duration::from_secs(1);

/// What a [`ServiceWatcher`] yields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Watched {
    /// All services of the filter, by id: first as they are, and then after each change. After an interruption also if
    /// nothing has changed. Changes that come together may be one list. Heartbeats are no changes.
    List(Vec<Service>),
    /// The registry does not answer, so the last list may be out of date. The watcher goes on asking. Once for each
    /// outage.
    Interrupted(Error),
}

/// A stream of lists, from [`Services::watch`](crate::client::Services::watch).
///
/// It goes on through outages and restarts of the registry. It ends after an error that will not pass by itself, such
/// as wrong credentials.
///
/// ```no_run
/// # async fn example(client: service_registry::client::Client) {
/// use futures_util::StreamExt;
/// use service_registry::client::{ServiceFilter, Watched};
///
/// let mut lists = client.services().watch(ServiceFilter::tag("api"));
/// while let Some(next) = lists.next().await {
///     match next {
///         Ok(Watched::List(services)) => println!("{} services", services.len()),
///         Ok(other) => eprintln!("{other:?}"),
///         Err(error) => eprintln!("{error}"), // the last item
///     }
/// }
/// # }
/// ```
#[must_use = "a stream does nothing unless it is polled"]
pub struct ServiceWatcher(BoxStream<'static, Result<Watched, Error>>);

impl Services<'_> {
    /// Watches the list of services that have all of this.
    ///
    /// With a registry whose lists have no entity tags (version 0.1.0), it asks every second.
    pub fn watch(self, filter: ServiceFilter) -> ServiceWatcher {
        let watch = Watch {
            client: self.client().clone(),
            filter,
            limit: *PAGE.end(),
            pages: Vec::new(),
            last: None,
            attempts: Attempts::default(),
            has_ended: false,
        };
        let next = async |mut watch: Watch| watch.next().await.map(|item| (item, watch));
        ServiceWatcher(Box::pin(stream::unfold(watch, next)))
    }
}

impl Stream for ServiceWatcher {
    type Item = Result<Watched, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl Debug for ServiceWatcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceWatcher").finish_non_exhaustive()
    }
}

struct Watch {
    client: Client,
    filter: ServiceFilter,
    /// The most services of a page.
    limit: usize,
    /// The pages of the last list; none if it is to be read.
    pages: Vec<KnownPage>,
    last: Option<Vec<Service>>,
    attempts: Attempts,
    has_ended: bool,
}

/// A page that was read.
#[derive(Clone, Debug)]
struct KnownPage {
    marker: Option<String>,
    /// None from a registry whose lists have none.
    entity_tag: Option<String>,
}

/// Why waiting for a change has ended.
enum End {
    /// This page has changed.
    Changed(usize, Answer),
    Failed(Error),
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Watched, Error>> {
        while !self.has_ended {
            self.attempts.pause().await;
            match self.look().await {
                Ok(Some(list)) => return Some(Ok(Watched::List(list))),
                Ok(None) => {}
                Err(error) if error.is_too_long() && self.limit > 1 => {
                    self.limit /= 2;
                    self.pages.clear();
                }
                Err(error) if error.is_retryable() => {
                    if self.attempts.failed(&error) {
                        return Some(Ok(Watched::Interrupted(error)));
                    }
                }
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
        None
    }

    /// Reads the list, or waits until it changes. Returns it if it is to be yielded.
    async fn look(&mut self) -> Result<Option<Vec<Service>>, Error> {
        let (began, mut answer) = (Instant::now(), None);
        if self.last.is_some() && self.pages.iter().all(|page| page.entity_tag.is_some()) && !self.pages.is_empty() {
            match self.wait().await {
                Ok(()) => {
                    let was_away = self.attempts.succeeded(Some(began));
                    return Ok(self.last.clone().filter(|_| was_away));
                }
                Err(End::Failed(error)) => return Err(error),
                Err(End::Changed(page, changed)) => answer = Some(changed).filter(|_| page == 0),
            }
        } else if self.last.is_some() {
            sleep(POLL).await;
        }
        let list = self.read(answer).await?;
        let was_away = self.attempts.succeeded(None);
        let is_new = self.last.as_ref().is_none_or(|last| !is_same(last, &list));
        self.last = Some(list);
        Ok(self.last.clone().filter(|_| is_new || was_away))
    }

    /// Waits until a page changes, or until all have been found unchanged.
    async fn wait(&self) -> Result<(), End> {
        let wait = self.attempts.wait();
        let pages = self.pages.iter().enumerate().map(async |(at, page)| {
            let mut call = self.call(page.marker.as_deref(), wait);
            if let Some(tag) = &page.entity_tag {
                call = call.unless(tag);
            }
            match self.client.send(call).await {
                Ok(answer) if answer.is_unchanged() => Ok(()),
                Ok(answer) => Err(End::Changed(at, answer)),
                Err(error) => Err(End::Failed(error)),
            }
        });
        try_join_all(pages).await.map(drop)
    }

    /// Reads all pages. The answer to the first request may be there.
    async fn read(&mut self, mut first: Option<Answer>) -> Result<Vec<Service>, Error> {
        let (mut list, mut marker, mut pages) = (Vec::new(), None, Vec::new());
        loop {
            let answer = match first.take() {
                Some(answer) => answer,
                None => self.client.send(self.call(marker.as_deref(), 0)).await?,
            };
            let page: Page<Service> = answer.json()?;
            list.extend(page.values);
            pages.push(KnownPage { marker: marker.clone(), entity_tag: answer.entity_tag().map(str::to_owned) });
            match page.metadata.next_marker {
                None => break,
                next if next <= marker => return Err(answer.bad("has a next_marker that does not lead on")),
                next => marker = next,
            }
        }
        self.pages = pages;
        Ok(list)
    }

    fn call(&self, marker: Option<&str>, wait: u64) -> Call<'static> {
        let mut query = self.filter.query();
        query.push(("limit".into(), self.limit.to_string()));
        query.extend(marker.map(|marker| ("marker".into(), marker.to_owned())));
        query.extend((wait > 0).then(|| ("wait".into(), wait.to_string())));
        Call::get(&["services"]).query(query).waiting(Duration::from_secs(wait))
    }
}

/// Returns whether two lists differ in heartbeats at most.
pub(super) fn is_same(one: &[Service], other: &[Service]) -> bool {
    let without_heartbeats = |service: &Service| match service {
        Service::Own(service) => {
            let mut service = service.clone();
            service.last_seen = None;
            Service::Own(service)
        }
        in_session => in_session.clone(),
    };
    one.len() == other.len()
        && one.iter().zip(other).all(|(one, other)| without_heartbeats(one) == without_heartbeats(other))
}

//! The last good response to each request about services, for the time when the registry does not answer: a list that
//! is a minute old is better than none.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::client::{Error, ListOptions};
use crate::wire::Service;

/// The most requests that are remembered; the one answered longest ago is dropped first.
const REMEMBERED: usize = 32;

/// Services, by id.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceList {
    /// The services.
    pub services: Vec<Service>,
    /// The first id of the next page; none on the last page.
    pub next_marker: Option<String>,
    /// None if the response is new. Otherwise the registry does not answer, and this is an earlier response.
    pub stale: Option<Stale>,
}

/// The age of a remembered response, and why there is no new one.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stale {
    /// The time since the registry gave that response.
    pub age: Duration,
    /// Why the registry could not be asked now.
    pub error: Error,
}

/// The request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CacheKey {
    pub(super) tag: Option<String>,
    /// None: all pages.
    pub(super) page: Option<ListOptions>,
}

#[derive(Default)]
pub(crate) struct ResponseCache(Mutex<VecDeque<(CacheKey, Instant, ServiceList)>>);

impl ResponseCache {
    /// Returns a good response and remembers it; returns the remembered one if the registry does not answer.
    pub(super) fn settle(&self, question: CacheKey, answer: Result<ServiceList, Error>) -> Result<ServiceList, Error> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().position(|(other, ..)| *other == question);
        match answer {
            Ok(list) => {
                if let Some(index) = known {
                    kept.remove(index);
                } else if kept.len() == REMEMBERED {
                    kept.pop_front();
                }
                kept.push_back((question, Instant::now(), list.clone()));
                Ok(list)
            }
            // A refusal is an answer of the registry.
            Err(error) if !error.is_retryable() => Err(error),
            Err(error) => match known.and_then(|index| kept.get(index)) {
                Some((_, since, list)) => {
                    Ok(ServiceList { stale: Some(Stale { age: since.elapsed(), error }), ..list.clone() })
                }
                None => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(tag: usize) -> CacheKey {
        CacheKey { tag: Some(tag.to_string()), page: None }
    }

    fn list(next_marker: &str) -> ServiceList {
        ServiceList { services: Vec::new(), next_marker: Some(next_marker.to_owned()), stale: None }
    }

    fn away() -> Error {
        Error::UnexpectedResponse {
            phase: crate::client::Phase::Call,
            url: String::new(),
            what: String::new(),
            is_too_long: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn age_counts_from_the_last_good_response() {
        let kept = ResponseCache::default();
        kept.settle(question(1), Ok(list("old"))).unwrap();
        tokio::time::advance(Duration::from_secs(60)).await;
        kept.settle(question(1), Ok(list("new"))).unwrap();
        for seconds in [5, 12] {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let stale = kept.settle(question(1), Err(away())).unwrap();
            assert_eq!(stale.next_marker.as_deref(), Some("new"));
            assert_eq!(stale.stale.unwrap().age.as_secs(), if seconds == 5 { 5 } else { 17 });
        }
        assert!(kept.settle(question(2), Err(away())).is_err(), "another question");
        assert!(kept.settle(question(1), Err(Error::invalid("no"))).is_err(), "a refusal is no absence");
    }

    #[tokio::test]
    async fn oldest_response_is_dropped_beyond_the_limit() {
        let kept = ResponseCache::default();
        for tag in 0..=REMEMBERED {
            kept.settle(question(tag), Ok(list("x"))).unwrap();
        }
        assert!(kept.settle(question(0), Err(away())).is_err());
        for tag in 1..=REMEMBERED {
            assert!(kept.settle(question(tag), Err(away())).is_ok(), "{tag}");
        }
    }
}

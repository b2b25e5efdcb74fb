//! Kept connections to other nodes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::Link;

/// How long a connection is kept unused. The other node keeps it longer, unless it is told otherwise.
const KEPT: Duration = Duration::from_secs(20);

/// The free connections to each URL; the last one used is at the back. As many are kept as were needed lately.
#[derive(Default)]
pub(super) struct Pool(Mutex<HashMap<Box<str>, VecDeque<Free>>>);

struct Free {
    link: Link,
    since: Instant,
}

impl Pool {
    /// Returns the one that was used last.
    pub(super) fn take(&self, url: &str) -> Option<Link> {
        let mut pool = self.lock();
        let of_url = pool.get_mut(url)?;
        let last = of_url.pop_back().filter(|last| last.since.elapsed() < KEPT);
        let aged = if last.is_none() { pool.remove(url) } else { None };
        drop(pool); // closing the others takes a while
        drop(aged);
        last.map(|last| last.link)
    }

    /// Keeps a connection.
    pub(super) fn put(&self, url: &str, link: Link) {
        let since = Instant::now();
        let mut pool = self.lock();
        let of_url = match pool.get_mut(url) {
            Some(of_url) => of_url,
            None => pool.entry(url.into()).or_default(),
        };
        of_url.push_back(Free { link, since });
        let is_aged = of_url.front().is_some_and(|first| since - first.since >= KEPT);
        let aged = if is_aged { of_url.pop_front() } else { None };
        drop(pool);
        drop(aged);
    }

    /// Closes what was not used lately, also to nodes that are gone.
    pub(super) fn close_aged(&self) {
        let mut pool = self.lock();
        let mut aged = Vec::new();
        pool.retain(|_, of_url| {
            let count = of_url.iter().take_while(|free| free.since.elapsed() >= KEPT).count();
            aged.extend(of_url.drain(..count));
            !of_url.is_empty()
        });
        drop(pool);
        drop(aged);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, VecDeque<Free>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

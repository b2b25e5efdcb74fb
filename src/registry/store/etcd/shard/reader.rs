//! Reads the records of a shard, with today's keys: a page of events is read as single events.

use std::io;

use super::event_page;
use crate::registry::model::{TenantId, Uuid1};
use crate::registry::store::Visit;
use crate::registry::store::etcd::Layout;
use crate::registry::store::etcd::client::{EtcdClient, EtcdError, Found, KeyValue, Page};
use crate::registry::store::record::{self, DATA, event_key};

/// The most keys in the first answer: a start looks for one.
const FIRST: i64 = 16;
/// How many times as many each further answer may have.
const GROWTH: i64 = 16;
/// The most keys in an answer. etcd counts the keys that follow, so few large answers are faster.
const MOST: i64 = 30_000;
/// How large answers shall be, in bytes.
const ANSWER: i64 = 8 << 20;
/// The most pages of events that are read at once from the end of a range.
const BACK: i64 = 500;

/// The records of one shard, now or at a revision.
#[derive(Clone, Debug)]
pub(crate) struct ShardReader {
    client: EtcdClient,
    layout: Layout,
    shard: u16,
    runtime: tokio::runtime::Handle,
}

/// The range of records that a visitor gets.
struct Wanted<'a> {
    from: &'a [u8],
    to: &'a [u8],
}

impl ShardReader {
    /// Reads on threads that are not of the runtime, as those of `spawn_blocking`.
    pub(crate) fn new(client: EtcdClient, layout: Layout, shard: u16, runtime: tokio::runtime::Handle) -> Self {
        Self { client, layout, shard, runtime }
    }

    /// Returns the key of a record in etcd.
    pub(super) fn key(&self, record_key: &[u8]) -> Vec<u8> {
        self.layout.record(self.shard, record_key)
    }

    fn record_key(&self, found: &KeyValue) -> io::Result<Vec<u8>> {
        let (from, _) = self.layout.data(self.shard);
        let rest = found.key.strip_prefix(&from[..]).ok_or_else(|| unreadable(&found.key))?;
        Ok([&[DATA], rest].concat())
    }

    /// Returns the range in etcd for a range of records. There are no others in a shard.
    fn bounds(&self, from: &[u8], to: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let (first, end) = self.layout.data(self.shard);
        let bound = |record_key: &[u8]| match record_key.first() {
            Some(&DATA) => self.key(record_key),
            Some(letter) if *letter > DATA => end.clone(),
            _ => first.clone(),
        };
        (bound(from), bound(to))
    }

    /// Visits the records from the first key up to, and not including, the second.
    pub(super) fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        let (first, end) = self.bounds(from, to);
        let wanted = Wanted { from, to };
        let goes_on = self.each(first, &end, 0, &mut |found| self.visit(found, &wanted, visit))?;
        if goes_on && let Some(found) = self.page_after(to)? {
            self.visit(&found, &wanted, visit)?;
        }
        Ok(())
    }

    /// Visits the events of one tenant from the last on, down to the first key.
    pub(super) fn scan_back(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> io::Result<()> {
        let wanted = Wanted { from, to };
        if let Some(found) = self.page_after(to)?
            && !self.visit_back(&found, &wanted, visit)?
        {
            return Ok(());
        }
        // etcd reads a whole range to give its end. So the range is halved until its upper part is short.
        let mut parts = vec![(from.to_vec(), to.to_vec(), None)];
        while let Some((from, to, count)) = parts.pop() {
            let (first, end) = self.bounds(&from, &to);
            if first >= end {
                continue;
            }
            let count = match count {
                Some(count) => count,
                None => self.runtime.block_on(self.client.count(&first, &end))?,
            };
            if count > BACK
                && let Some(middle) = middle(&from, &to)
            {
                let upper = self.runtime.block_on(self.client.count(&self.key(&middle), &end))?;
                parts.push((from, middle.clone(), Some((count - upper).max(1)))); // another may be there by now
                parts.push((middle, to, Some(upper)));
            } else if count > 0 {
                let mut all = Vec::new();
                self.each(first, &end, 0, &mut |found| {
                    all.push(found.clone());
                    Ok(true)
                })?;
                for found in all.iter().rev() {
                    if !self.visit_back(found, &wanted, visit)? {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// Visits all records as of one revision; 0 for the current one, which is returned.
    pub(crate) fn dump(&self, revision: i64, visit: &mut Visit<'_>) -> io::Result<i64> {
        let (first, end) = self.layout.data(self.shard);
        let revision = match revision {
            0 => self.runtime.block_on(self.client.page(Page { from: first.clone(), ..Page::default() }))?.revision,
            revision => revision,
        };
        let wanted = Wanted { from: &[DATA], to: &[DATA + 1] };
        self.each(first, &end, revision, &mut |found| self.visit(found, &wanted, visit))?;
        Ok(revision)
    }

    /// Returns the pages that have events from the first up to the last, with their keys in etcd.
    pub(super) async fn event_pages(
        &self,
        tenant: TenantId,
        first: Uuid1,
        last: Uuid1,
    ) -> Result<Vec<(Vec<u8>, Vec<(Uuid1, Vec<u8>)>)>, EtcdError> {
        let mut found =
            self.client.range(&self.key(&event_key(tenant, first)), &self.key(&event_key(tenant, last))).await?;
        found.values.extend(self.first_page(&event_key(tenant, last), tenant).await?);
        let split = |found: KeyValue| {
            let damaged = || EtcdError::Refused(unreadable(&found.key).to_string());
            let events = event_page::events(&found.value).ok_or_else(damaged)?;
            let events = events.into_iter().map(|(id, event)| (id, event.to_vec())).collect();
            Ok((found.key, events))
        };
        found.values.into_iter().map(split).collect()
    }

    /// Returns the page that may have events from before an event's key.
    fn page_after(&self, record_key: &[u8]) -> io::Result<Option<KeyValue>> {
        let Some((tenant, _)) = record::event_of(record_key) else { return Ok(None) };
        Ok(self.runtime.block_on(self.first_page(record_key, tenant))?)
    }

    async fn first_page(&self, from: &[u8], tenant: TenantId) -> Result<Option<KeyValue>, EtcdError> {
        let to = self.key(&event_key(tenant, Uuid1::of_parts(u64::MAX, u64::MAX)));
        let page = Page { from: self.key(from), to, limit: 1, ..Page::default() };
        Ok(self.client.page(page).await?.values.pop())
    }

    /// Visits the keys of a range in etcd; returns whether the visitor wants to go on.
    fn each(
        &self,
        from: Vec<u8>,
        to: &[u8],
        revision: i64,
        visit: &mut dyn FnMut(&KeyValue) -> io::Result<bool>,
    ) -> io::Result<bool> {
        let is_empty = from[..] >= *to;
        let first = Page { from, to: to.to_vec(), limit: FIRST, revision, ..Page::default() };
        let mut answer = (!is_empty).then(|| self.fetch(first));
        let mut is_first = true;
        while let Some(fetched) = answer.take() {
            let found = self.runtime.block_on(fetched)?;
            let rest = found.values.last().filter(|_| found.more).map(|last| Page {
                from: [&last.key[..], b"\0"].concat(),
                to: to.to_vec(),
                limit: next_limit(&found),
                revision,
                ..Page::default()
            });
            // The next answer comes while this one is visited, except after the first: many visitors want no more.
            if !is_first {
                answer = rest.clone().map(|page| self.fetch(page));
            }
            for value in &found.values {
                if !visit(value)? {
                    return Ok(false);
                }
            }
            if std::mem::take(&mut is_first) {
                answer = rest.map(|page| self.fetch(page));
            }
        }
        Ok(true)
    }

    /// Asks for a part of a range.
    fn fetch(&self, page: Page) -> impl Future<Output = Result<Found, EtcdError>> + use<> {
        let client = self.client.clone();
        let asked = self.runtime.spawn(async move { client.page(page).await });
        async move { asked.await.unwrap_or_else(|error| Err(EtcdError::Unavailable(error.to_string()))) }
    }

    fn visit(&self, found: &KeyValue, wanted: &Wanted<'_>, visit: &mut Visit<'_>) -> io::Result<bool> {
        let record_key = self.record_key(found)?;
        let Some((tenant, _)) = record::event_of(&record_key) else { return visit(&record_key, &found.value) };
        for (id, event) in event_page::events(&found.value).ok_or_else(|| unreadable(&found.key))? {
            let key = event_key(tenant, id);
            if key[..] >= *wanted.to || key[..] >= *wanted.from && !visit(&key, event)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn visit_back(&self, found: &KeyValue, wanted: &Wanted<'_>, visit: &mut Visit<'_>) -> io::Result<bool> {
        let record_key = self.record_key(found)?;
        let Some((tenant, _)) = record::event_of(&record_key) else { return visit(&record_key, &found.value) };
        for (id, event) in event_page::events(&found.value).ok_or_else(|| unreadable(&found.key))?.into_iter().rev() {
            let key = event_key(tenant, id);
            if key[..] < *wanted.from || key[..] < *wanted.to && !visit(&key, event)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Returns how many keys the next answer shall have.
fn next_limit(found: &Found) -> i64 {
    let count = i64::try_from(found.values.len()).unwrap_or(MOST).max(1);
    let bytes: usize = found.values.iter().map(|found| found.key.len() + found.value.len()).sum();
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX).max(1);
    (count * GROWTH).min(ANSWER.saturating_mul(count) / bytes).clamp(1, MOST)
}

/// Returns the key in the middle between the keys of two events of a tenant; none if there is none.
fn middle(from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let (tenant, first) = record::event_of(from)?;
    let (_, last) = record::event_of(to).filter(|(other, _)| *other == tenant)?;
    let number = |id: Uuid1| u128::from(id.parts().0) << 64 | u128::from(id.parts().1);
    let (first, last) = (number(first), number(last));
    let middle = first + last.checked_sub(first)? / 2;
    let id = Uuid1::of_parts((middle >> 64) as u64, middle as u64);
    (middle > first).then(|| event_key(tenant, id))
}

fn unreadable(key: &[u8]) -> io::Error {
    io::Error::other(format!("a record in etcd cannot be read: {}", key.escape_ascii()))
}

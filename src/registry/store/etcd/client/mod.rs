//! A client of etcd's API, version 3.
//!
//! In reading order: this file has the calls about keys, with `request` for what they ask; `lease`, `watch` and
//! `maintenance` have the others; `call` is the way of a call to one of the `members`; `error` says whether a call that
//! failed may have been carried out; `messages` are etcd's. Others may use everything that is named here.

mod call;
#[cfg(test)]
mod client_test;
mod error;
#[cfg(test)]
pub(in crate::registry) mod fixture;
#[cfg(test)]
pub(in crate::registry) mod fragile;
mod lease;
mod maintenance;
mod members;
mod messages;
mod request;
#[cfg(test)]
mod tls_test;
mod watch;

pub(crate) use error::EtcdError;
pub(crate) use messages::{AlarmKind, KeyValue, Member, Status};
pub(crate) use request::{Compare, Found, Operation, Outcome, Page};
pub(crate) use watch::Watching;

use std::sync::Arc;
use std::time::Duration;

use super::config::EtcdConfig;
use crate::registry::Error;
use call::{Method, Repeat, of_read};
use error::{Failure, FailureKind};
use members::Members;
use messages::{RangeRequest, RangeResponse, TxnRequest, TxnResponse};

/// The time for a try of a page with this many keys or more.
const LARGE_PAGE: i64 = 1_000;
const LARGE_PAGE_TIME: Duration = Duration::from_secs(10);

/// A client of the members of one etcd cluster. A clone is the same client.
#[derive(Clone, Debug)]
pub(crate) struct EtcdClient {
    members: Arc<Members>,
    /// An etcd in memory, in place of the members.
    #[cfg(test)]
    fragile: Option<Arc<fragile::Fragile>>,
}

impl EtcdClient {
    /// Does not connect yet.
    pub(crate) fn new(config: &EtcdConfig) -> Result<Self, Error> {
        Ok(Self {
            members: Arc::new(Members::new(config)?),
            #[cfg(test)]
            fragile: None,
        })
    }

    pub(crate) async fn get(&self, key: &[u8]) -> Result<Option<KeyValue>, EtcdError> {
        let page = Page { from: key.to_vec(), ..Page::default() };
        Ok(self.page(page).await?.values.pop())
    }

    /// Returns all keys from the first up to, and not including, the second, as of one revision. For small ranges.
    pub(crate) async fn range(&self, from: &[u8], to: &[u8]) -> Result<Found, EtcdError> {
        self.page(Page { from: from.to_vec(), to: to.to_vec(), ..Page::default() }).await
    }

    /// Returns a part of a range. If its values are too large for one answer, it has fewer than the limit.
    pub(crate) async fn page(&self, mut page: Page) -> Result<Found, EtcdError> {
        #[cfg(test)]
        if let Some(etcd) = &self.fragile {
            return etcd.page(&page);
        }
        loop {
            let mut method = Method::new("/etcdserverpb.KV/Range", Repeat::Always);
            if page.limit == 0 || page.limit >= LARGE_PAGE {
                method.limit = LARGE_PAGE_TIME;
            }
            match self.call(method, page.clone().request()).await {
                Err(Failure { kind: FailureKind::TooLarge, .. }) if page.limit > 1 => page.limit /= 8,
                Err(Failure { kind: FailureKind::TooLarge, .. }) if page.limit == 0 => page.limit = LARGE_PAGE,
                answer => return Ok(RangeResponse::into(answer.map_err(of_read)?)),
            }
            page.limit = page.limit.max(1);
        }
    }

    /// Returns the number of keys in a range.
    pub(crate) async fn count(&self, from: &[u8], to: &[u8]) -> Result<i64, EtcdError> {
        let page = Page { from: from.to_vec(), to: to.to_vec(), ..Page::default() };
        #[cfg(test)]
        if let Some(etcd) = &self.fragile {
            return Ok(etcd.page(&page)?.count);
        }
        let request = RangeRequest { count_only: true, ..page.request() };
        let method = Method::new("/etcdserverpb.KV/Range", Repeat::Always);
        let answer: RangeResponse = self.call(method, request).await.map_err(of_read)?;
        Ok(answer.count)
    }

    /// Makes the changes if all conditions hold. Goes to another member only if the one before certainly did not get
    /// it; the next call begins with the next one.
    pub(crate) async fn transact(
        &self,
        compares: Vec<Compare>,
        operations: Vec<Operation>,
    ) -> Result<Outcome, EtcdError> {
        #[cfg(test)]
        if let Some(etcd) = &self.fragile {
            return etcd.transact(compares, operations);
        }
        let request = TxnRequest {
            compare: compares.into_iter().map(Into::into).collect(),
            success: operations.into_iter().map(Into::into).collect(),
        };
        let answer = self.call(Method::new("/etcdserverpb.KV/Txn", Repeat::NotTaken), request).await;
        let TxnResponse { header, succeeded } = answer?;
        Ok(Outcome { succeeded, revision: header.map_or(0, |header| header.revision) })
    }
}

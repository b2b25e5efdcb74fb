//! The life of a node: joins the cluster, keeps its lease, and joins again as another node after it has lost it.
//!
//! A node that was in doubt about its lease starts anew: heartbeats may have been refused in the meantime, so every
//! holder gets its whole timeout, as after a takeover.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{sleep, timeout};

use super::claim::{Claim, boot_ms};
use super::node::Node;
use super::shards::Slot;
use super::view::{NodeInfo, PROTOCOL};
use crate::registry::store::etcd::{Compare, EtcdError, Operation, meta};

/// The time of a node's lease, in seconds. After a crash its shards are taken that much later, and half a second to a
/// second more until etcd notices. etcd grants no less than 2.
const TTL: i64 = 4;
/// Between two keep-alives: five in the time of a lease, so that a change of etcd's leader costs some, not all.
const KEEP_ALIVE: Duration = Duration::from_millis(800);
/// A keep-alive that is not answered by then is sent again.
const KEEP_ALIVE_LIMIT: Duration = Duration::from_millis(1200);
/// Between two attempts to reach etcd.
const RETRY: Duration = Duration::from_millis(250);
/// How long the handover of all shards may take at the stop.
const GIVE_LIMIT: Duration = Duration::from_secs(20);
/// How long the end of the lease may take at the exit. It ends by itself as well.
const REVOKE_LIMIT: Duration = Duration::from_secs(1);

/// A node's place in the cluster, from one grant of a lease to its end.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// Random, for each membership: a node that joins again never counts as the one before.
    pub(super) id: String,
    pub(super) lease: i64,
    /// The revision at which it joined.
    pub(super) joined: i64,
    pub(super) claim: Arc<Claim>,
    started: u64,
}

impl Node {
    /// Takes part in the cluster, as long as the future is polled.
    pub(in crate::registry) async fn live(self: Arc<Self>) -> Infallible {
        let mut has_failed = false;
        loop {
            let membership = match self.join().await {
                Ok(membership) => Arc::new(membership),
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::error!("--etcd: {error}; requests are refused until etcd answers");
                    }
                    sleep(RETRY).await;
                    continue;
                }
            };
            has_failed = false;
            tracing::info!(node = membership.id, "joined the cluster");
            self.membership.store(membership.clone());
            tokio::select! {
                () = self.keep_lease(&membership) => {}
                () = self.tend(&membership) => {}
            }
            membership.claim.give_up();
            self.drop_all();
            tracing::warn!(
                node = membership.id,
                "the lease in etcd has ended, or may have; this node's shards are given up"
            );
        }
    }

    async fn join(&self) -> Result<Membership, EtcdError> {
        let client = &self.config.client;
        let (sent, started) = (boot_ms(), SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let started = u64::try_from(started.as_millis()).unwrap_or(u64::MAX);
        let lease = client.grant(TTL).await?;
        let id = format!("{:016x}", fastrand::u64(..));
        let key = self.config.layout.node(&id);
        let value = self.info(started);
        let put = Operation::Put { key: key.clone(), value, lease };
        let mut compares = meta::is_still(&self.config.layout, &self.config.keys, self.config.shards);
        compares.push(Compare::CreateRevision(key, 0));
        let outcome = client.transact(compares, vec![put]).await?;
        if !outcome.succeeded {
            return Err(EtcdError::Refused("the registry in etcd was replaced; restart this node".to_owned()));
        }
        let claim = Arc::new(Claim::default());
        claim.extend(sent, seconds(TTL));
        Ok(Membership { id, lease, joined: outcome.revision, claim, started })
    }

    fn info(&self, started: u64) -> Vec<u8> {
        let info = NodeInfo {
            url: self.config.url.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: PROTOCOL,
            users: self.users.lock().unwrap_or_else(PoisonError::into_inner).0.clone(),
            started,
            leaving: self.is_leaving(),
        };
        serde_json::to_vec(&info).unwrap_or_default() // plain texts and numbers
    }

    /// Writes again what this node says about itself.
    pub(super) async fn announce(&self, own: &Membership) -> Result<(), EtcdError> {
        let key = self.config.layout.node(&own.id);
        let put = Operation::Put { key: key.clone(), value: self.info(own.started), lease: own.lease };
        self.config.client.transact(vec![Compare::CreateRevision(key, own.joined)], vec![put]).await.map(drop)
    }

    /// Renews the lease. Returns when it has ended, or may have.
    async fn keep_lease(&self, own: &Membership) {
        loop {
            let sent = boot_ms();
            let limit = KEEP_ALIVE_LIMIT.min(own.claim.left());
            let pause = match timeout(limit, self.config.client.keep_alive(own.lease)).await {
                Ok(Ok(ttl)) if ttl > 0 => {
                    own.claim.extend(sent, seconds(ttl.min(TTL)));
                    KEEP_ALIVE
                }
                Ok(Ok(_)) => return,
                Ok(Err(error)) => {
                    tracing::debug!("keep-alive: {error}");
                    RETRY
                }
                Err(_) => Duration::ZERO,
            };
            if !own.claim.is_valid() {
                return;
            }
            sleep(pause.min(own.claim.left())).await;
        }
    }

    /// Gives up all shards at once.
    fn drop_all(&self) {
        for (number, shard) in self.table.here() {
            self.table.set(number, Slot::Away);
            shard.end();
        }
        (0..self.config.shards).for_each(|number| drop(self.table.set(number, Slot::Away)));
        self.received().clear();
        self.tell_moved();
    }

    /// Hands all shards over to the other nodes, and takes no more.
    pub(in crate::registry) async fn leave(self: &Arc<Self>) {
        self.is_leaving.store(true, Ordering::Release);
        let own = self.membership.load_full();
        if own.claim.is_valid()
            && let Err(error) = self.announce(&own).await
        {
            tracing::warn!("--etcd: {error}; the other nodes learn of the stop when the lease ends");
        }
        if timeout(GIVE_LIMIT, self.give_all(&own)).await.is_err() {
            tracing::warn!("some shards could not be handed over; the other nodes take them when the lease ends");
        }
    }

    /// Ends the lease, so that the other nodes need not wait for its end.
    pub(in crate::registry) async fn quit(&self) {
        let own = self.membership.load_full();
        own.claim.give_up();
        self.drop_all();
        if timeout(REVOKE_LIMIT, self.config.client.revoke(own.lease)).await.is_err() {
            tracing::debug!("etcd did not answer; the lease ends by itself");
        }
    }
}

fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or_default())
}

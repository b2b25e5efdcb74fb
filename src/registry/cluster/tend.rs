//! Looks after the shards: which are without an owner, which are this node's by name, which should move.
//!
//! The truth is a range of keys, read at one revision. A watch only says when to read it again, so nothing depends on
//! each event of the watch to arrive.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::life::Membership;
use super::node::Node;
use super::shards::Slot;
use super::view::View;
use crate::registry::store::etcd::Watching;
use crate::registry::switches::is_switched_off;

/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest: 64 shards that move make as many events.
const GATHER: Duration = Duration::from_millis(20);
/// How long the nodes must have been the same before shards move for the sake of balance.
const STABLE: Duration = Duration::from_secs(3);
/// The most shards that come or go at a time.
const AT_A_TIME: usize = 8;

impl Node {
    /// Looks after the shards until the membership has ended.
    pub(super) async fn tend(self: &Arc<Self>, own: &Arc<Membership>) {
        let (from, to) = self.config.layout.live();
        let mut watching: Option<Watching> = None;
        let mut jobs = JoinSet::new();
        let (mut since, mut count, mut differing) = (Instant::now(), 0, Vec::new());
        loop {
            if watching.is_none() {
                watching = self.config.client.watch(&from, &to).await.ok();
            }
            match self.config.client.range(&from, &to).await {
                Ok(found) => {
                    let view = View::of(found, &self.config.layout);
                    if !view.nodes.contains_key(&own.id) {
                        return;
                    }
                    let known = self.view.load();
                    if !known.nodes.keys().eq(view.nodes.keys()) {
                        since = Instant::now();
                    }
                    self.tell_users(&view, &mut differing);
                    self.see(view);
                    while jobs.try_join_next().is_some() {}
                    if jobs.is_empty() {
                        self.tell_count(&mut count);
                    }
                    self.act(own, &mut jobs, since.elapsed() >= STABLE);
                }
                Err(error) => tracing::debug!("--etcd: {error}"),
            }
            sleep(GATHER).await;
            tokio::select! {
                () = sleep(LOOK) => {}
                () = changed(&mut watching) => {}
                _ = jobs.join_next(), if !jobs.is_empty() => {}
            }
        }
    }

    /// Logs which nodes have another users file: what one accepts, another one refuses. Once for each change.
    fn tell_users(&self, view: &View, told: &mut Vec<String>) {
        let own = self.users.lock().unwrap_or_else(PoisonError::into_inner).0.clone();
        let others = view.nodes.values().filter(|member| member.info.users != own);
        let others: Vec<String> = others.map(|member| member.info.url.clone()).collect();
        if others != *told {
            if !others.is_empty() {
                tracing::warn!(
                    "--users: these nodes have another users file: {}; give all the same",
                    others.join(", ")
                );
            }
            *told = others;
        }
    }

    /// Logs how many shards are here, if that has changed.
    fn tell_count(&self, told: &mut usize) {
        let count = self.table.here().len();
        if std::mem::replace(told, count) != count {
            tracing::info!("this node has {count} of {} shards", self.config.shards);
        }
    }

    /// Takes over what is known. Shards whose key names another owner are given up.
    pub(super) fn see(&self, view: View) {
        if view.revision < self.view.load().revision {
            return; // it was read at a member that is behind
        }
        for (number, shard) in self.table.here() {
            let is_lost = view.owners.get(&number).is_some_and(|owner| owner.revision > shard.revision);
            if is_lost && !shard.is_moving() {
                tracing::warn!(shard = number, "another node has taken the shard over");
                self.table.set(number, Slot::Away);
                shard.end();
            }
        }
        self.view.store(Arc::new(view));
        self.tell_moved();
    }

    fn act(self: &Arc<Self>, own: &Arc<Membership>, jobs: &mut JoinSet<()>, is_stable: bool) {
        let view = self.view.load_full();
        for number in 0..self.config.shards {
            if jobs.len() >= AT_A_TIME {
                return;
            }
            let owner = view.owners.get(&number);
            match self.table.get(number) {
                Slot::Coming => {}
                Slot::Here(shard) => {
                    let wanted = view.wanted(number).filter(|wanted| *wanted != own.id);
                    if let Some(target) = wanted.filter(|_| is_stable && !self.is_leaving()) {
                        jobs.spawn(self.clone().give(number, shard, target.to_owned()));
                    }
                }
                Slot::Away => {
                    let is_named = owner.is_some_and(|owner| owner.node == own.id);
                    let is_free = owner.is_none_or(|owner| !view.nodes.contains_key(&owner.node));
                    let is_free = is_free || is_switched_off("live") && !is_named;
                    let is_wanted = view.wanted(number) == Some(own.id.as_str()) && !self.is_leaving();
                    if is_named || is_free && is_wanted {
                        self.table.set(number, Slot::Coming);
                        jobs.spawn(self.clone().take(number, owner.cloned(), own.clone()));
                    }
                }
            }
        }
    }
}

/// Waits until the watch reports something. A watch that has ended is made again after the next look.
async fn changed(watching: &mut Option<Watching>) {
    match watching {
        Some(watch) => {
            if watch.changed().await.is_err() {
                *watching = None;
                sleep(GATHER).await;
            }
        }
        None => std::future::pending().await,
    }
}

//! A node: what the other rooms use of the cluster.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::{self, Debug, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

use super::handover::Received;
use super::life::Membership;
use super::operation::Upkeep;
use super::placement::shard_of;
use super::shards::{Hold, Slot, Table};
use super::view::View;
use crate::registry::counters::Counters;
use crate::registry::model::{Keys, TenantId};
use crate::registry::store::etcd::{EtcdClient, Layout};

/// Brings a handover to the node with this URL.
pub(in crate::registry) type Courier =
    Box<dyn Fn(String, u16, Vec<u8>) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// What a node is made of.
pub(in crate::registry) struct NodeConfig {
    pub(in crate::registry) client: EtcdClient,
    pub(in crate::registry) layout: Layout,
    pub(in crate::registry) shards: u16,
    pub(in crate::registry) keys: Arc<Keys>,
    /// The URL at which the other nodes reach this one.
    pub(in crate::registry) url: String,
    /// The fingerprint of the users file.
    pub(in crate::registry) users: String,
    /// The accounts of the users file.
    pub(in crate::registry) tenants: Vec<TenantId>,
    /// How long events are kept, in milliseconds.
    pub(in crate::registry) retention: u64,
    /// The limit of the members of etcd, in bytes.
    pub(in crate::registry) quota: u64,
    /// Of the runtime that does the work of etcd's client.
    pub(in crate::registry) runtime: Handle,
    pub(in crate::registry) courier: Courier,
    pub(in crate::registry) counters: Arc<Counters>,
}

impl Debug for NodeConfig {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeConfig").field("url", &self.url).finish_non_exhaustive()
    }
}

/// A node of the cluster.
#[derive(Debug)]
pub(in crate::registry) struct Node {
    pub(super) config: NodeConfig,
    pub(super) table: Table,
    pub(super) view: ArcSwap<View>,
    pub(super) membership: ArcSwap<Membership>,
    /// The fingerprint and the accounts of the users file.
    pub(super) users: Mutex<(String, Vec<TenantId>)>,
    /// Handovers that have arrived, by shard.
    pub(super) received: Mutex<HashMap<u16, Received>>,
    pub(super) is_leaving: AtomicBool,
    /// Set while etcd has little room left.
    pub(in crate::registry) is_full: Arc<AtomicBool>,
    /// Notified when an account may have another place.
    moved: Arc<Notify>,
}

/// Where the data of an account is.
#[derive(Debug)]
pub(in crate::registry) enum Place {
    Here(Hold),
    /// At another node.
    At {
        node: String,
        url: String,
    },
    /// Nowhere for the moment.
    Unsettled,
}

impl Node {
    pub(in crate::registry) fn new(config: NodeConfig) -> Arc<Self> {
        Arc::new(Self {
            table: Table::new(config.shards),
            view: ArcSwap::default(),
            membership: ArcSwap::default(),
            users: Mutex::new((config.users.clone(), config.tenants.clone())),
            received: Mutex::default(),
            is_leaving: AtomicBool::new(false),
            is_full: Arc::default(),
            moved: Arc::default(),
            config,
        })
    }

    /// Returns where the data of an account is.
    pub(in crate::registry) fn place(&self, tenant: TenantId) -> Place {
        let number = shard_of(tenant, self.config.shards);
        match self.table.get(number) {
            Slot::Here(shard) => Hold::of(shard).map_or(Place::Unsettled, Place::Here),
            Slot::Coming => Place::Unsettled,
            Slot::Away => self.owner_of(number),
        }
    }

    fn owner_of(&self, shard: u16) -> Place {
        let (view, own) = (self.view.load(), self.membership.load());
        match view.live_owner(shard) {
            Some((owner, member)) if owner.node != own.id => {
                Place::At { node: owner.node.clone(), url: member.info.url.clone() }
            }
            _ => Place::Unsettled,
        }
    }

    /// Returns whether this node has the first shard, whose owner looks after etcd.
    pub(in crate::registry) fn is_caretaker(&self) -> bool {
        matches!(self.table.get(0), Slot::Here(shard) if shard.claim.is_valid())
    }

    /// Keeps etcd small, as long as the future is polled.
    pub(in crate::registry) async fn look_after_etcd(&self) -> Infallible {
        let config = &self.config;
        let upkeep = Upkeep {
            client: config.client.clone(),
            layout: config.layout.clone(),
            quota: config.quota,
            retention: config.retention,
            is_full: self.is_full.clone(),
        };
        let keep_since = |since| self.table.here().into_iter().for_each(|(_, shard)| shard.engine.keep_since(since));
        upkeep.run(|| self.is_caretaker(), keep_since).await
    }

    /// Returns a future that is ready after the next change of places, counted from this call.
    pub(in crate::registry) fn moved(&self) -> OwnedNotified {
        self.moved.clone().notified_owned()
    }

    pub(super) fn tell_moved(&self) {
        self.moved.notify_waiters();
    }

    /// Says that the users file has changed: its fingerprint and its accounts. The other nodes learn of it.
    pub(in crate::registry) fn replace_users(self: &Arc<Self>, fingerprint: String, tenants: Vec<TenantId>) {
        *self.users.lock().unwrap_or_else(PoisonError::into_inner) = (fingerprint, tenants);
        let (node, own) = (self.clone(), self.membership.load_full());
        self.config.runtime.spawn(async move {
            if let Err(error) = node.announce(&own).await {
                tracing::debug!("--etcd: {error}; the other nodes learn of the new users at the next start");
            }
        });
    }

    /// Returns the runtime that the connections of this node belong to.
    #[cfg(feature = "dns")]
    pub(in crate::registry) fn runtime(&self) -> &Handle {
        &self.config.runtime
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    pub(super) fn received(&self) -> MutexGuard<'_, HashMap<u16, Received>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns as soon as the locks of all shards here were free, which every request needs.
    pub(in crate::registry) fn wait_responsive(&self) {
        for (_, shard) in self.table.here() {
            shard.engine.wait_responsive();
        }
    }
}

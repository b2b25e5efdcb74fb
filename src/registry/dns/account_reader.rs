//! Who has the services of an account, and how they are read there: the one way from DNS to the data.

use std::sync::Arc;
#[cfg(feature = "etcd")]
use std::time::Duration;

#[cfg(feature = "etcd")]
use tokio::task::yield_now;
#[cfg(feature = "etcd")]
use tokio::time::{Instant, timeout};

#[cfg(feature = "etcd")]
use crate::registry::cluster::{Hold, Place};
use crate::registry::engine::Engine;
#[cfg(feature = "etcd")]
use crate::registry::http::Clustered;
use crate::registry::http::{App, Home, Selection};
use crate::registry::model::{ServiceInfo, TenantId};

/// How soon an owner is looked for again, if nothing is heard of a change.
#[cfg(feature = "etcd")]
const PAUSE: Duration = Duration::from_millis(50);
/// How long an answer waits until the node's claim is certain again. No query waits longer.
#[cfg(feature = "etcd")]
const PATIENCE: Duration = Duration::from_secs(2);

/// Who has the data of an account.
#[derive(Debug)]
pub(super) enum Owner<'a> {
    /// This registry, which has that of all accounts.
    Alone(&'a Engine),
    /// This node of a cluster, as far as it knows.
    #[cfg(feature = "etcd")]
    Here(Hold),
    /// The node with this URL.
    #[cfg(feature = "etcd")]
    Elsewhere(&'a Clustered, String),
}

impl<'a> Owner<'a> {
    /// Returns the owner, once there is one.
    pub(super) async fn of(app: &'a App, tenant: TenantId) -> Self {
        #[cfg(not(feature = "etcd"))]
        let _ = tenant;
        match &app.home {
            Home::Alone(engine) => Self::Alone(engine),
            #[cfg(feature = "etcd")]
            Home::Cluster(cluster) => loop {
                let change = cluster.node.moved();
                match cluster.node.place(tenant) {
                    Place::Here(hold) => break Self::Here(hold),
                    Place::At { url, .. } => break Self::Elsewhere(cluster, url),
                    Place::Unsettled => drop(timeout(PAUSE, change).await),
                }
            },
        }
    }

    /// Returns the engine that has the data, if it is here.
    pub(super) fn engine(&self) -> Option<&Engine> {
        match self {
            Self::Alone(engine) => Some(engine),
            #[cfg(feature = "etcd")]
            Self::Here(hold) => Some(hold.engine()),
            #[cfg(feature = "etcd")]
            Self::Elsewhere(..) => None,
        }
    }

    /// Reads services; none if the owner does not answer.
    pub(super) async fn read(&self, tenant: TenantId, selection: &Selection) -> Option<Vec<Arc<ServiceInfo>>> {
        match self {
            #[cfg(feature = "etcd")]
            Self::Elsewhere(cluster, url) => {
                yield_now().await; // a query that finds no place to wait ends here, and costs the other node nothing
                cluster.look_up_at(url, tenant, selection).await
            }
            here => Some(selection.read(here.engine()?, tenant).await),
        }
    }

    /// Returns whether what was read may be answered: the data was certainly here afterwards. An owner elsewhere has
    /// made sure of that itself.
    pub(super) async fn confirms(&self) -> bool {
        match self {
            #[cfg(feature = "etcd")]
            Self::Here(hold) => hold.confirm(Instant::now() + PATIENCE).await,
            _ => true,
        }
    }
}

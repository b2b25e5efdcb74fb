//! What is looked up at each scrape. Nothing here takes longer with more sessions.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

#[cfg(feature = "etcd")]
use crate::registry::cluster::Share;
use crate::registry::http::app::{App, Home};
use crate::registry::http::health;

#[derive(Debug, Default)]
pub(super) struct Gauges {
    writable: Gauge,
    accounts: Gauge,
    sessions: Gauge,
    services: Gauge,
    values: Gauge,
    recent_events: Gauge,
    #[cfg(feature = "etcd")]
    share: ShareGauges,
}

/// What a node of a cluster has, and sees of the others.
#[cfg(feature = "etcd")]
#[derive(Debug, Default)]
struct ShareGauges {
    nodes: Gauge,
    shards: Gauge,
    unowned: Gauge,
}

impl Gauges {
    pub(super) fn register(&self, registry: &mut Registry) {
        let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program", version);
        registry.register("writable", "1 while changes can be stored, as in /health", self.writable.clone());
        registry.register("accounts", "Accounts", self.accounts.clone());
        registry.register("sessions", "Sessions of all accounts", self.sessions.clone());
        registry.register("services", "Services of all accounts", self.services.clone());
        registry.register("configuration_values", "Configuration values of all accounts", self.values.clone());
        registry.register("recent_events", "Events in memory", self.recent_events.clone());
        #[cfg(feature = "etcd")]
        self.share.register(registry);
    }

    pub(super) async fn update(&self, app: &App) {
        self.writable.set(i64::from(health::fault(app).await.is_none()));
        let sizes = match &app.home {
            Home::Alone(engine) => engine.sizes(),
            #[cfg(feature = "etcd")]
            Home::Cluster(cluster) => {
                self.share.update(cluster.node.share());
                cluster.node.sizes()
            }
        };
        for (gauge, size) in [
            (&self.accounts, sizes.accounts),
            (&self.sessions, sizes.sessions),
            (&self.services, sizes.services),
            (&self.values, sizes.values),
            (&self.recent_events, sizes.recent_events),
        ] {
            set(gauge, size);
        }
    }
}

#[cfg(feature = "etcd")]
impl ShareGauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("cluster_nodes", "Live nodes of the cluster, as this one sees it", self.nodes.clone());
        registry.register("cluster_shards", "Shards that this node has", self.shards.clone());
        let text = "Shards of the cluster that have no live owner, as this node sees it";
        registry.register("cluster_shards_unowned", text, self.unowned.clone());
    }

    fn update(&self, share: Share) {
        set(&self.nodes, share.nodes);
        set(&self.shards, share.shards);
        set(&self.unowned, share.unowned);
    }
}

fn set(gauge: &Gauge, size: usize) {
    gauge.set(i64::try_from(size).unwrap_or(i64::MAX));
}

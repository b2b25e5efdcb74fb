//! The counters: what has happened since the start, for the metrics.
//!
//! They live in one struct, which is handed to whatever counts: the engine, the connections, the logins and the
//! requests. A program may embed several registries, so none of them is global.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// What has happened since the start.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Times to answer.
    pub(crate) requests: Family<RequestLabels, Histogram, fn() -> Histogram>,
    pub(crate) heartbeats: Counter,
    pub(crate) heartbeats_refused: Counter,
    pub(crate) logins: Family<LoginLabels, Counter>,
    pub(crate) connections: Gauge,
    pub(crate) connections_accepted: Counter,
    pub(crate) connections_evicted: Counter,
    /// Events that are durable.
    pub(crate) events: Family<EventLabels, Counter>,
    /// From deadlines to expiries.
    pub(crate) expiries: Family<ExpiryLabels, Histogram, fn() -> Histogram>,
    /// Times of commits that succeeded.
    pub(crate) commits: Histogram,
    pub(crate) commit_records: Histogram,
    pub(crate) commit_bytes: Counter,
    pub(crate) commit_failures: Counter,
    #[cfg(feature = "dns")]
    pub(crate) dns_queries: Family<DnsLabels, Counter>,
    #[cfg(feature = "etcd")]
    pub(crate) shards_taken: Counter,
    #[cfg(feature = "etcd")]
    pub(crate) shards_given: Counter,
    /// Requests that were sent to another node.
    #[cfg(feature = "etcd")]
    pub(crate) forwards: Family<ForwardLabels, Counter>,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub(crate) struct RequestLabels {
    pub(crate) kind: &'static str,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub(crate) struct LoginLabels {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub(crate) struct EventLabels {
    pub(crate) r#type: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub(crate) struct ExpiryLabels {
    pub(crate) of: &'static str,
}

#[cfg(feature = "dns")]
#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub(crate) struct DnsLabels {
    pub(crate) result: &'static str,
}

#[cfg(feature = "etcd")]
#[derive(Clone, Debug, EncodeLabelSet, Hash, PartialEq, Eq)]
pub(crate) struct ForwardLabels {
    pub(crate) result: &'static str,
}

/// From 0.1 ms to 26 s, each four times the one before. Most answers are in memory; a few wait for a disk or a throttle.
fn request_times() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 10))
}

/// The registry promises a second. Below 0.3 s there is the grace that every lease has.
fn lateness() -> Histogram {
    Histogram::new([0.1, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 30.0])
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: Family::new_with_constructor(request_times),
            heartbeats: Counter::default(),
            heartbeats_refused: Counter::default(),
            logins: Family::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_evicted: Counter::default(),
            events: Family::default(),
            expiries: Family::new_with_constructor(lateness),
            commits: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            commit_records: Histogram::new(exponential_buckets(1.0, 4.0, 8)),
            commit_bytes: Counter::default(),
            commit_failures: Counter::default(),
            #[cfg(feature = "dns")]
            dns_queries: Family::default(),
            #[cfg(feature = "etcd")]
            shards_taken: Counter::default(),
            #[cfg(feature = "etcd")]
            shards_given: Counter::default(),
            #[cfg(feature = "etcd")]
            forwards: Family::default(),
        }
    }
}

impl Counters {
    /// Gives them their names.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let seconds = || Unit::Seconds;
        let text = "Time from the head of a request to the head of its answer";
        registry.register_with_unit("request_duration", text, seconds(), self.requests.clone());
        registry.register("heartbeats", "Heartbeats that were accepted", self.heartbeats.clone());
        let text = "Heartbeats that were refused: wrong token, or nothing to renew";
        registry.register("heartbeats_refused", text, self.heartbeats_refused.clone());
        registry.register("logins", "Logins by key or password", self.logins.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        let text = "Connections that were accepted";
        registry.register("connections_accepted", text, self.connections_accepted.clone());
        let text = "Connections that were closed to make room for others";
        registry.register("connections_evicted", text, self.connections_evicted.clone());
        registry.register("events", "Events in the feeds of all accounts", self.events.clone());
        let text = "Time from the deadline of a lease to its expiry";
        registry.register_with_unit("expiry_lateness", text, seconds(), self.expiries.clone());
        let text = "Time that a commit to the store took";
        registry.register_with_unit("store_commit_duration", text, seconds(), self.commits.clone());
        registry.register("store_commit_records", "Records in a commit to the store", self.commit_records.clone());
        let text = "Keys and values committed to the store";
        registry.register_with_unit("store_commit", text, Unit::Bytes, self.commit_bytes.clone());
        registry.register("store_commit_failures", "Commits that the store refused", self.commit_failures.clone());
        #[cfg(feature = "dns")]
        registry.register("dns_queries", "DNS queries", self.dns_queries.clone());
        #[cfg(feature = "etcd")]
        {
            let text = "Shards that this node has taken";
            registry.register("cluster_shards_taken", text, self.shards_taken.clone());
            let text = "Shards that this node has handed over";
            registry.register("cluster_shards_given", text, self.shards_given.clone());
            registry.register("cluster_forwards", "Requests sent to the owner of their shard", self.forwards.clone());
        }
    }
}

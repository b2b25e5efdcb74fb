//! `/metrics`: what the registry has done and how much it has, for Prometheus and whatever else reads its formats.
//!
//! In reading order: this file answers a scrape; `permission` decides who may read; `kinds` names requests; `gauges` is
//! what is looked up at each scrape, `process` what the system tells about the process.

mod gauges;
mod kinds;
mod permission;
mod process;

#[cfg(feature = "etcd")]
pub(super) use kinds::FORWARDED;
pub(super) use kinds::{FOLLOW, of_path, of_route};
pub(super) use permission::check;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{ACCEPT, HeaderMap, HeaderValue};
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::app::App;
use super::response::Answer;
#[cfg(feature = "dns")]
use crate::registry::counters::DnsLabels;
#[cfg(feature = "etcd")]
use crate::registry::counters::ForwardLabels;
use crate::registry::counters::{Counters, LoginLabels, RequestLabels};
use gauges::Gauges;
use process::Process;

/// What all names begin with, except those about the process, which every program has.
const PREFIX: &str = "service_registry";

const OPEN_METRICS: &str = "application/openmetrics-text";

/// The counters with their names.
#[derive(Debug)]
pub(in crate::registry) struct Metrics {
    pub(super) counters: Arc<Counters>,
    gauges: Gauges,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Metrics {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        let (mut registry, gauges) = (Registry::default(), Gauges::default());
        let own = registry.sub_registry_with_prefix(PREFIX);
        gauges.register(own);
        counters.register(own);
        registry.register_collector(Box::new(Process::default()));
        Self { counters, gauges, registry }
    }

    /// Counts an answer.
    pub(super) fn count_request(&self, kind: &'static str, status: u16, took: Duration) {
        self.counters.requests.get_or_create(&RequestLabels { kind, status }).observe(took.as_secs_f64());
        if kinds::is_heartbeat(kind) {
            if status == 200 {
                self.counters.heartbeats.inc()
            } else {
                self.counters.heartbeats_refused.inc()
            };
        }
    }

    #[cfg(feature = "dns")]
    pub(super) fn count_dns_query(&self, result: &'static str) {
        self.counters.dns_queries.get_or_create(&DnsLabels { result }).inc();
    }

    #[cfg(feature = "etcd")]
    pub(super) fn count_forward(&self, result: &'static str) {
        self.counters.forwards.get_or_create(&ForwardLabels { result }).inc();
    }

    pub(super) fn count_login(&self, result: &'static str) {
        self.counters.logins.get_or_create(&LoginLabels { result }).inc();
    }
}

/// Answers a scrape: in OpenMetrics if the client accepts that, otherwise in the older text format.
pub(super) async fn answer(app: &App, headers: &HeaderMap) -> Answer {
    let Metrics { gauges, registry, .. } = &app.metrics;
    gauges.update(app).await;
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains(OPEN_METRICS));
    let mut page = String::new();
    let (written, format) = if headers.get_all(ACCEPT).iter().any(accepts) {
        (text::encode(&mut page, registry), "application/openmetrics-text; version=1.0.0; charset=utf-8")
    } else {
        (prometheus_text::encode(&mut page, registry), prometheus_text::CONTENT_TYPE)
    };
    match written {
        Ok(()) => Answer::metrics(page, format),
        Err(error) => Answer::not_written(&error),
    }
}

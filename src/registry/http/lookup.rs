//! Looks up services by tag or id, for DNS: no user asks, so nothing is checked or created.

use std::sync::Arc;

use tokio::task::yield_now;

use crate::registry::engine::{Engine, Scope};
use crate::registry::model::{Page, ServiceFilter, ServiceInfo, TenantId};
use crate::registry::state::State;

/// The most services that are read before other requests get the lock.
const SERVICES_AT_A_TIME: usize = 256;

/// Which services are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "etcd", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "lowercase"))]
pub(in crate::registry) enum Selection {
    Tag(String),
    Id(String),
}

impl Selection {
    /// Looks them up in the engine that has the account.
    pub(in crate::registry) async fn read(&self, engine: &Engine, tenant: TenantId) -> Vec<Arc<ServiceInfo>> {
        match self {
            Self::Tag(tag) => tagged(engine, tenant, tag).await,
            Self::Id(id) => named(engine, tenant, id).await,
        }
    }
}

async fn tagged(engine: &Engine, tenant: TenantId, tag: &str) -> Vec<Arc<ServiceInfo>> {
    let filter = ServiceFilter { tags: vec![tag.into()], ..ServiceFilter::default() };
    let mut page = Page { limit: SERVICES_AT_A_TIME, marker: None };
    let mut services = Vec::new();
    loop {
        let look = |state: &mut State| {
            // Not created by looking, as the API does it: names of accounts come from anywhere here.
            state.tenants.contains_key(&tenant).then(|| state.services(tenant, &page, &filter, false))
        };
        let scope = Scope::Services { with_sessions: false };
        let Some((part, rest)) = engine.read_swept(engine.now(), tenant, scope, look).await else { break };
        services.extend(part.values.into_iter().map(|service| service.info));
        match part.next.or_else(|| rest.map(|id| id.to_string())) {
            Some(next) => page.marker = Some(next),
            None => break,
        }
        yield_now().await;
    }
    services
}

async fn named(engine: &Engine, tenant: TenantId, id: &str) -> Vec<Arc<ServiceInfo>> {
    let look = |state: &mut State| {
        let is_known = state.tenants.contains_key(&tenant);
        is_known.then(|| state.service(tenant, id, false).ok()).flatten()
    };
    let scope = Scope::Service { id, with_session: false };
    let service = engine.read_swept(engine.now(), tenant, scope, look).await;
    service.into_iter().map(|service| service.info).collect()
}

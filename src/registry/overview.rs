//! The overview: sessions with the services in them.

use std::sync::Arc;

use super::objects::{SessionId, TenantId};
use super::pages::{Listing, Page};
use super::state::{State, Tenant};
use crate::wire;

impl State {
    /// Sessions by id, each with its services by id. Services of their own do not appear.
    pub(crate) fn overview(&mut self, tenant: TenantId, page: &Page) -> Listing<wire::Overview> {
        let tenant = &*self.tenants.entry(tenant).or_default();
        let sessions = tenant.sessions.from(page.from().as_bytes());
        Listing::take(
            sessions,
            page.limit,
            |(id, session)| wire::Overview { session: session.to_wire(*id), services: tenant.services_in(*id) },
            |(id, _)| id.as_str().to_owned(),
        )
    }
}

impl Tenant {
    fn services_in(&self, session: SessionId) -> Vec<wire::SessionService> {
        let pairs = self.by_session.range((session, Arc::from(""))..).take_while(|(of, _)| *of == session);
        let services = pairs.filter_map(|(_, id)| self.services.get(id));
        services.map(|service| service.about.in_session(session)).collect()
    }
}

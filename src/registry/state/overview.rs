//! The overview: sessions with the services in them.
//!
//! A session with more services than a page can hold is listed in parts: the page ends within it, and the next
//! one, whose marker names the session and the service, begins with the same session and its other services.

use std::sync::Arc;

use super::{State, Tenant};
use crate::registry::model::{Entry, Listing, MAX_PAGE_BYTES, Page};
use crate::registry::model::{NamedSession, ServiceInfo, Session, SessionId, TenantId};

/// Between session and service in a marker. No id contains it.
const SEPARATOR: char = ':';

/// A session and its services, or a part of them.
#[derive(Clone, Debug)]
pub(crate) struct SessionOverview {
    pub(crate) session: NamedSession,
    pub(crate) services: Vec<Arc<ServiceInfo>>,
    /// The first service that is left out.
    next: Option<Arc<str>>,
}

impl State {
    /// Lists sessions by id, each with its services by id. Services with heartbeats of their own are not included.
    pub(crate) fn overview(&mut self, tenant: TenantId, page: &Page) -> Listing<SessionOverview> {
        let tenant = &*self.tenants.entry(tenant).or_default();
        let split = page.from().split_once(SEPARATOR);
        let part = split.and_then(|(session, service)| Some((SessionId::parse(session)?, service)));
        let rest = part.and_then(|(id, from)| tenant.rest_of(id, from));
        let others = tenant.sessions.from(page.from().as_bytes());
        let others = others.map(|(id, session)| tenant.overview_of(*id, session, ""));
        Listing::take(rest.into_iter().chain(others), page.limit)
    }
}

impl Tenant {
    /// Returns the part of a session that begins with this service, if there is any.
    fn rest_of(&self, id: SessionId, from: &str) -> Option<SessionOverview> {
        let rest = self.overview_of(id, self.sessions.get(id)?, from);
        (!rest.services.is_empty()).then_some(rest)
    }

    fn overview_of(&self, id: SessionId, session: &Session, from: &str) -> SessionOverview {
        let pairs = self.by_session.range((id, Arc::from(from))..).take_while(|(of, _)| *of == id);
        let mut pairs = pairs.map(|(_, service)| service);
        let (mut services, mut bytes) = (Vec::new(), 0);
        let mut next = pairs.next();
        while let Some(service) = next.filter(|_| bytes < MAX_PAGE_BYTES) {
            if let Some(service) = self.services.get(service) {
                bytes += service.info.min_bytes();
                services.push(service.info.clone());
            }
            next = pairs.next();
        }
        SessionOverview { session: NamedSession { id, session: session.clone() }, services, next: next.cloned() }
    }
}

impl Entry for SessionOverview {
    fn marker(&self) -> String {
        self.session.marker()
    }

    fn min_bytes(&self) -> usize {
        self.session.min_bytes() + self.services.iter().map(|info| info.min_bytes()).sum::<usize>()
    }

    fn continuation(&self) -> Option<String> {
        self.next.as_ref().map(|service| format!("{}{SEPARATOR}{service}", self.session.id.as_str()))
    }

    fn halve(&mut self) -> bool {
        let half = self.services.len() / 2;
        match self.services.get(half) {
            Some(service) if half > 0 => {
                self.next = Some(service.id.clone());
                self.services.truncate(half);
                true
            }
            _ => false,
        }
    }
}

//! Services, of the two kinds that the API had over time: in a session, or with heartbeats of their own.

use std::ops::Bound;
use std::sync::Arc;

use super::error::{DomainError, Kind};
use super::{State, Tenant};
use crate::registry::model::RecordChange;
use crate::registry::model::Uuid1;
use crate::registry::model::{EventKind, Lease, Service, ServiceInfo, ServiceKind, TenantId};
use crate::registry::model::{ListedService, Listing, NewService, NewServiceKind, Page, ServiceUpdate};
use crate::registry::model::{Now, Quota, Resource};

/// A service that was created, and its first token if it has one.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: Arc<str>,
    pub(crate) token: Option<Uuid1>,
}

impl State {
    /// Lists services by id; with a tag, those that have it. `with_sessions`: services in a session get its lease.
    pub(crate) fn services(
        &mut self,
        tenant: TenantId,
        page: &Page,
        tag: Option<&str>,
        with_sessions: bool,
    ) -> Listing<ListedService> {
        let tenant = &*self.tenants.entry(tenant).or_default();
        let show = |service: &Service| tenant.listed(service, with_sessions);
        match tag {
            Some(tag) => Listing::take(tenant.tagged(tag, page.from()).map(show), page.limit),
            None => {
                let from = (Bound::Included(page.from()), Bound::Unbounded);
                let services = tenant.services.range::<str, _>(from).map(|(_, service)| show(service));
                Listing::take(services, page.limit)
            }
        }
    }

    /// Registers a service.
    pub(crate) fn create_service(
        &mut self,
        now: Now,
        tenant: TenantId,
        quota: &Quota,
        new: &NewService,
    ) -> Result<Created, DomainError> {
        let id = new.id.clone();
        let (kind, lease, token) = match new.kind {
            NewServiceKind::InSession(ref name) => {
                (ServiceKind::InSession(self.find_session(tenant, name)?.0), None, None)
            }
            NewServiceKind::Standalone { timeout } => {
                let (lease, token) = Lease::new(now, &self.keys, tenant, timeout);
                (ServiceKind::Standalone { timeout }, Some(Box::new(lease)), Some(token))
            }
        };
        let services = &self.tenants.entry(tenant).or_default().services;
        if services.contains_key(&id) {
            return Err(DomainError::ServiceExists(id.to_string()));
        }
        DomainError::check_quota(quota, Resource::Service, services.len())?;
        let info =
            Arc::new(ServiceInfo { id: id.clone(), tags: new.tags.clone(), metadata: new.metadata.clone(), kind });
        let after = Some(Service { info: info.clone(), lease });
        self.change(tenant, RecordChange::Service { id: id.clone(), before: None, after });
        self.append_event(now, tenant, EventKind::Join(info));
        Ok(Created { id, token })
    }

    /// Returns one service.
    pub(crate) fn service(
        &mut self,
        tenant: TenantId,
        id: &str,
        with_session: bool,
    ) -> Result<ListedService, DomainError> {
        let (tenant, service) = self.find_service(tenant, id)?;
        Ok(tenant.listed(service, with_session))
    }

    /// Changes the given fields. A new timeout holds from the next heartbeat on.
    ///
    /// The update is read here, by `read`, and not before like all other input: the order of errors is part of the API,
    /// which reports a body that breaks a rule before a service that is missing, and one rule depends on the kind of
    /// the service.
    pub(crate) fn update_service(
        &mut self,
        tenant: TenantId,
        id: &str,
        read: impl FnOnce(Option<ServiceKind>) -> Result<ServiceUpdate, DomainError>,
    ) -> Result<(), DomainError> {
        let before = self.find_service(tenant, id).map(|(_, service)| service.clone());
        let kind = before.as_ref().ok().map(|service| service.info.kind);
        let update = read(kind)?;
        let before = before?;
        let mut info = (*before.info).clone();
        info.tags = update.tags.unwrap_or(info.tags);
        info.metadata = update.metadata.unwrap_or(info.metadata);
        if let (ServiceKind::Standalone { timeout }, Some(new)) = (&mut info.kind, update.timeout) {
            *timeout = new;
        }
        if info != *before.info {
            let after = Service { info: Arc::new(info), lease: before.lease.clone() };
            let id = before.info.id.clone();
            self.change(tenant, RecordChange::Service { id, before: Some(before), after: Some(after) });
        }
        Ok(())
    }

    /// Removes a service.
    pub(crate) fn delete_service(&mut self, now: Now, tenant: TenantId, id: &str) -> Result<(), DomainError> {
        let id = self.find_service(tenant, id)?.1.info.id.clone();
        if let Some(info) = self.remove_service(tenant, &id) {
            self.append_event(now, tenant, EventKind::Remove(info));
        }
        Ok(())
    }

    fn find_service(&mut self, tenant: TenantId, id: &str) -> Result<(&Tenant, &Service), DomainError> {
        let tenant = &*self.tenants.entry(tenant).or_default();
        let service = tenant.services.get(id).ok_or_else(|| DomainError::missing(Kind::Service, id))?;
        Ok((tenant, service))
    }
}

impl Tenant {
    fn listed(&self, service: &Service, with_session: bool) -> ListedService {
        let (timeout, last_seen) = match service.info.kind {
            ServiceKind::Standalone { timeout } => {
                (Some(timeout), service.lease.as_ref().and_then(|lease| lease.last_seen()))
            }
            ServiceKind::InSession(_) if !with_session => (None, None),
            ServiceKind::InSession(id) => {
                let session = self.sessions.get(id);
                (session.map(|session| session.timeout), session.and_then(|session| session.lease.last_seen()))
            }
        };
        ListedService { info: service.info.clone(), timeout, last_seen }
    }

    /// Returns the services with a tag, by id, from the index.
    fn tagged<'a>(&'a self, tag: &'a str, from: &str) -> impl Iterator<Item = &'a Service> {
        let start: (Arc<str>, Arc<str>) = (tag.into(), from.into());
        let pairs = self.by_tag.range(start..).take_while(move |(of, _)| **of == *tag);
        pairs.filter_map(|(_, id)| self.services.get(id))
    }
}

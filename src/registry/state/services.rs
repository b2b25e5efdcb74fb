//! Services, of the two kinds that the API had over time: in a session, or with heartbeats of their own.

use std::ops::Bound;
use std::sync::Arc;

use super::error::{DomainError, Kind};
use super::{State, Tenant};
use crate::registry::model::RecordChange;
use crate::registry::model::Uuid1;
use crate::registry::model::{Attribution, Cause, PackedAttribution};
use crate::registry::model::{EventKind, Lease, Service, ServiceInfo, ServiceKind, ServiceUpdated, TenantId};
use crate::registry::model::{ListedService, Listing, NewService, NewServiceKind, Page, ServiceFilter, ServiceUpdate};
use crate::registry::model::{Now, Quota, Resource};

/// The most services that a request passes over before other requests get the lock.
const SERVICES_AT_A_TIME: usize = 1_000;

/// A service that was created, and its first token if it has one.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: Arc<str>,
    pub(crate) token: Option<Uuid1>,
}

impl State {
    /// Lists services by id: those that the filter wants. `with_sessions`: services in a session get its lease. Returns
    /// also where to continue, if so many others lie between that other requests must get the lock first.
    pub(crate) fn services(
        &mut self,
        tenant: TenantId,
        page: &Page,
        filter: &ServiceFilter,
        with_sessions: bool,
    ) -> (Listing<ListedService>, Option<Arc<str>>) {
        let tenant = &*self.tenants.entry(tenant).or_default();
        let (mut listing, mut passed) = (Listing::default(), 0);
        for service in tenant.candidates(filter, page.from().max(&filter.id_prefix)) {
            let info = &service.info;
            if !info.id.starts_with(&filter.id_prefix) {
                break; // ids are in order
            }
            if passed == SERVICES_AT_A_TIME {
                return (listing, Some(info.id.clone()));
            }
            if !filter.wants(info) {
                passed += 1;
            } else if !listing.add(tenant.listed(service, with_sessions), page.limit) {
                break;
            }
        }
        (listing, None)
    }

    /// Registers a service.
    pub(crate) fn create_service(
        &mut self,
        now: Now,
        tenant: TenantId,
        quota: &Quota,
        new: &NewService,
        by: &Attribution,
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
        self.append_event(now, tenant, EventKind::Join(info), PackedAttribution::of(by));
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
        now: Now,
        tenant: TenantId,
        id: &str,
        read: impl FnOnce(Option<ServiceKind>) -> Result<ServiceUpdate, DomainError>,
        by: &Attribution,
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
            let (old, new) = (before.info.clone(), Arc::new(info));
            let after = Service { info: new.clone(), lease: before.lease.clone() };
            let id = old.id.clone();
            self.change(tenant, RecordChange::Service { id, before: Some(before), after: Some(after) });
            let update = EventKind::ServiceUpdate(Box::new(ServiceUpdated { old, new }));
            self.append_event(now, tenant, update, PackedAttribution::of(by));
        }
        Ok(())
    }

    /// Removes a service.
    pub(crate) fn delete_service(
        &mut self,
        now: Now,
        tenant: TenantId,
        id: &str,
        by: &Attribution,
    ) -> Result<(), DomainError> {
        let id = self.find_service(tenant, id)?.1.info.id.clone();
        if let Some(info) = self.remove_service(tenant, &id) {
            let by = PackedAttribution::of(&by.or_cause(Cause::Deregistered));
            self.append_event(now, tenant, EventKind::Remove(info), by);
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

    /// Returns services by id, among them all that have the tags of a filter.
    fn candidates<'a>(&'a self, filter: &'a ServiceFilter, from: &str) -> Box<dyn Iterator<Item = &'a Service> + 'a> {
        match &filter.tags[..] {
            [] => {
                let from = (Bound::Included(from), Bound::Unbounded);
                Box::new(self.services.range::<str, _>(from).map(|(_, service)| service))
            }
            [tag] => {
                let pairs = self.by_tag.range((tag.clone(), Arc::from(from))..).take_while(move |(of, _)| of == tag);
                Box::new(pairs.filter_map(|(_, id)| self.services.get(id)))
            }
            tags => {
                let mut from = Bound::Included(Arc::from(from));
                Box::new(std::iter::from_fn(move || {
                    let id = self.first_tagged(tags, &from)?;
                    from = Bound::Excluded(id.clone());
                    self.services.get(&id)
                }))
            }
        }
    }

    /// Returns a lower bound of the ids of services with all of these tags: the greatest of the first ids that each tag
    /// has. So a search takes no more steps than the rarest tag has services, without knowing which tag that is.
    fn first_tagged(&self, tags: &[Arc<str>], from: &Bound<Arc<str>>) -> Option<Arc<str>> {
        let mut greatest: Option<&Arc<str>> = None;
        for tag in tags {
            let from = from.as_ref().map(|id| (tag.clone(), id.clone()));
            let (_, id) = self.by_tag.range((from, Bound::Unbounded)).next().filter(|(of, _)| of == tag)?;
            greatest = greatest.max(Some(id));
        }
        greatest.cloned()
    }
}

impl ServiceFilter {
    fn wants(&self, info: &ServiceInfo) -> bool {
        self.tags.iter().all(|tag| info.tags.iter().any(|known| known == &**tag))
            && self
                .metadata
                .iter()
                .all(|(key, value)| info.metadata.pairs().any(|pair| pair == (key.as_str(), value.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::StringList;
    use crate::registry::state::tests::{at, state};

    fn filter(tags: &[&str]) -> ServiceFilter {
        ServiceFilter { tags: tags.iter().map(|tag| Arc::from(*tag)).collect(), ..ServiceFilter::default() }
    }

    fn page(marker: Option<&str>, limit: usize) -> Page {
        Page { limit, marker: marker.map(str::to_owned) }
    }

    /// Registers services whose tags are the divisors of their numbers.
    fn divisible(state: &mut State, count: usize, divisors: &[usize]) {
        for number in 1..=count {
            let tags: Vec<String> =
                divisors.iter().filter(|by| number % **by == 0).map(|by| format!("by-{by}")).collect();
            let half = if number % 2 == 0 { "even" } else { "odd" };
            let new = NewService {
                id: format!("node-{number:05}").into(),
                tags: StringList::new(tags.iter().map(String::as_str)),
                metadata: StringList::new(["half", half]),
                kind: NewServiceKind::Standalone { timeout: 30 },
            };
            state.create_service(at(0), 1, &Quota::default(), &new, &Attribution::default()).unwrap();
        }
    }

    /// Reads all pages and parts; returns the ids and the number of parts.
    fn all(state: &mut State, filter: &ServiceFilter, limit: usize) -> (Vec<String>, usize) {
        let (mut ids, mut parts, mut page) = (Vec::new(), 0, page(None, limit));
        loop {
            let (listing, rest) = state.services(1, &page, filter, false);
            ids.extend(listing.values.iter().map(|service| service.info.id.to_string()));
            parts += 1;
            page.marker = listing.next.or_else(|| rest.map(|id| id.to_string()));
            if page.marker.is_none() {
                return (ids, parts);
            }
        }
    }

    #[test]
    fn list_has_the_services_with_all_that_the_filter_names() {
        let mut state = state();
        divisible(&mut state, 60, &[2, 3, 5]);
        let expected = |is_wanted: fn(usize) -> bool| -> Vec<String> {
            (1..=60).filter(|number| is_wanted(*number)).map(|number| format!("node-{number:05}")).collect()
        };
        let odd = vec![("half".to_owned(), "odd".to_owned())];
        for limit in [1, 2, 1000] {
            let mut ids = |filter: &ServiceFilter| all(&mut state, filter, limit).0;
            assert_eq!(ids(&filter(&[])), expected(|_| true));
            assert_eq!(ids(&filter(&["by-3"])), expected(|number| number % 3 == 0));
            assert_eq!(ids(&filter(&["by-2", "by-3"])), expected(|number| number % 6 == 0));
            assert_eq!(ids(&filter(&["by-5", "by-3", "by-2", "by-3"])), expected(|number| number % 30 == 0));
            assert_eq!(ids(&filter(&["by-5", "by-7"])), expected(|_| false));
            let with_odd = ServiceFilter { metadata: odd.clone(), ..filter(&["by-3", "by-5"]) };
            assert_eq!(ids(&with_odd), expected(|number| number % 15 == 0 && number % 2 == 1));
            let prefix = ServiceFilter { id_prefix: "node-0001".into(), ..filter(&[]) };
            assert_eq!(ids(&prefix), expected(|number| (10..20).contains(&number)));
            let prefix = ServiceFilter { id_prefix: "node-0001".into(), metadata: odd.clone(), ..filter(&["by-5"]) };
            assert_eq!(ids(&prefix), expected(|number| number == 15));
        }
    }

    #[test]
    fn search_that_finds_little_gives_the_lock_back() {
        let mut state = state();
        let count = 3 * SERVICES_AT_A_TIME;
        divisible(&mut state, count, &[2, 3, 2_999]);
        let none = ServiceFilter { metadata: vec![("half".into(), "none".into())], ..filter(&[]) };
        assert_eq!(all(&mut state, &none, 100), (Vec::new(), 3));
        assert_eq!(all(&mut state, &filter(&[]), 1000).1, 3, "entries of a page are no reason");
        let (ids, parts) = all(&mut state, &filter(&["by-2", "by-3", "by-2999"]), 100);
        assert_eq!((ids.len(), parts), (0, 1), "the rarest tag decides");
    }
}

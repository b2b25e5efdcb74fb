//! Services, in the two forms that the API had over time: in a session, or on their own.

use std::ops::Bound;
use std::sync::Arc;

use super::error::{DomainError, Kind, Resource};
use super::{State, Tenant};
use crate::registry::access::Quotas;
use crate::registry::http::Json;
use crate::registry::http::Shown;
use crate::registry::http::request::validation;
use crate::registry::model::Now;
use crate::registry::model::RecordChange;
use crate::registry::model::StringList;
use crate::registry::model::Uuid1;
use crate::registry::model::{EventKind, Lease, Service, ServiceInfo, ServiceKind, TenantId};
use crate::registry::model::{Listing, Page};

/// A service that was created, and the first token if it has any.
#[derive(Debug)]
pub(crate) struct Created {
    pub(crate) id: Arc<str>,
    pub(crate) token: Option<Uuid1>,
}

/// Checks an id in a path.
pub(super) fn check_id(id: &str) -> Result<(), DomainError> {
    validation::parameter("serviceId", id, validation::service_id)
}

/// The tag as it was asked for, however often.
pub(crate) fn wanted_tag<'a>(values: &[&'a str]) -> Result<Option<&'a str>, DomainError> {
    match values {
        [] => Ok(None),
        [tag] => validation::parameter("tag", tag, validation::service_id).map(|()| Some(*tag)),
        _ => Err(DomainError::Parameter { name: "tag", rule: "Not a string".into() }),
    }
}

impl State {
    /// Services by id; with a tag, those that have it.
    pub(crate) fn services(&mut self, tenant: TenantId, page: &Page, tag: Option<&str>) -> Listing<Shown> {
        let shape = self.shape;
        let tenant = &*self.tenants.entry(tenant).or_default();
        let show = |service: &Service| tenant.show(service, shape);
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
        quotas: &Quotas,
        body: &Json,
    ) -> Result<Created, DomainError> {
        validation::body(body)?;
        let id: Arc<str> = validation::required(body, "id", validation::service_id_field)?.into();
        let new = New::read(body)?;
        let (life, holder, token) = match new.form {
            Form::InSession(name) => (ServiceKind::InSession(self.find_session(tenant, name)?.0), None, None),
            Form::Own { timeout } => {
                let (holder, token) = Lease::new(now, &self.keys, tenant, timeout);
                (ServiceKind::Standalone { timeout }, Some(Box::new(holder)), Some(token))
            }
        };
        let services = &self.tenants.entry(tenant).or_default().services;
        if services.contains_key(&id) {
            return Err(DomainError::ServiceExists(id.to_string()));
        }
        quotas.check(Resource::Service, services.len())?;
        let about = Arc::new(ServiceInfo { id: id.clone(), tags: new.tags, metadata: new.metadata, life });
        let after = Some(Service { about: about.clone(), holder });
        self.change(tenant, RecordChange::Service { id: id.clone(), before: None, after });
        self.append_event(now, tenant, EventKind::Join(about));
        Ok(Created { id, token })
    }

    /// One service.
    pub(crate) fn service(&mut self, tenant: TenantId, id: &str) -> Result<Shown, DomainError> {
        check_id(id)?;
        let shape = self.shape;
        let (tenant, service) = self.find_service(tenant, id)?;
        Ok(tenant.show(service, shape))
    }

    /// Changes the fields that are given. A new timeout holds from the next heartbeat on.
    pub(crate) fn update_service(&mut self, tenant: TenantId, id: &str, body: &Json) -> Result<(), DomainError> {
        check_id(id)?;
        validation::body(body)?;
        let before = self.find_service(tenant, id).map(|(_, service)| service.clone());
        let life = before.as_ref().ok().map(|service| service.about.life);
        let update = Update::read(body, id, life)?;
        let before = before?; // only now: a body that breaks a rule is the first thing to tell
        let mut about = (*before.about).clone();
        about.tags = update.tags.unwrap_or(about.tags);
        about.metadata = update.metadata.unwrap_or(about.metadata);
        if let (ServiceKind::Standalone { timeout }, Some(new)) = (&mut about.life, update.timeout) {
            *timeout = new;
        }
        if about != *before.about {
            let after = Service { about: Arc::new(about), holder: before.holder.clone() };
            let id = before.about.id.clone();
            self.change(tenant, RecordChange::Service { id, before: Some(before), after: Some(after) });
        }
        Ok(())
    }

    /// Takes a service out.
    pub(crate) fn delete_service(&mut self, now: Now, tenant: TenantId, id: &str) -> Result<(), DomainError> {
        check_id(id)?;
        let id = self.find_service(tenant, id)?.1.about.id.clone();
        if let Some(about) = self.remove_service(tenant, &id) {
            self.append_event(now, tenant, EventKind::Remove(about));
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
    /// The services that have a tag, by id, without looking at any other.
    fn tagged<'a>(&'a self, tag: &'a str, from: &str) -> impl Iterator<Item = &'a Service> {
        let start: (Arc<str>, Arc<str>) = (tag.into(), from.into());
        let pairs = self.by_tag.range(start..).take_while(move |(of, _)| **of == *tag);
        pairs.filter_map(|(_, id)| self.services.get(id))
    }
}

/// What the body of a new service says beside its id.
struct New<'a> {
    tags: StringList,
    metadata: StringList,
    form: Form<'a>,
}

enum Form<'a> {
    InSession(&'a str),
    Own { timeout: u8 },
}

impl<'a> New<'a> {
    /// A session, or nothing that tells a form, makes it one that lives in a session.
    fn read(body: &'a Json) -> Result<Self, DomainError> {
        let session = body.get("session_id").filter(|session| **session != Json::Null);
        let is_own = session.is_none() && body.get("heartbeat_timeout").is_some();
        let session = match session {
            _ if is_own => None,
            Some(_) => Some(validation::required(body, "session_id", validation::session_id)?),
            None => Some(validation::required(&Json::EMPTY, "session_id", |_| Ok(""))?), // which it never is
        };
        let tags = validation::optional(body, "tags", validation::tags)?.unwrap_or_default();
        let metadata = validation::optional(body, "metadata", validation::metadata)?.unwrap_or_default();
        let form = match session {
            Some(session) => Form::InSession(session),
            None => {
                let timeout = validation::required(body, "heartbeat_timeout", validation::heartbeat_timeout)?;
                Form::Own { timeout }
            }
        };
        Ok(Self { tags, metadata, form })
    }
}

/// What a body wants changed.
struct Update {
    tags: Option<StringList>,
    metadata: Option<StringList>,
    timeout: Option<u8>,
}

impl Update {
    fn read(body: &Json, id: &str, life: Option<ServiceKind>) -> Result<Self, DomainError> {
        if validation::given(body, "id", validation::service_id_field)?.is_some_and(|given| given != id) {
            return Err(immutable("id"));
        }
        if let Some(ServiceKind::InSession(session)) = life
            && body.get("session_id").is_some_and(|given| *given != Json::Null)
            && validation::required(body, "session_id", validation::session_id)? != session.as_str()
        {
            return Err(immutable("session_id"));
        }
        Ok(Self {
            tags: validation::optional(body, "tags", validation::tags)?,
            metadata: validation::optional(body, "metadata", validation::metadata)?,
            timeout: validation::given(body, "heartbeat_timeout", validation::heartbeat_timeout)?,
        })
    }
}

fn immutable(field: &'static str) -> DomainError {
    DomainError::Field { field, rule: "Attempted to mutate immutable field".into() }
}

//! Sessions: groups of services that live and die together.

use super::State;
use super::error::{DomainError, Kind, Resource};
use crate::registry::access::Quotas;
use crate::registry::http::Json;
use crate::registry::http::request::validation;
use crate::registry::model::Now;
use crate::registry::model::RecordChange;
use crate::registry::model::StringList;
use crate::registry::model::Uuid1;
use crate::registry::model::{EventKind, Lease, NamedSession, Session, SessionId, TenantId};
use crate::registry::model::{Listing, Page};
use crate::wire;

impl State {
    /// Sessions by id.
    pub(crate) fn sessions(&mut self, tenant: TenantId, page: &Page) -> Listing<NamedSession> {
        let tenant = self.tenants.entry(tenant).or_default();
        let sessions = tenant.sessions.from(page.from().as_bytes());
        Listing::take(sessions.map(|(id, session)| NamedSession { id: *id, session: session.clone() }), page.limit)
    }

    /// Opens a session; returns its id and its first token.
    pub(crate) fn create_session(
        &mut self,
        now: Now,
        id: TenantId,
        quotas: &Quotas,
        body: &Json,
    ) -> Result<(SessionId, Uuid1), DomainError> {
        validation::body(body)?;
        let timeout = validation::required(body, "heartbeat_timeout", validation::heartbeat_timeout)?;
        let metadata = validation::optional(body, "metadata", validation::metadata)?.unwrap_or_default();
        let tenant = self.tenants.entry(id).or_default();
        quotas.check(Resource::Session, tenant.sessions.len())?;
        let (holder, token) = Lease::new(now, &self.keys, id, timeout);
        let session = loop {
            let session = SessionId::random(fastrand::alphanumeric);
            if !tenant.sessions.contains(session) {
                break session;
            }
        };
        let after = Some(Session { metadata, timeout, holder });
        self.change(id, RecordChange::Session { id: session, before: None, after });
        Ok((session, token))
    }

    /// One session.
    pub(crate) fn session(&mut self, tenant: TenantId, name: &str) -> Result<wire::Session, DomainError> {
        let (id, session) = self.find_session(tenant, name)?;
        Ok(session.to_wire(id))
    }

    /// Changes the fields that are given. A new timeout holds from the next heartbeat on.
    pub(crate) fn update_session(&mut self, tenant: TenantId, name: &str, body: &Json) -> Result<(), DomainError> {
        validation::body(body)?;
        let timeout: Option<u8> = validation::given(body, "heartbeat_timeout", validation::heartbeat_timeout)?;
        let metadata: Option<StringList> = validation::optional(body, "metadata", validation::metadata)?;
        let (id, before) = self.find_session(tenant, name)?;
        let before = before.clone();
        let mut after = before.clone();
        after.timeout = timeout.unwrap_or(after.timeout);
        after.metadata = metadata.unwrap_or(after.metadata);
        if after != before {
            self.change(tenant, RecordChange::Session { id, before: Some(before), after: Some(after) });
        }
        Ok(())
    }

    /// Ends a session and the services in it. They are removed, not timed out: somebody said so.
    pub(crate) fn delete_session(&mut self, now: Now, tenant: TenantId, name: &str) -> Result<(), DomainError> {
        let (id, _) = self.find_session(tenant, name)?;
        for about in self.remove_session(tenant, id) {
            self.append_event(now, tenant, EventKind::Remove(about));
        }
        Ok(())
    }

    /// There is no rule for the id in a path: an impossible one is one that is not there.
    pub(super) fn find_session(&mut self, tenant: TenantId, name: &str) -> Result<(SessionId, &Session), DomainError> {
        let tenant = self.tenants.entry(tenant).or_default();
        SessionId::parse(name)
            .and_then(|id| Some((id, tenant.sessions.get(id)?)))
            .ok_or_else(|| DomainError::missing(Kind::Session, name))
    }
}

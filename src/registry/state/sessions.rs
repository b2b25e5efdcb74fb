//! Sessions: groups of services with common heartbeats.

use std::sync::Arc;

use super::State;
use super::error::{DomainError, Kind};
use crate::registry::model::RecordChange;
use crate::registry::model::Uuid1;
use crate::registry::model::{Attribution, Cause, PackedAttribution};
use crate::registry::model::{EventKind, Lease, NamedSession, Session, SessionId, SessionInfo, TenantId};
use crate::registry::model::{Listing, NewSession, Page, SessionUpdate};
use crate::registry::model::{Now, Quota, Resource};

impl State {
    /// Lists sessions by id.
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
        quota: &Quota,
        new: &NewSession,
        by: &Attribution,
    ) -> Result<(SessionId, Uuid1), DomainError> {
        let NewSession { timeout, metadata } = new.clone();
        let tenant = self.tenants.entry(id).or_default();
        DomainError::check_quota(quota, Resource::Session, tenant.sessions.len())?;
        let (lease, token) = Lease::new(now, &self.keys, id, timeout);
        let session = loop {
            let session = SessionId::random(fastrand::alphanumeric);
            if !tenant.sessions.contains(session) {
                break session;
            }
        };
        let info = Arc::new(SessionInfo { id: session, timeout, metadata: metadata.clone() });
        let after = Some(Session { metadata, timeout, lease });
        self.change(id, RecordChange::Session { id: session, before: None, after });
        self.append_event(now, id, EventKind::SessionCreate(info), PackedAttribution::of(by));
        Ok((session, token))
    }

    /// Returns one session.
    pub(crate) fn session(&mut self, tenant: TenantId, name: &str) -> Result<NamedSession, DomainError> {
        let (id, session) = self.find_session(tenant, name)?;
        Ok(NamedSession { id, session: session.clone() })
    }

    /// Changes the given fields. A new timeout holds from the next heartbeat on.
    pub(crate) fn update_session(
        &mut self,
        now: Now,
        tenant: TenantId,
        name: &str,
        update: &SessionUpdate,
        by: &Attribution,
    ) -> Result<(), DomainError> {
        let SessionUpdate { timeout, metadata } = update.clone();
        let (id, before) = self.find_session(tenant, name)?;
        let before = before.clone();
        let mut after = before.clone();
        after.timeout = timeout.unwrap_or(after.timeout);
        after.metadata = metadata.unwrap_or(after.metadata);
        if after != before {
            let info = NamedSession { id, session: after.clone() }.info();
            self.change(tenant, RecordChange::Session { id, before: Some(before), after: Some(after) });
            self.append_event(now, tenant, EventKind::SessionUpdate(info), PackedAttribution::of(by));
        }
        Ok(())
    }

    /// Ends a session and its services. These are removed, not timed out.
    pub(crate) fn delete_session(
        &mut self,
        now: Now,
        tenant: TenantId,
        name: &str,
        by: &Attribution,
    ) -> Result<(), DomainError> {
        let ended = self.session(tenant, name)?;
        let by = PackedAttribution::of(&by.or_cause(Cause::SessionRemoved));
        for info in self.remove_session(tenant, ended.id) {
            self.append_event(now, tenant, EventKind::Remove(info), by.clone());
        }
        self.append_event(now, tenant, EventKind::SessionRemove(ended.info()), by);
        Ok(())
    }

    /// Finds a session. The id in a path is not checked: an impossible one does not exist.
    pub(super) fn find_session(&mut self, tenant: TenantId, name: &str) -> Result<(SessionId, &Session), DomainError> {
        let tenant = self.tenants.entry(tenant).or_default();
        SessionId::parse(name)
            .and_then(|id| Some((id, tenant.sessions.get(id)?)))
            .ok_or_else(|| DomainError::missing(Kind::Session, name))
    }
}

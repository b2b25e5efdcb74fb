//! Heartbeats: renew a lease, and return the next token.
//!
//! See `model::lease` for the rules of tokens.

use super::State;
use super::error::{DomainError, Kind};
use crate::registry::model::Now;
use crate::registry::model::Owner;
use crate::registry::model::Uuid1;
use crate::registry::model::{Lease, ServiceKind, SessionId, TenantId};

/// The target of a heartbeat, by the id in the path. The id is not checked: an impossible one does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeartbeatTarget<'a> {
    Session(&'a str),
    Service(&'a str),
    /// The owner of the token. The id, which belongs to no session, is only for the error.
    ByToken(&'a str),
}

/// The token of a heartbeat, and its text as it was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PresentedToken<'a> {
    pub(crate) token: Uuid1,
    pub(crate) text: &'a str,
}

impl State {
    /// Renews a lease and returns the next token. Expires nothing: a late heartbeat still renews a lease that has not
    /// been removed.
    pub(crate) fn beat(
        &mut self,
        now: Now,
        id: TenantId,
        who: HeartbeatTarget<'_>,
        shown: PresentedToken<'_>,
    ) -> Result<Uuid1, DomainError> {
        let PresentedToken { token, text } = shown;
        let owner = matches!(who, HeartbeatTarget::ByToken(_)).then(|| self.owner(id, token)).flatten();
        let who = match &owner {
            Some(Owner::Session(session)) => HeartbeatTarget::Session(session.as_str()),
            Some(Owner::Service(service)) => HeartbeatTarget::Service(service),
            None => who,
        };
        let tenant = self.tenants.entry(id).or_default();
        let next = match who {
            HeartbeatTarget::Session(name) | HeartbeatTarget::ByToken(name) => {
                let session = SessionId::parse(name).and_then(|key| Some((key, tenant.sessions.get_mut(key)?)));
                let (key, session) = session.ok_or_else(|| DomainError::missing(Kind::Session, name))?;
                let next = session.lease.renew(now, &self.keys, id, session.timeout, token);
                if let Some(due) = session.lease.take_earlier_deadline() {
                    self.deadlines.push(due, id, Owner::Session(key));
                }
                next
            }
            HeartbeatTarget::Service(name) => {
                let service = tenant.services.get_mut(name).ok_or_else(|| DomainError::missing(Kind::Service, name))?;
                match (&mut service.lease, service.info.kind) {
                    (Some(lease), ServiceKind::Standalone { timeout }) => {
                        let next = lease.renew(now, &self.keys, id, timeout, token);
                        if let Some(due) = lease.take_earlier_deadline() {
                            self.deadlines.push(due, id, Owner::Service(service.info.id.clone()));
                        }
                        next
                    }
                    _ => None, // a service in a session has no tokens
                }
            }
        };
        next.ok_or_else(|| DomainError::missing(Kind::HeartbeatMarker, text))
    }

    /// Returns the owner of a token. Only one rare request needs it, so there is no index, and all leases are searched.
    fn owner(&self, id: TenantId, token: Uuid1) -> Option<Owner> {
        let tenant = self.tenants.get(&id)?;
        let has = |lease: &Lease| lease.accepts(&self.keys, id, token);
        let session = tenant.sessions.from(b"").find(|(_, session)| has(&session.lease));
        if let Some((session, _)) = session {
            return Some(Owner::Session(*session));
        }
        let service = tenant.services.values().find(|service| service.lease.as_deref().is_some_and(has))?;
        Some(Owner::Service(service.info.id.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::Attribution;
    use crate::registry::state::tests::{at, own, session, state, timeout_of_service};

    fn beat(state: &mut State, now: Now, id: &str, token: Uuid1) -> Result<Uuid1, DomainError> {
        let text = token.to_string();
        state.beat(now, 1, HeartbeatTarget::Service(id), PresentedToken { token, text: &text })
    }

    fn stale(token: Uuid1) -> Result<Uuid1, DomainError> {
        Err(DomainError::missing(Kind::HeartbeatMarker, &token.to_string()))
    }

    #[test]
    fn token_carries_the_deadline() {
        let mut state = state();
        let first = own(&mut state, at(1_000), "node-1", 30);
        assert_eq!(first.unix_ms(), at(31_000).wall);
        let next = beat(&mut state, at(5_000), "node-1", first).unwrap();
        assert_eq!(next.unix_ms(), at(35_000).wall);
        assert_eq!(state.service(1, "node-1", false).unwrap().last_seen, Some(at(5_000).wall));
    }

    #[test]
    fn newest_token_and_the_one_before_are_accepted() {
        let mut state = state();
        let first = own(&mut state, at(0), "node-1", 30);
        let second = beat(&mut state, at(1), "node-1", first).unwrap();
        assert_eq!(beat(&mut state, at(2), "node-1", first), Ok(second), "the same answer again");
        assert_eq!(beat(&mut state, at(3), "node-1", first), Ok(second), "as often as it takes");
        let third = beat(&mut state, at(4), "node-1", second).unwrap();
        assert_eq!(beat(&mut state, at(5), "node-1", first), stale(first));
        assert_eq!(beat(&mut state, at(6), "node-1", second), Ok(third), "the refusal changed nothing");
        beat(&mut state, at(7), "node-1", third).unwrap();
    }

    #[test]
    fn retry_with_the_previous_token_renews_the_lease() {
        let mut state = state();
        let first = own(&mut state, at(0), "node-1", 3);
        let second = beat(&mut state, at(1_000), "node-1", first).unwrap();
        beat(&mut state, at(3_500), "node-1", first).unwrap();
        state.sweep(at(4_500), usize::MAX);
        assert!(beat(&mut state, at(5_000), "node-1", second).is_ok());
    }

    #[test]
    fn token_of_another_lease_is_refused() {
        let mut state = state();
        let (one, two) = (own(&mut state, at(0), "node-1", 30), own(&mut state, at(0), "node-2", 30));
        assert_eq!(beat(&mut state, at(1), "node-2", one), stale(one));
        state.delete_service(at(2), 1, "node-1", &Attribution::default()).unwrap();
        own(&mut state, at(3), "node-1", 30);
        assert_eq!(beat(&mut state, at(4), "node-1", one), stale(one), "an earlier one of the same name");
        let forged = Uuid1::new(two.ticks(), 0);
        assert_eq!(beat(&mut state, at(4), "node-2", forged), stale(forged));
        beat(&mut state, at(5), "node-2", two).unwrap();
    }

    #[test]
    fn service_in_a_session_has_no_token_of_its_own() {
        let mut state = state();
        let (_, token) = session(&mut state, at(0), 30, &["api-1"]);
        assert_eq!(beat(&mut state, at(1), "api-1", token), stale(token));
    }

    /// After a restart issued tokens are not known, but can be verified.
    #[test]
    fn any_issued_token_is_accepted_once_after_a_restart() {
        let mut state = state();
        let first = own(&mut state, at(0), "node-1", 30);
        let second = beat(&mut state, at(1), "node-1", first).unwrap();
        let forget = |state: &mut State| {
            let service = state.tenants.get_mut(&1).unwrap().services.get_mut("node-1").unwrap();
            let lease = service.lease.as_mut().unwrap();
            let (deadline, queued_deadline) = (lease.deadline, lease.queued_deadline);
            **lease = Lease { deadline, queued_deadline, ..Lease::restored(lease.incarnation) };
        };
        forget(&mut state);
        let forged = Uuid1::new(second.ticks() + 1, 0);
        assert_eq!(beat(&mut state, at(2), "node-1", forged), stale(forged));
        let third = beat(&mut state, at(2), "node-1", second).unwrap();
        assert_eq!(beat(&mut state, at(3), "node-1", second), Ok(third), "and from then on as ever");
        assert_eq!(beat(&mut state, at(3), "node-1", first), stale(first));
        // A heartbeat that was held up comes first.
        forget(&mut state);
        let orphan = beat(&mut state, at(4), "node-1", first).unwrap();
        let fourth = beat(&mut state, at(5), "node-1", third).unwrap();
        assert_eq!(beat(&mut state, at(6), "node-1", third), Ok(fourth));
        assert_eq!(beat(&mut state, at(6), "node-1", first), stale(first));
        let fifth = beat(&mut state, at(7), "node-1", fourth).unwrap();
        assert_eq!(beat(&mut state, at(8), "node-1", orphan), stale(orphan), "now the newest one is known");
        beat(&mut state, at(8), "node-1", fifth).unwrap();
    }

    #[test]
    fn lowered_timeout_expires_the_lease_in_time() {
        let mut state = state();
        let token = own(&mut state, at(0), "node-1", 120);
        state.update_service(at(0), 1, "node-1", |_| Ok(timeout_of_service(3)), &Attribution::default()).unwrap();
        assert_eq!(state.next_deadline(), Some(120_000), "it holds from the next heartbeat on");
        beat(&mut state, at(1_000), "node-1", token).unwrap();
        assert_eq!(state.next_deadline(), Some(4_000));
        state.sweep(at(4_000), usize::MAX);
        assert!(state.service(1, "node-1", false).is_err());
    }
}

//! The leases as they go to another process, and come from one.

use super::State;
use crate::registry::model::{Lease, LeaseState, Now, Owner, TenantId};

impl State {
    /// Returns what the records of all leases do not contain.
    pub(crate) fn lease_states(&self, now: Now) -> Vec<LeaseState> {
        let of = |tenant: TenantId, owner: Owner, lease: &Lease| {
            let Lease { heard, latest, previous, deadline, .. } = *lease;
            LeaseState { tenant, owner, left: deadline.saturating_sub(now.mono), heard, latest, previous }
        };
        let mut all = Vec::new();
        for (id, tenant) in &self.tenants {
            let sessions = tenant.sessions.from(b"");
            all.extend(sessions.map(|(session, held)| of(*id, Owner::Session(*session), &held.lease)));
            let services = tenant.services.iter().filter_map(|(service, held)| Some((service, held.lease.as_deref()?)));
            all.extend(services.map(|(service, lease)| of(*id, Owner::Service(service.clone()), lease)));
        }
        all
    }

    /// Continues leases that come from another process. One that has run out since then gets `least` milliseconds: its
    /// holder's heartbeats may be on their way.
    pub(crate) fn resume(&mut self, now: Now, passed: u64, least: u64, states: Vec<LeaseState>) {
        for LeaseState { tenant: id, owner, left, heard, latest, previous } in states {
            let Some(tenant) = self.tenants.get_mut(&id) else { continue };
            let lease = match &owner {
                Owner::Session(session) => tenant.sessions.get_mut(*session).map(|session| &mut session.lease),
                Owner::Service(service) => {
                    tenant.services.get_mut(service).and_then(|service| service.lease.as_deref_mut())
                }
            };
            let Some(lease) = lease else { continue };
            lease.deadline = now.mono + left.saturating_sub(passed).max(least);
            (lease.heard, lease.latest, lease.previous) = (heard, latest, previous);
            if let Some(due) = lease.take_earlier_deadline() {
                self.deadlines.push(due, id, owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::registry::model::{Change, Keys, RecordChange, Uuid1};
    use crate::registry::state::HeartbeatTarget;
    use crate::registry::state::tests::{at, beat, own, session, state};

    /// The records of a state, as a store would give them to another process.
    fn moved(from: &State, keys: Arc<Keys>, now: Now) -> State {
        let mut to = State::new(keys);
        for (id, tenant) in &from.tenants {
            let sessions = tenant.sessions.from(b"").map(|(id, session)| RecordChange::Session {
                id: *id,
                before: None,
                after: Some(crate::registry::model::Session {
                    lease: Lease::restored(session.lease.incarnation),
                    ..session.clone()
                }),
            });
            let services = tenant.services.values().map(|service| RecordChange::Service {
                id: service.info.id.clone(),
                before: None,
                after: Some(service.clone()),
            });
            for record in sessions.chain(services) {
                to.restore(now, Change { tenant: *id, record });
            }
        }
        to
    }

    #[test]
    fn lease_goes_on_in_another_process() {
        let mut first = state();
        let (id, token) = session(&mut first, at(0), 30, &["api-1"]);
        let held = own(&mut first, at(0), "own-1", 10);
        let next = beat(&mut first, at(10_000), HeartbeatTarget::Session(&id), token).unwrap();
        let states = first.lease_states(at(12_000));
        assert_eq!(states.iter().map(|state| state.left).collect::<Vec<_>>(), [28_000, 0]);

        let mut second = moved(&first, first.keys.clone(), at(500));
        second.resume(at(500), 1_000, 250, states);
        assert!(second.service(1, "own-1", false).is_ok());
        second.sweep(at(749), usize::MAX);
        assert!(second.service(1, "own-1", false).is_ok(), "its holder still has a moment");
        second.sweep(at(750), usize::MAX);
        assert!(second.service(1, "own-1", false).is_err());
        assert_ne!(held, Uuid1::lowest(0));
        second.sweep(at(27_499), usize::MAX);
        assert!(second.service(1, "api-1", false).is_ok());
        let stale = beat(&mut second, at(27_499), HeartbeatTarget::Session("se00000000"), token);
        assert!(stale.is_err());
        let again = beat(&mut second, at(27_499), HeartbeatTarget::Session(&id), token);
        assert_eq!(again.unwrap(), next, "the answer to the last heartbeat may have been lost");
        second.sweep(at(57_498), usize::MAX);
        assert!(second.service(1, "api-1", false).is_ok());
        second.sweep(at(57_499), usize::MAX);
        assert!(second.service(1, "api-1", false).is_err());
    }
}

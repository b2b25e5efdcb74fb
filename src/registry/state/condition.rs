//! What is told about the state as a whole, for metrics and for checks of its health.

use super::State;
use crate::registry::model::RecordChange;

/// How much there is, in all accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) accounts: usize,
    pub(crate) sessions: usize,
    pub(crate) services: usize,
    pub(crate) values: usize,
    /// Events in memory. With a disk, older ones are only there.
    pub(crate) recent_events: usize,
}

impl Sizes {
    #[cfg(feature = "etcd")]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            accounts: self.accounts + other.accounts,
            sessions: self.sessions + other.sessions,
            services: self.services + other.services,
            values: self.values + other.values,
            recent_events: self.recent_events + other.recent_events,
        }
    }
}

/// A lease that has expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expired {
    pub(crate) is_session: bool,
    /// Its deadline.
    pub(crate) due: u64,
}

impl State {
    /// Returns the leases that have expired since the last call.
    pub(crate) fn take_expired(&mut self) -> Vec<Expired> {
        std::mem::take(&mut self.expired)
    }

    /// Returns how much there is.
    pub(crate) fn sizes(&self) -> Sizes {
        let mut sizes = Sizes { accounts: self.tenants.len(), ..Sizes::default() };
        for tenant in self.tenants.values() {
            sizes.sessions += tenant.sessions.len();
            sizes.services += tenant.services.len();
            sizes.values += tenant.values.len();
            sizes.recent_events += tenant.events.len();
        }
        sizes
    }

    /// Changes nothing, but has a record stored: that of the first account.
    pub(crate) fn store_again(&mut self) {
        let first = self.tenants.iter().next().map(|(tenant, data)| (*tenant, data.record.clone()));
        if let Some((tenant, record)) = first {
            self.change(tenant, RecordChange::Tenant { before: Some(record.clone()), after: Some(record) });
        }
    }
}

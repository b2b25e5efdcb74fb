//! The number of records of each kind that a tenant may have.

/// A kind of record that a quota limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Resource {
    Session,
    Service,
    ConfigurationValue,
}

/// Large enough for any fleet. It stops a client that registers in a loop before the memory is full.
const DEFAULT: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    pub(crate) session: u64,
    pub(crate) service: u64,
    pub(crate) configuration_value: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self { session: DEFAULT, service: DEFAULT, configuration_value: DEFAULT }
    }
}

impl Quota {
    pub(crate) fn of(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Session => self.session,
            Resource::Service => self.service,
            Resource::ConfigurationValue => self.configuration_value,
        }
    }
}

//! What an account may have: so many objects of each kind, and so many requests in a time.

use regex_lite::Regex;

use crate::registry::state::{DomainError, Resource};

/// Enough for any fleet of one's own; it stops a loop gone wild before the memory is full.
const DEFAULT_QUOTA: u64 = 1_000_000;

/// What a tenant may have.
#[derive(Clone, Debug)]
pub(crate) struct Quotas {
    pub(super) session: u64,
    pub(super) service: u64,
    pub(super) configuration_value: u64,
    pub(crate) rates: Vec<Rate>,
}

/// How many GET requests to some paths are allowed in a time.
#[derive(Clone, Debug)]
pub(crate) struct Rate {
    /// The expression as it was written: it is shown to the client.
    pub(crate) path: String,
    /// The same, anchored at the start of the path.
    pub(crate) matcher: Regex,
    pub(crate) limit: u64,
    /// Seconds.
    pub(crate) period: u64,
}

impl Default for Quotas {
    fn default() -> Self {
        let quota = DEFAULT_QUOTA;
        Self { session: quota, service: quota, configuration_value: quota, rates: Vec::new() }
    }
}

impl Quotas {
    pub(crate) fn quota(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Session => self.session,
            Resource::Service => self.service,
            Resource::ConfigurationValue => self.configuration_value,
        }
    }

    /// Refuses one more if there are `held` already.
    pub(crate) fn check(&self, resource: Resource, held: usize) -> Result<(), DomainError> {
        let most = self.quota(resource);
        let fits = u64::try_from(held).is_ok_and(|held| held < most);
        if fits { Ok(()) } else { Err(DomainError::Quota { resource, most }) }
    }
}

impl Rate {
    pub(super) fn new(path: String, limit: u64, period: u64) -> Result<Self, regex_lite::Error> {
        let matcher = Regex::new(&format!("^(?:{path})"))?;
        Ok(Self { path, matcher, limit, period })
    }
}

//! Configuration values, flat or in namespaces.
//!
//! An id with a namespace starts with a slash.

use std::ops::Bound;
use std::sync::Arc;

use super::State;
use super::error::{DomainError, Kind};
use crate::registry::model::RecordChange;
use crate::registry::model::{Attribution, PackedAttribution};
use crate::registry::model::{EventKind, TenantId, ValueRemove, ValueUpdate};
use crate::registry::model::{Listing, NamedValue, Page};
use crate::registry::model::{Now, Quota, Resource};

impl State {
    /// Lists values by id: all, or those of a namespace and below. A value whose id is the namespace itself is
    /// included.
    pub(crate) fn values(&mut self, tenant: TenantId, page: &Page, namespace: Option<&str>) -> Listing<NamedValue> {
        let values = &self.tenants.entry(tenant).or_default().values;
        let marker = page.from();
        let (own, below) = match namespace {
            None => (None, (marker.to_owned(), Bound::Unbounded)),
            Some(space) => {
                let own = values.get_key_value(space).filter(|(id, _)| &***id >= marker);
                let (first, end) = (format!("{space}/"), format!("{space}0")); // `0` follows `/`
                (own, (first.max(marker.to_owned()).min(end.clone()), Bound::Excluded(end)))
            }
        };
        let (from, to) = below;
        let below = values.range::<str, _>((Bound::Included(&*from), to.as_ref().map(String::as_str)));
        let values = own.into_iter().chain(below);
        Listing::take(values.map(|(id, value)| NamedValue { id: id.clone(), value: value.clone() }), page.limit)
    }

    /// Returns one value.
    pub(crate) fn value(&mut self, tenant: TenantId, id: &str) -> Result<NamedValue, DomainError> {
        let (id, value) = self.find_value(tenant, id)?;
        Ok(NamedValue { id, value })
    }

    /// Sets a value. The same value again changes nothing, and makes no event.
    pub(crate) fn set_value(
        &mut self,
        now: Now,
        tenant: TenantId,
        quota: &Quota,
        id: &str,
        new: &Arc<str>,
        by: &Attribution,
    ) -> Result<(), DomainError> {
        let before = self.find_value(tenant, id).ok();
        if before.is_none() {
            let held = self.tenants.entry(tenant).or_default().values.len();
            DomainError::check_quota(quota, Resource::ConfigurationValue, held)?;
        }
        let (id, old) = before.map_or_else(|| (Arc::from(id), None), |(id, old)| (id, Some(old)));
        if old.as_ref() != Some(new) {
            let record = RecordChange::Value { id: id.clone(), before: old.clone(), after: Some(new.clone()) };
            self.change(tenant, record);
            let update = Box::new(ValueUpdate { id, old, new: new.clone() });
            self.append_event(now, tenant, EventKind::ValueUpdate(update), PackedAttribution::of(by));
        }
        Ok(())
    }

    /// Removes a value. A namespace vanishes with its last value.
    pub(crate) fn remove_value(
        &mut self,
        now: Now,
        tenant: TenantId,
        id: &str,
        by: &Attribution,
    ) -> Result<(), DomainError> {
        let (id, old) = self.find_value(tenant, id)?;
        self.change(tenant, RecordChange::Value { id: id.clone(), before: Some(old.clone()), after: None });
        let removal = Box::new(ValueRemove { id, old });
        self.append_event(now, tenant, EventKind::ValueRemove(removal), PackedAttribution::of(by));
        Ok(())
    }

    fn find_value(&mut self, tenant: TenantId, id: &str) -> Result<(Arc<str>, Arc<str>), DomainError> {
        let values = &self.tenants.entry(tenant).or_default().values;
        let found = values.get_key_value(id).map(|(id, value)| (id.clone(), value.clone()));
        found.ok_or_else(|| DomainError::missing(Kind::ConfigurationValue, id))
    }
}

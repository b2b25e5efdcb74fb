//! Configuration values, flat or in namespaces.
//!
//! An id with a namespace starts with a slash. In a path it may be spelled without: `/configuration/ns/key` and
//! `/configuration//ns/key` are the same value, and a slash at the end names the namespace.

use std::ops::Bound;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use super::State;
use super::error::{DomainError, Kind, Resource};
use crate::registry::access::Quotas;
use crate::registry::http::Json;
use crate::registry::http::request::validation;
use crate::registry::model::Now;
use crate::registry::model::RecordChange;
use crate::registry::model::{Entry, Listing, Page};
use crate::registry::model::{EventKind, TenantId, ValueRemove, ValueUpdate};
use crate::wire;

/// What the rest of a path below `/configuration/` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Everything.
    All,
    /// All values below a namespace, which starts with a slash; the one of all that have any is empty.
    Namespace(String),
    /// One value.
    Key(String),
}

impl Place {
    /// From the path, decoded; for reading.
    pub(crate) fn to_read(path: &str) -> Self {
        match path.strip_suffix('/') {
            Some(_) => Self::Namespace(format!("/{}", path.trim_matches('/')).trim_end_matches('/').to_owned()),
            None if path.is_empty() => Self::All,
            None => Self::Key(key(path)),
        }
    }
}

/// The id of a value, from the path, decoded. A slash at its end stays: no id has one, so it will be refused.
pub(crate) fn key(path: &str) -> String {
    let lacks_slash = path.contains('/') && !path.starts_with('/');
    if lacks_slash { format!("/{path}") } else { path.to_owned() }
}

fn check_id(id: &str) -> Result<(), DomainError> {
    validation::parameter("configurationId", id, validation::configuration_id)
}

impl State {
    /// Values by id: all, or those of a namespace and below. A value whose id is the namespace itself is one of them.
    pub(crate) fn values(&mut self, tenant: TenantId, page: &Page, namespace: Option<&str>) -> Listing<NamedValue> {
        let values = &self.tenants.entry(tenant).or_default().values;
        let marker = page.from();
        let (own, below) = match namespace {
            None => (None, (marker.to_owned(), Bound::Unbounded)),
            Some(space) => {
                let own = values.get_key_value(space).filter(|(id, _)| &***id >= marker);
                let (first, end) = (format!("{space}/"), format!("{space}0")); // `0` comes right after `/`
                (own, (first.max(marker.to_owned()).min(end.clone()), Bound::Excluded(end)))
            }
        };
        let (from, to) = below;
        let below = values.range::<str, _>((Bound::Included(&*from), to.as_ref().map(String::as_str)));
        let values = own.into_iter().chain(below);
        Listing::take(values.map(|(id, value)| NamedValue { id: id.clone(), value: value.clone() }), page.limit)
    }

    /// One value.
    pub(crate) fn value(&mut self, tenant: TenantId, id: &str) -> Result<wire::ConfigurationValue, DomainError> {
        check_id(id)?;
        let (id, value) = self.find_value(tenant, id)?;
        Ok(NamedValue { id, value }.to_wire())
    }

    /// Sets a value. One that is the same as before changes nothing, and nothing has happened.
    pub(crate) fn set_value(
        &mut self,
        now: Now,
        tenant: TenantId,
        quotas: &Quotas,
        id: &str,
        body: &Json,
    ) -> Result<(), DomainError> {
        check_id(id)?;
        validation::body(body)?;
        validation::given(body, "id", |value| match value {
            Json::Text(id) => validation::configuration_id(id),
            _ => Err("Not a string".into()),
        })?; // checked, but it is the path that tells
        let new: Arc<str> = validation::required(body, "value", validation::configuration_value)?.into();
        let before = self.find_value(tenant, id).ok();
        if before.is_none() {
            let held = self.tenants.entry(tenant).or_default().values.len();
            quotas.check(Resource::ConfigurationValue, held)?;
        }
        let (id, old) = before.map_or_else(|| (Arc::from(id), None), |(id, old)| (id, Some(old)));
        if old.as_ref() != Some(&new) {
            let slot = RecordChange::Value { id: id.clone(), before: old.clone(), after: Some(new.clone()) };
            self.change(tenant, slot);
            self.append_event(now, tenant, EventKind::ValueUpdate(Box::new(ValueUpdate { id, old, new })));
        }
        Ok(())
    }

    /// Removes a value. Namespaces are not removed as such: they are gone with their last value.
    pub(crate) fn remove_value(&mut self, now: Now, tenant: TenantId, id: &str) -> Result<(), DomainError> {
        check_id(id)?;
        let (id, old) = self.find_value(tenant, id)?;
        self.change(tenant, RecordChange::Value { id: id.clone(), before: Some(old.clone()), after: None });
        self.append_event(now, tenant, EventKind::ValueRemove(Box::new(ValueRemove { id, old })));
        Ok(())
    }

    fn find_value(&mut self, tenant: TenantId, id: &str) -> Result<(Arc<str>, Arc<str>), DomainError> {
        let values = &self.tenants.entry(tenant).or_default().values;
        let found = values.get_key_value(id).map(|(id, value)| (id.clone(), value.clone()));
        found.ok_or_else(|| DomainError::missing(Kind::ConfigurationValue, id))
    }
}

/// A value with its id, as an entry of a list.
#[derive(Clone, Debug)]
pub(crate) struct NamedValue {
    id: Arc<str>,
    value: Arc<str>,
}

impl NamedValue {
    fn to_wire(&self) -> wire::ConfigurationValue {
        wire::ConfigurationValue { id: self.id.to_string(), value: self.value.to_string() }
    }
}

impl Serialize for NamedValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_wire().serialize(serializer)
    }
}

impl Entry for NamedValue {
    fn marker(&self) -> String {
        self.id.to_string()
    }

    fn min_bytes(&self) -> usize {
        self.id.len() + self.value.len()
    }
}

//! What a template finds: the services, callable as a filter, and the services of each tag.
//!
//! Tags and metadata are texts of other people. A control character in one could begin a line of the configuration, so
//! it is escaped. `endpoint` is made of what can be nothing but an address.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Serde, Value, from_args};
use minijinja::{Error, ErrorKind, State, context};
use serde_json::Value as Json;
use service_registry::endpoint;

use crate::commands::reading::services::{ADDRESSES, Filter};
use crate::output::visible;

/// The names at the top.
pub(super) const NAMES: [&str; 2] = ["services", "by_tag"];

/// A list, as templates find it.
pub(super) struct View(Value);

impl View {
    pub(super) fn of(services: &[Json]) -> Self {
        let mut all: Vec<Entry> = services.iter().map(Entry::of).collect();
        all.sort_by(|one, other| one.json["id"].as_str().cmp(&other.json["id"].as_str()));
        let mut by_tag: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for entry in &all {
            for tag in entry.json["tags"].as_array().into_iter().flatten().filter_map(Json::as_str) {
                by_tag.entry(visible(tag).into_owned()).or_default().push(entry.clone());
            }
        }
        let by_tag = by_tag.into_iter().map(|(tag, of_tag)| (tag, Value::from_object(Services(of_tag))));
        let services = Value::from_object(Services(all));
        Self(context! { services, by_tag => Value::from_pairs(by_tag) })
    }

    pub(super) fn context(&self) -> Value {
        self.0.clone()
    }
}

/// A service: as the registry has it, for filters, and as a template finds it.
#[derive(Clone, Debug)]
struct Entry {
    json: Arc<Json>,
    value: Value,
}

impl Entry {
    fn of(service: &Json) -> Self {
        let mut found = harmless(service);
        let (address, port) = address_of(&service["metadata"]).map_or((None, None), |(host, port)| (Some(host), port));
        let endpoint = address.as_ref().zip(port).map(|(host, port)| endpoint::join(host, port));
        if let Some(members) = found.as_object_mut() {
            members.insert("address".to_owned(), address.into());
            members.insert("port".to_owned(), port.into());
            members.insert("endpoint".to_owned(), endpoint.into());
        }
        Self { json: Arc::new(service.clone()), value: Value::from(Serde(found)) }
    }
}

/// A list of services. `services(tag="api")` is a part of it.
#[derive(Debug)]
struct Services(Vec<Entry>);

impl Object for Services {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        Some(self.0.get(key.as_usize()?)?.value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Seq(self.0.len())
    }

    fn call(self: &Arc<Self>, _: &mut State<'_, '_>, args: &[Value]) -> Result<Value, Error> {
        let (options,): (Kwargs,) = from_args(args)?;
        let tags = options.get::<Option<Value>>("tag")?.map_or_else(|| Ok(Vec::new()), |value| texts(&value))?;
        let metadata =
            options.get::<Option<Value>>("metadata")?.map_or_else(|| Ok(Vec::new()), |value| pairs(&value))?;
        let filter = Filter::new(tags, metadata, options.get("id_prefix")?);
        options.assert_all_used()?;
        Ok(Value::from_object(Self(self.0.iter().filter(|entry| filter.wants(&entry.json)).cloned().collect())))
    }
}

/// Reads a text, or a list of them.
fn texts(value: &Value) -> Result<Vec<String>, Error> {
    match value.as_str() {
        Some(text) => Ok(vec![text.to_owned()]),
        None => Ok(value.try_iter()?.map(|text| text.to_string()).collect()),
    }
}

/// Reads a map.
fn pairs(value: &Value) -> Result<Vec<(String, String)>, Error> {
    if value.as_str().is_some() {
        return Err(Error::new(ErrorKind::InvalidOperation, "write metadata={\"key\": \"value\"}"));
    }
    value.try_iter()?.map(|key| Ok((key.to_string(), value.get_item(&key)?.to_string()))).collect()
}

/// Returns a value whose texts have no control characters.
fn harmless(value: &Json) -> Json {
    match value {
        Json::String(text) => visible(text).into(),
        Json::Array(all) => all.iter().map(harmless).collect(),
        Json::Object(members) => {
            members.iter().map(|(name, value)| (visible(name).into_owned(), harmless(value))).collect()
        }
        other => other.clone(),
    }
}

/// Returns the address in the metadata, and the port. As the registry's list for Prometheus, but `hostname` counts too.
fn address_of(metadata: &Json) -> Option<(String, Option<u16>)> {
    let of = |key: &str| metadata[key].as_str().filter(|text| !text.is_empty());
    let (host, own_port) = endpoint::split(ADDRESSES.iter().find_map(|key| of(key))?)?;
    let port = match of("port") {
        Some(port) => port.parse().ok(),
        None => own_port,
    };
    Some((host, port.filter(|port| *port > 0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(metadata: &Json) -> [String; 3] {
        let value = Entry::of(&json!({"id": "a", "metadata": metadata})).value;
        ["address", "port", "endpoint"].map(|name| value.get_attr(name).unwrap().to_string())
    }

    #[test]
    fn endpoint_is_an_address_or_none() {
        for (metadata, address, port, endpoint) in [
            (json!({"host": "10.0.0.1", "port": "80"}), "10.0.0.1", "80", "10.0.0.1:80"),
            (json!({"address": "10.0.0.1:81"}), "10.0.0.1", "81", "10.0.0.1:81"),
            (json!({"ip": "2001:db8::1", "port": "80"}), "2001:db8::1", "80", "[2001:db8::1]:80"),
            (json!({"address": "web", "port": "0"}), "web", "None", "None"),
            (json!({"address": "web", "port": "80; }"}), "web", "None", "None"),
            (json!({"address": "a; } b", "port": "80"}), "None", "None", "None"),
            (json!({"host": "127.0.0.1 check\n  acl x", "port": "1"}), "None", "None", "None"),
            (json!({"port": "80"}), "None", "None", "None"),
            (json!({}), "None", "None", "None"),
        ] {
            assert_eq!(of(&metadata), [address, port, endpoint], "{metadata}");
        }
    }
}

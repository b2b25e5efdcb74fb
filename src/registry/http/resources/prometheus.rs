//! `/prometheus`: the services as targets, in the form of Prometheus' discovery over HTTP (`http_sd_configs`).
//!
//! Prometheus takes no pages, so all services are in one answer. It is written while it is sent, some services at a time,
//! and never all in memory. If it cannot be finished it ends without its last bracket: Prometheus then keeps the targets
//! that it has.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use hyper::body::Bytes;
use serde::Serialize;

use super::fair_share::Party;
use super::lists::SHORT;
use crate::endpoint;
use crate::registry::engine::{Engine, Scope};
use crate::registry::http::app::App;
use crate::registry::http::context::RequestContext;
use crate::registry::http::error::HttpError;
use crate::registry::http::request::services::filter;
use crate::registry::http::response::{Answer, Unsent};
use crate::registry::model::{Page, ServiceFilter, ServiceInfo, ServiceKind, TenantId};
use crate::registry::state::{DomainError, State};

/// The services that are read at a time.
const SERVICES_AT_A_TIME: usize = 100;

/// What Prometheus drops after relabelling begins with `__`.
const PREFIX: &str = "__meta_service_registry_";

/// The metadata that may have the address, in the order in which they are looked at.
const ADDRESSES: [&str; 3] = ["address", "ip", "host"];

pub(crate) async fn targets(context: &RequestContext<'_>) -> Result<Answer, HttpError> {
    let mut targets = Targets {
        app: context.app.clone(),
        engine: context.engine.clone(),
        tenant: context.tenant,
        party: (context.tenant, context.address),
        filter: filter(context.query)?,
        port: Port::of(&context.query.values("port"))?,
        next: Some(String::new()),
        is_first: true,
    };
    let first = targets.piece().await.ok_or(HttpError::Busy)?;
    if targets.next.is_none() {
        return Ok(Answer::json_text(first));
    }
    let rest = stream::unfold(targets, async |mut targets| {
        targets.next.as_ref()?;
        Some((targets.piece().await?, targets))
    });
    Ok(Answer::json_stream(Box::pin(stream::iter([first]).chain(rest).map(Ok))))
}

/// A list that is being written.
struct Targets {
    app: Arc<App>,
    engine: Arc<Engine>,
    tenant: TenantId,
    party: Party,
    filter: ServiceFilter,
    port: Port,
    /// The id to continue at; none at the end.
    next: Option<String>,
    is_first: bool,
}

impl Targets {
    /// Writes the next services; none if there is no room for them.
    async fn piece(&mut self) -> Option<Bytes> {
        let turn = self.app.lists.turn(self.party).await?;
        let (now, tenant) = (self.engine.now(), self.tenant);
        let page = Page { limit: SERVICES_AT_A_TIME, marker: self.next.take() };
        let look = |state: &mut State| {
            state.create_on_first_use(now, tenant);
            state.services(tenant, &page, &self.filter, false)
        };
        let (services, rest) =
            self.engine.read_swept(now, tenant, Scope::Services { with_sessions: false }, look).await;
        let mut text = if self.is_first { b"[".to_vec() } else { Vec::new() };
        for service in services.values {
            let Some(group) = Group::of(&service.info, tenant, &self.port) else { continue };
            text.extend_from_slice(if self.is_first { b"\n" } else { b",\n" });
            self.is_first = false;
            serde_json::to_writer(&mut text, &group).ok()?;
        }
        self.next = services.next.or_else(|| rest.map(|id| id.to_string()));
        if self.next.is_none() {
            text.extend_from_slice(b"\n]\n");
        } else if self.is_first {
            text = b" ".to_vec(); // nothing yet; the bracket comes with the first target
        }
        drop(turn);
        if text.len() <= SHORT {
            return Some(text.into());
        }
        text.shrink_to_fit();
        let held = self.app.lists.unsent(self.party, text.len()).await?;
        Some(Bytes::from_owner(Unsent::new(text, held)))
    }
}

/// Where the port of a target comes from.
#[derive(Debug, PartialEq, Eq)]
enum Port {
    /// It is the same for all.
    Fixed(u16),
    /// The metadata with this key, or for `port` the address if it has one.
    Metadata(String),
}

impl Port {
    fn of(values: &[&str]) -> Result<Self, DomainError> {
        let wrong = |rule: &str| DomainError::Parameter { name: "port", rule: rule.to_owned() };
        match values {
            [] => Ok(Self::Metadata("port".to_owned())),
            [number] if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port = number.parse().ok().filter(|port| *port > 0);
                port.map(Self::Fixed).ok_or_else(|| wrong("Give a port from 1 to 65535, or the key of the metadata"))
            }
            [key] if !key.is_empty() => Ok(Self::Metadata((*key).to_owned())),
            _ => Err(wrong("Give one port, or the key of the metadata that has it")),
        }
    }
}

/// A service, as Prometheus takes it.
#[derive(Serialize)]
struct Group {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

impl Group {
    /// None for a service without an address or a port.
    fn of(service: &ServiceInfo, tenant: TenantId, port: &Port) -> Option<Self> {
        let mut labels = BTreeMap::new();
        let mut add = |name: &str, value: String| labels.insert(format!("{PREFIX}{name}"), value);
        service.metadata.pairs().for_each(|(key, value)| {
            add(&format!("metadata_{}", label_name(key)), value.to_owned());
        });
        add("id", service.id.to_string());
        add("account", tenant.to_string());
        // With a comma at both ends, so that an expression for one tag need not know where it stands.
        let tags: String = service.tags.iter().map(|tag| format!(",{tag}")).collect();
        add("tags", if tags.is_empty() { tags } else { tags + "," });
        if let ServiceKind::InSession(session) = service.kind {
            add("session", session.as_str().to_owned());
        }
        Some(Self { targets: [target(service, port)?], labels })
    }
}

/// Replaces what a label's name cannot have.
fn label_name(key: &str) -> String {
    key.chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect()
}

fn target(service: &ServiceInfo, port: &Port) -> Option<String> {
    let of = |key: &str| {
        let mut pairs = service.metadata.pairs();
        pairs.find(|(known, value)| *known == key && !value.is_empty()).map(|(_, value)| value)
    };
    let (host, own_port) = endpoint::split(ADDRESSES.iter().find_map(|key| of(key))?)?;
    let port = match port {
        Port::Fixed(port) => *port,
        Port::Metadata(key) => match of(key) {
            Some(port) => port.parse().ok()?,
            None => own_port.filter(|_| key == "port")?,
        },
    };
    Some(endpoint::join(&host, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::model::StringList;

    fn found(metadata: &[&str], port: &str) -> Option<String> {
        let service = ServiceInfo {
            id: "a".into(),
            tags: StringList::default(),
            metadata: StringList::new(metadata.iter().copied()),
            kind: ServiceKind::Standalone { timeout: 30 },
        };
        let given = if port.is_empty() { vec![] } else { vec![port] };
        target(&service, &Port::of(&given).unwrap())
    }

    #[test]
    fn target_is_made_of_address_and_port() {
        for (metadata, port, expected) in [
            (&["address", "10.0.0.1", "port", "80"][..], "", Some("10.0.0.1:80")),
            (&["address", "10.0.0.1:81"], "", Some("10.0.0.1:81")),
            (&["address", "10.0.0.1:81", "port", "80"], "", Some("10.0.0.1:80")),
            (&["address", "10.0.0.1:81", "port", "80"], "9100", Some("10.0.0.1:9100")),
            (&["address", "10.0.0.1:81", "metrics", "82"], "metrics", Some("10.0.0.1:82")),
            (&["address", "10.0.0.1:81"], "metrics", None),
            (&["ip", "2001:db8::1", "host", "web", "port", "80"], "", Some("[2001:db8::1]:80")),
            (&["address", "[2001:db8::1]:81"], "", Some("[2001:db8::1]:81")),
            (&["address", "", "host", "web-1.example", "port", "80"], "", Some("web-1.example:80")),
            (&["address", "web:82"], "", Some("web:82")),
            (&["address", "10.0.0.1"], "", None),
            (&["port", "80"], "", None),
            (&["address", "10.0.0.1", "port", "http"], "", None),
            (&["address", "http://web/", "port", "80"], "", None),
            (&["address", "a b", "port", "80"], "", None),
        ] {
            assert_eq!(found(metadata, port).as_deref(), expected, "{metadata:?} {port}");
        }
    }

    #[test]
    fn impossible_port_is_refused() {
        for wrong in [&["0"][..], &["65536"], &[""], &["80", "81"]] {
            assert!(Port::of(wrong).is_err(), "{wrong:?}");
        }
    }
}

//! Services that one node looks up at another, for DNS: `POST /internal/v1/services/<account>`.
//!
//! No user has logged in, so there is no token to forward: the seal of the node that asks is the permission.

use std::sync::Arc;

use hyper::Method;
use hyper::body::Bytes;
use hyper::http::request::Parts;

use crate::registry::http::lookup::Selection;
use crate::registry::model::{ServiceInfo, ServiceKind, StringList, TenantId};

/// What the path begins with.
const PATH: &str = "/internal/v1/services/";

/// Returns the path and the body of a request for services.
pub(super) fn request(tenant: TenantId, selection: &Selection) -> Result<(String, Vec<u8>), String> {
    let body = serde_json::to_vec(selection).map_err(|error| error.to_string())?;
    Ok((format!("{PATH}{tenant}"), body))
}

/// Returns the account whose services a request looks up, if it does.
pub(in crate::registry::http) fn looked_up(parts: &Parts) -> Option<TenantId> {
    let tenant = parts.uri.path().strip_prefix(PATH)?;
    tenant.parse().ok().filter(|_| parts.method == Method::POST && tenant.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Writes services: their ids and metadata, which is what DNS needs.
pub(in crate::registry::http) fn encode(services: &[Arc<ServiceInfo>]) -> serde_json::Result<Bytes> {
    let of = |service: &'_ Arc<ServiceInfo>| (service.id.to_string(), service.metadata.to_list());
    serde_json::to_vec(&services.iter().map(of).collect::<Vec<_>>()).map(Bytes::from)
}

/// Reads them.
pub(super) fn decode(answer: &[u8]) -> Result<Vec<Arc<ServiceInfo>>, String> {
    let services: Vec<(String, Vec<String>)> = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
    let of = |(id, metadata): (String, Vec<String>)| ServiceInfo {
        id: id.into(),
        tags: StringList::default(),
        metadata: StringList::new(metadata.iter().map(String::as_str)),
        kind: ServiceKind::Standalone { timeout: 0 },
    };
    Ok(services.into_iter().map(|service| Arc::new(of(service))).collect())
}

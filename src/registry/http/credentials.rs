//! The credentials of a request: its token, and the tenant that it names in the path or in a header.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderName};

use super::error::HttpError;
use super::request::Query;
use super::router;
use crate::registry::access::{Authenticator, OPEN_TENANT_ID, TenantClaim};
use crate::registry::model::{Now, TenantId};

const TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// Checks the token, and returns the tenant that the request may use, and the user.
pub(super) fn admit(
    authenticator: &Authenticator,
    now: Now,
    headers: &HeaderMap,
    query: &Query<'_>,
    tenant: Option<&str>,
    rest: &str,
) -> Result<(TenantId, Option<Arc<str>>), HttpError> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let named = header(TENANT_ID);
    let is_bare = authenticator.is_open() && named.is_none() && router::is_resource(rest);
    let path = tenant.or_else(|| is_bare.then_some(OPEN_TENANT_ID));
    let in_query = query.values("x-auth-token").first().copied().filter(|token| !token.is_empty());
    let token = in_query.or_else(|| header(AUTH_TOKEN));
    Ok(authenticator.admit(now, TenantClaim { header: named, path, token })?)
}

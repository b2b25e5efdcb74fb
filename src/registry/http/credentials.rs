//! The credentials of a request: its token, and the tenant that it names in the path or in a header.

use hyper::header::{HeaderMap, HeaderName};

use super::request::Query;
use super::router;
use crate::registry::access::{Authenticator, OPEN_TENANT_ID, TenantClaim};
use crate::registry::model::Now;
use crate::registry::state::DomainError;

const TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// The credentials of a request that goes on after its answer has begun.
#[derive(Debug)]
pub(super) struct Claim {
    header: Option<Box<str>>,
    path: Option<Box<str>>,
    token: Option<Box<str>>,
}

impl From<TenantClaim<'_>> for Claim {
    fn from(claim: TenantClaim<'_>) -> Self {
        let [header, path, token] = [claim.header, claim.path, claim.token].map(|text| text.map(Box::from));
        Self { header, path, token }
    }
}

impl Claim {
    /// Checks them once more.
    pub(super) fn admit(&self, authenticator: &Authenticator, now: Now) -> Result<(), DomainError> {
        let Self { header, path, token } = self;
        let claim = TenantClaim { header: header.as_deref(), path: path.as_deref(), token: token.as_deref() };
        authenticator.admit(now, claim).map(drop)
    }
}

/// Returns the token in the API's own header.
pub(super) fn header_token(headers: &HeaderMap) -> Option<&str> {
    text_of(headers, &AUTH_TOKEN)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty())
}

/// Returns what a request claims: the tenant, and the token for it.
pub(super) fn claim<'a>(
    is_open: bool,
    headers: &'a HeaderMap,
    query: &'a Query<'_>,
    tenant: Option<&'a str>,
    rest: &str,
) -> TenantClaim<'a> {
    let named = text_of(headers, &TENANT_ID);
    let is_bare = is_open && named.is_none() && router::is_resource(rest);
    let path = tenant.or_else(|| is_bare.then_some(OPEN_TENANT_ID));
    let in_query = query.values("x-auth-token").first().copied().filter(|token| !token.is_empty());
    let token = in_query.or_else(|| header_token(headers));
    TenantClaim { header: named, path, token }
}

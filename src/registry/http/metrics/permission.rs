//! Who may read the metrics on the main listener. They are about all accounts, so the users of one may not.

use hyper::header::HeaderName;
use hyper::http::request::Parts;

use crate::registry::http::app::App;
use crate::registry::http::context::Caller;
use crate::registry::http::error::HttpError;
use crate::registry::http::{authorization, forwarded, origin};
use crate::registry::model::Now;
use crate::registry::state::DomainError;

/// Headers of proxies: a proxy on this machine speaks for others.
const FORWARDED: [HeaderName; 2] = [HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("forwarded")];

/// Lets in everyone if the registry is open, whose origin check comes before; otherwise programs of this machine that
/// are no proxy and no page in a browser, and users with `metrics = true`.
pub(in crate::registry::http) async fn check(
    app: &App,
    now: Now,
    caller: Caller,
    host: Option<&str>,
    parts: &Parts,
) -> Result<(), HttpError> {
    if app.authenticator.load().is_open() {
        return Ok(());
    }
    let headers = &parts.headers;
    let is_own = caller.address.is_loopback() && !FORWARDED.iter().any(|name| headers.contains_key(name));
    if is_own && origin::check(host, headers, caller.local, &[]).is_ok() {
        return Ok(());
    }
    let from = forwarded::client(caller.address, headers, &app.trusted_proxies);
    let token = authorization::token(app, now, headers, from).await?;
    let token = token.ok_or(DomainError::Unauthorized("No authentication token provided"))?;
    let authenticator = app.authenticator.load();
    authenticator.tenant(now, &token).ok_or(DomainError::Unauthorized("Invalid or expired authentication token"))?;
    if authenticator.reads_metrics(now, &token) {
        return Ok(());
    }
    Err(HttpError::Forbidden("The metrics are for users with metrics = true in the users file of the registry".into()))
}

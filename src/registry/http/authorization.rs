//! `Authorization`, for readers that know nothing of the API's own header: a bearer token, or user and API key.

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::app::App;
use super::credentials::header_token;
use super::error::HttpError;
use super::resources::login::authenticate;
use crate::registry::access::{BAD_LOGIN, Credentials, Proof};
use crate::registry::model::Now;
use crate::registry::state::DomainError;

/// Returns the token of a request, which user and API key are exchanged for; a wrong key costs what a wrong login costs.
/// `from` is the client's address.
pub(super) async fn token(app: &App, now: Now, headers: &HeaderMap, from: IpAddr) -> Result<Option<String>, HttpError> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(header_token(headers).map(str::to_owned)) };
    let Some((scheme, given)) = value.to_str().ok().and_then(|value| value.trim().split_once(' ')) else {
        return Err(malformed());
    };
    if scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(given.trim().to_owned()));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(malformed());
    }
    if app.authenticator.load().is_open() {
        return Ok(None); // nobody needs a token
    }
    let pair = STANDARD.decode(given.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.ok_or_else(malformed)?;
    let (name, key) = pair.split_once(':').ok_or(DomainError::Unauthorized(BAD_LOGIN))?;
    let credentials = Credentials { name, tenant: None, proof: Proof::ApiKey(key) };
    Ok(Some(authenticate(app, now, &credentials, from).await?.token))
}

fn malformed() -> HttpError {
    DomainError::malformed("Authorization must be Basic with user and API key, or Bearer with a token").into()
}

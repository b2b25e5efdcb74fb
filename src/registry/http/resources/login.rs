//! `POST /v2.0/tokens`: one document that serves every client of the API.
//!
//! Some clients find the tenant in the token, others in a service catalog, in the first endpoint of an entry with a
//! known name, or at the end of its URL. An endpoint must have no region, a tenant's name must be a number, and the
//! expiry needs an offset of the form `-00:00`: each exception breaks one of the clients.

use std::net::IpAddr;
use std::time::Duration;

use hyper::StatusCode;
use jiff::Timestamp;
use serde::Serialize;

use crate::registry::access::Lane;
use crate::registry::access::Place;
use crate::registry::access::{Attempt, Verdict};
use crate::registry::access::{BAD_LOGIN, Credentials, Login, Proof, Role, TOO_MANY_LOGINS};
use crate::registry::engine::Scope;
use crate::registry::http::app::{App, Home};
use crate::registry::http::error::HttpError;
use crate::registry::http::public_url::PublicUrl;
use crate::registry::http::request::Json;
use crate::registry::http::request::{self, validation};
use crate::registry::http::response::Answer;
use crate::registry::model::Now;
use crate::registry::state::DomainError;

#[derive(Serialize)]
struct Document<'a> {
    access: Access<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Access<'a> {
    token: Token<'a>,
    service_catalog: [Catalog<'a>; 2],
    pub(crate) user: User<'a>,
}

#[derive(Serialize)]
struct Token<'a> {
    id: &'a str,
    expires: String,
    tenant: Tenant<'a>,
}

#[derive(Serialize)]
struct Tenant<'a> {
    id: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
struct Catalog<'a> {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    endpoints: [Endpoint<'a>; 1],
}

#[derive(Clone, Copy, Serialize)]
struct Endpoint<'a> {
    #[serde(rename = "tenantId")]
    tenant: &'a str,
    #[serde(rename = "publicURL")]
    url: &'a str,
}

#[derive(Serialize)]
struct User<'a> {
    id: &'a str,
    name: &'a str,
    roles: [(); 0],
}

pub(crate) async fn login(
    app: &App,
    now: Now,
    base: &PublicUrl<'_>,
    body: &Json,
    from: IpAddr,
) -> Result<Answer, HttpError> {
    validation::body(body)?;
    let authenticator = app.authenticator.load();
    let credentials = match request::login::credentials(body) {
        // The original wrapper, run as documented, sends empty ones, or numbers.
        Err(_) if authenticator.is_open() => Credentials { name: "", tenant: None, proof: Proof::ApiKey("") },
        read => read?,
    };
    let login = authenticate(app, now, &credentials, from).await?;
    match &app.home {
        Home::Alone(engine) => {
            engine.read(login.tenant, Scope::Nothing, |state| state.create_on_first_use(now, login.tenant)).await;
        }
        // The owner of its shard has created the account.
        #[cfg(feature = "etcd")]
        Home::Cluster(_) => {}
    }
    let answer = document(&login, base);
    Ok(if login.role == Role::Read { answer.for_reader() } else { answer })
}

/// Checks credentials, as slowly as the failures before demand.
pub(crate) async fn authenticate(
    app: &App,
    now: Now,
    credentials: &Credentials<'_>,
    from: IpAddr,
) -> Result<Login, HttpError> {
    let authenticator = app.authenticator.load();
    let tried = credentials.tried().filter(|_| !authenticator.is_open());
    let attempt = tried.map(|name| app.login_throttle.attempt(name, from, credentials, authenticator.generation()));
    let place = attempt.and_then(|attempt| app.waiting.enter(from, app.login_throttle.was_put_off(now.mono, attempt)));
    let lane = match attempt {
        None => Lane::Known,
        Some(attempt) => {
            let lane = queue(app, now.mono, attempt, place.as_ref()).await;
            lane.inspect_err(|error| count(app, error))?
        }
    };
    let nonce = getrandom::u64().unwrap_or_else(|_| fastrand::u64(..)); // only to make tokens differ; the seal is the secret
    let login = authenticator.login(now, nonce, credentials, lane).await;
    if let Some(attempt) = attempt {
        let now = app.now().mono;
        match login {
            Ok(_) => app.login_throttle.succeeded(now, attempt),
            Err(DomainError::Busy(_)) => app.login_throttle.put_off(now, attempt),
            Err(_) => pause(place.as_ref(), app.login_throttle.failed(now, attempt) - now).await,
        }
    }
    if let Err(DomainError::Unauthorized(_)) = &login {
        // A line that fail2ban can match; docs/access.md has the filter.
        tracing::warn!(client = %from, user = tried, "failed login");
    }
    match &login {
        Ok(_) => app.metrics.count_login("accepted"),
        Err(error) => count(app, error),
    }
    Ok(login?)
}

fn count(app: &App, error: &DomainError) {
    app.metrics.count_login(if matches!(error, DomainError::Busy(_)) { "deferred" } else { "refused" });
}

/// Waits until an attempt may be checked. Returns the lane in which it then waits for its hash.
async fn queue(app: &App, now: u64, attempt: Attempt, place: Option<&Place<'_>>) -> Result<Lane, DomainError> {
    let (until, outcome) = match app.login_throttle.turn(now, attempt, place.is_some()) {
        Verdict::Known => return Ok(Lane::Known),
        Verdict::At(time) => (time, Ok(attempt.lane())),
        Verdict::Wrong(time) => (time, Err(DomainError::Unauthorized(BAD_LOGIN))),
        Verdict::TooMany(time) => (time, Err(DomainError::Busy(TOO_MANY_LOGINS))),
    };
    pause(place, until - now).await;
    outcome
}

/// Waits, if there is a place for it.
async fn pause(place: Option<&Place<'_>>, ms: u64) {
    if ms > 0 && place.is_some() {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn document(login: &Login, base: &PublicUrl<'_>) -> Answer {
    let id = &*login.tenant.to_string();
    let url = &*format!("{base}/v1.0/{id}");
    let endpoints = [Endpoint { tenant: id, url }];
    let service_catalog = [
        Catalog { name: "cloudServers", kind: "compute", endpoints },
        Catalog { name: "cloudMonitoring", kind: "rax:monitor", endpoints },
    ];
    let token = Token { id: &login.token, expires: expires(login.expires), tenant: Tenant { id, name: id } };
    let user = User { id, name: &login.name, roles: [] };
    Answer::json(StatusCode::OK, &Document { access: Access { token, service_catalog, user } })
}

fn expires(wall: u64) -> String {
    let seconds = i64::try_from(wall / 1000).unwrap_or(i64::MAX);
    let time = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    time.strftime("%Y-%m-%dT%H:%M:%S.000-00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_has_the_form_that_all_clients_parse() {
        assert_eq!(expires(1_893_456_000_999), "2030-01-01T00:00:00.000-00:00");
    }
}

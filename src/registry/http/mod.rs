//! HTTP: from the request to the domain and back.
//!
//! `connection` accepts connections; [`App::handle`] is the life of a request: it checks the request in the order that the API
//! has always had, and hands it to the file of its resource in `resources`. `request` parses bodies; `error` pairs errors with
//! statuses.

mod body;
pub(super) mod connection;
mod error;
mod forwarded;
mod origin;
mod public_url;
mod query;
mod representation;
pub(super) mod request;
mod resources;
mod response;
mod response_ids;
mod router;

pub use connection::{Timeouts, Tls, TlsFiles};
pub use forwarded::TrustedProxy;
pub use representation::ServiceShape;
pub(crate) use representation::Shown;
pub(super) use request::Json;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rustls::ServerConfig;

use super::Compatibility;
use super::access::{Authenticator, Claim, OPEN_TENANT_ID};
use super::engine::Engine;
use super::model::Now;

use super::access::LoginThrottle;
use super::access::Quotas;
use super::access::Usage;
use super::engine::Scope;
use super::model::Page;
use super::model::TenantId;
use super::state::DomainError;
use super::state::State;

use super::access::Users;
use super::access::Waiting;
use error::HttpError;
use public_url::PublicUrl;
use response::Answer;

use resources::Lists;

use query::Query;
use response_ids::ResponseIds;
use router::{Area, Route};

const TENANT_ID: HeaderName = HeaderName::from_static("x-tenant-id");
const AUTH_TOKEN: HeaderName = HeaderName::from_static("x-auth-token");

/// One connection of so many may be one with a login that waits, and no more than so many: each takes about 25 kB.
const WAITING: usize = 4;
const MOST_WAITING: usize = 500;

/// The API for programs that generate clients, forms and tests.
const OPENAPI: &str = include_str!("openapi.json");

/// What a person finds who opens the registry's address in a browser.
const PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Service Registry</title></head>\n<body>\n",
    "<h1>Service Registry</h1>\n<p>service-registry ",
    env!("CARGO_PKG_VERSION"),
    "</p>\n<p>The API is below <code>/v1.0/</code>; <a href=\"/openapi.json\">/openapi.json</a> describes it.</p>\n",
    "</body>\n</html>\n"
);

/// Everything that requests need.
#[derive(Debug)]
pub(super) struct App {
    engine: Arc<Engine>,
    authenticator: ArcSwap<Authenticator>,
    tls: RwLock<Option<Tls>>,
    login_throttle: LoginThrottle,
    waiting: Waiting,
    trusted_proxies: Vec<TrustedProxy>,
    listening: SocketAddr,
    /// Names that an open registry is reached by, besides its addresses.
    host_names: Vec<String>,
    compatibility: Compatibility,
    timeouts: Timeouts,
    ids: ResponseIds,
    lists: Lists,
}

/// Who is at the other end of a connection, and which of our addresses it came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    address: IpAddr,
    local: IpAddr,
    is_secure: bool,
}

/// What is learnt on the way to an answer, and told with it whatever it is.
#[derive(Debug, Default)]
struct Notes {
    /// When the whole request was there.
    now: Option<Now>,
    tenant: Option<TenantId>,
    usage: Option<(Arc<Quotas>, Usage)>,
}

/// A request that has been let in.
struct RequestContext<'a> {
    front: &'a App,
    now: Now,
    tenant: TenantId,
    address: IpAddr,
    allowance: &'a Arc<Quotas>,
    base: &'a PublicUrl<'a>,
    path: &'a str,
    query: &'a Query<'a>,
    body: &'a Json,
}

impl App {
    pub(super) fn new(
        engine: Engine,
        authenticator: Authenticator,
        tls: Option<Tls>,
        listening: SocketAddr,
        host_names: Vec<String>,
        compatibility: Compatibility,
        timeouts: Timeouts,
    ) -> Self {
        let (authenticator, tls) = (ArcSwap::from_pointee(authenticator), RwLock::new(tls));
        let (login_throttle, ids, lists) = (LoginThrottle::default(), ResponseIds::new(), Lists::default());
        let engine = Arc::new(engine);
        let (waiting, trusted_proxies) = (Waiting::new(0), Vec::new());
        Self {
            engine,
            authenticator,
            tls,
            login_throttle,
            waiting,
            trusted_proxies,
            listening,
            host_names,
            compatibility,
            timeouts,
            ids,
            lists,
        }
    }

    /// For so many connections, of which those from these proxies are somebody else's.
    pub(super) fn for_connections(self, most: usize, trusted_proxies: Vec<TrustedProxy>) -> Self {
        Self { waiting: Waiting::new((most / WAITING).min(MOST_WAITING)), trusted_proxies, ..self }
    }

    /// Other users from now on.
    pub(super) fn replace_users(&self, users: Users) {
        self.authenticator.store(Arc::new(self.authenticator.load().with(users)));
    }

    fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|tls| tls.0.clone())
    }

    /// Another certificate for new connections.
    pub(super) fn replace_tls(&self, tls: Tls) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }

    /// Answers a request, and logs it: what was asked and how it ended, but nothing that is secret.
    pub(super) async fn handle(&self, request: Request<Incoming>, caller: Caller) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let base = PublicUrl { parts: &parts, is_secure: caller.is_secure, listening: self.listening };
        let mut notes = Notes::default();
        let judged = self.authorize_and_route(caller, &base, &parts, body, &mut notes).await;
        let now = notes.now.unwrap_or_else(|| self.engine.now());
        let id = self.ids.next(now.wall);
        let mut answer = match judged {
            Ok(answer) => answer,
            Err(problem) => problem.answer(&id, &base),
        };
        if let Some((allowance, usage)) = notes.usage {
            answer = resources::limits::headers(answer, now, &allowance.rates[usage.rate], usage.used);
        }
        log(&parts, &answer, started, notes.tenant, &id);
        let id = HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"));
        answer.into_response(id)
    }

    /// The order of the judgements is part of the API: the first that fails decides.
    async fn authorize_and_route(
        &self,
        caller: Caller,
        base: &PublicUrl<'_>,
        parts: &Parts,
        body: Incoming,
        notes: &mut Notes,
    ) -> Result<Answer, HttpError> {
        let authenticator = &*self.authenticator.load();
        let host = origin::host(parts)?;
        if authenticator.is_open() {
            origin::check(host, &parts.headers, caller.local, &self.host_names)?;
        }
        let body = body::read(&parts.headers, body, self.timeouts.body).await?;
        let now = *notes.now.insert(self.engine.now());
        let body = &body::parse(&parts.headers, &body)?;
        let path = parts.uri.path();
        let no_page = || HttpError::RouteNotFound {
            requested: parts.uri.path_and_query().map_or(path, |all| all.as_str()).into(),
        };
        let (tenant, rest) = match Area::of(path) {
            Area::Api { tenant, rest } => (tenant, rest),
            Area::Login if parts.method == Method::POST => {
                let from = forwarded::client(caller.address, &parts.headers, &self.trusted_proxies);
                return resources::login::login(self, now, base, body, from).await;
            }
            Area::Elsewhere if matches!(parts.method, Method::GET | Method::HEAD) => {
                return match path {
                    "/" => Ok(Answer::page(PAGE)),
                    "/openapi.json" => Ok(Answer::fixed(StatusCode::OK, OPENAPI)),
                    _ => Err(no_page()),
                };
            }
            Area::Login | Area::Elsewhere => return Err(no_page()),
        };
        let query = &Query::parse(parts.uri.query());
        let tenant = admit(authenticator, now, &parts.headers, query, tenant, rest)?;
        notes.tenant = Some(tenant);
        let allowance = authenticator.allowance(tenant);
        let asked =
            RequestContext { front: self, now, tenant, address: caller.address, allowance, base, path, query, body };
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if is_read && !asked.allowance.rates.is_empty() {
            let (usage, verdict) = resources::limits::count(&asked).await;
            notes.usage = usage.map(|usage| (allowance.clone(), usage));
            verdict?;
        }
        asked.route(&parts.method, rest, no_page).await
    }
}

/// One line for a request. Heartbeats that went well are told on demand only: every holder sends one every few seconds.
fn log(parts: &Parts, answer: &Answer, started: Instant, tenant: Option<TenantId>, response: &str) {
    let (method, path, status) = (&parts.method, parts.uri.path(), answer.status().as_u16());
    let ms = || started.elapsed().as_secs_f64() * 1000.0;
    if status == 200 && method == Method::POST && path.ends_with("/heartbeat") {
        tracing::debug!(%method, path, status, ms = ms(), tenant, response, "request");
    } else {
        tracing::info!(%method, path, status, ms = ms(), tenant, response, "request");
    }
}

/// Who asks, and for which tenant.
fn admit(
    authenticator: &Authenticator,
    now: Now,
    headers: &HeaderMap,
    query: &Query<'_>,
    tenant: Option<&str>,
    rest: &str,
) -> Result<TenantId, HttpError> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
    let named = header(TENANT_ID);
    let is_bare = authenticator.is_open() && named.is_none() && router::is_resource(rest);
    let path = tenant.or_else(|| is_bare.then_some(OPEN_TENANT_ID));
    let in_query = query.values("x-auth-token").first().copied().filter(|token| !token.is_empty());
    let token = in_query.or_else(|| header(AUTH_TOKEN));
    Ok(authenticator.admit(now, Claim { header: named, path, token })?)
}

impl RequestContext<'_> {
    async fn route(
        &self,
        method: &Method,
        rest: &str,
        no_page: impl FnOnce() -> HttpError,
    ) -> Result<Answer, HttpError> {
        match router::route(method, rest)?.ok_or_else(no_page)? {
            Route::SessionHeartbeat(id) => resources::sessions::heartbeat(self, &id).await,
            Route::ServiceHeartbeat(id) => resources::services::heartbeat(self, &id).await,
            Route::Limits => resources::limits::show(self).await,
            Route::Sessions => resources::sessions::list(self).await,
            Route::CreateSession => resources::sessions::create(self).await,
            Route::Session(id) => resources::sessions::get(self, &id).await,
            Route::UpdateSession(id) => resources::sessions::update(self, &id).await,
            Route::DeleteSession(id) => resources::sessions::delete(self, &id).await,
            Route::Services => resources::services::list(self).await,
            Route::CreateService => resources::services::create(self).await,
            Route::Service(id) => resources::services::get(self, &id).await,
            Route::UpdateService(id) => resources::services::update(self, &id).await,
            Route::DeleteService(id) => resources::services::delete(self, &id).await,
            Route::Overview => resources::sessions::overview(self).await,
            Route::Events => resources::events::list(self).await,
            Route::Configuration(path) => resources::configuration::read(self, &path).await,
            Route::SetValue(path) => resources::configuration::set(self, &path).await,
            Route::RemoveValue(path) => resources::configuration::remove(self, &path).await,
        }
    }

    /// Looks at the tenant's state. The answer is built upon nothing that can still be undone.
    async fn run<T>(&self, scope: Scope<'_>, act: impl Fn(&mut State) -> T) -> T {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        self.front.engine.run(self.tenant, scope, |state| (create_on_first_use(state), act(state)).1).await
    }

    /// The same, after everyone who is overdue has been expired.
    async fn run_swept<T>(&self, scope: Scope<'_>, act: impl Fn(&mut State) -> T) -> T {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        let engine = &self.front.engine;
        engine.run_swept(self.now, self.tenant, scope, |state| (create_on_first_use(state), act(state)).1).await
    }

    /// Changes the tenant's state, after everyone who is overdue has been expired. What cannot be kept is refused.
    async fn write<T>(&self, act: impl Fn(&mut State) -> Result<T, DomainError>) -> Result<T, HttpError> {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        let written = self.front.engine.write_swept(self.now, |state| (create_on_first_use(state), act(state)).1).await;
        Ok(written.ok_or(HttpError::StorageUnavailable)??)
    }

    /// Which page of a list is asked for.
    fn page(&self) -> Result<Page, HttpError> {
        Ok(Page::read(&self.query.values("limit"), &self.query.values("marker"))?)
    }

    /// The URL of one of the tenant's resources.
    fn url(&self, resource: &str, id: &str) -> String {
        format!("{}/v1.0/{}/{resource}/{id}", self.base, self.tenant)
    }
}

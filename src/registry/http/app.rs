//! The life of a request: checked in the order that the API has always had, handed to its resource, answered and logged.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use arc_swap::ArcSwap;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use rustls::ServerConfig;

use super::connection::{Timeouts, Tls};
use super::context::{Caller, RequestContext};
use super::credentials::admit;
use super::error::HttpError;
use super::forwarded::{self, TrustedProxy};
use super::origin;
use super::public_url::PublicUrl;
use super::representation::ServiceShape;
use super::request::{Query, body};
use super::resources::{self, Lists};
use super::response::{Answer, ResponseIds};
use super::router::{self, Area, Route};
use crate::registry::access::{Authenticator, LoginThrottle, Quotas, RateLimiter, Usage, Users, Waiting};
use crate::registry::config::Compatibility;
use crate::registry::engine::Engine;
use crate::registry::model::{Now, TenantId};

/// One connection in this many may be a login that waits, up to this maximum: each of them takes about 25 kB.
const WAITING: usize = 4;
const MOST_WAITING: usize = 500;

/// The description of the API, for programs that generate clients, forms and tests.
const OPENAPI: &str = include_str!("openapi.json");

/// The page at the registry's address, for a browser.
const PAGE: &str = concat!(
    "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Service Registry</title></head>\n<body>\n",
    "<h1>Service Registry</h1>\n<p>service-registry ",
    env!("CARGO_PKG_VERSION"),
    "</p>\n<p>The API is below <code>/v1.0/</code>; <a href=\"/openapi.json\">/openapi.json</a> describes it.</p>\n",
    "</body>\n</html>\n"
);

/// Everything that requests need.
#[derive(Debug)]
pub(in crate::registry) struct App {
    pub(super) engine: Arc<Engine>,
    pub(super) authenticator: ArcSwap<Authenticator>,
    tls: RwLock<Option<Tls>>,
    pub(super) login_throttle: LoginThrottle,
    pub(super) waiting: Waiting,
    pub(super) trusted_proxies: Vec<TrustedProxy>,
    pub(super) listening: SocketAddr,
    /// Names of an open registry, besides its addresses.
    pub(super) host_names: Vec<String>,
    pub(super) compatibility: Compatibility,
    pub(super) timeouts: Timeouts,
    pub(super) service_shape: ServiceShape,
    pub(super) rate_limiter: RateLimiter,
    pub(super) ids: ResponseIds,
    pub(super) lists: Lists,
}

/// What is learned while a request is processed, and is reported whatever its outcome.
#[derive(Debug, Default)]
struct Notes {
    /// When the whole request had arrived.
    now: Option<Now>,
    tenant: Option<TenantId>,
    /// The credentials were right, or none were needed.
    is_admitted: bool,
    usage: Option<(Arc<Quotas>, Usage)>,
}

impl App {
    pub(in crate::registry) fn new(
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
            service_shape: ServiceShape::default(),
            rate_limiter: RateLimiter::default(),
            ids,
            lists,
        }
    }

    /// Sets the connection limit, and the proxies whose word about their clients counts.
    pub(in crate::registry) fn for_connections(self, most: usize, trusted_proxies: Vec<TrustedProxy>) -> Self {
        Self { waiting: Waiting::new((most / WAITING).min(MOST_WAITING)), trusted_proxies, ..self }
    }

    pub(in crate::registry) fn with_shape(self, service_shape: ServiceShape) -> Self {
        Self { service_shape, ..self }
    }

    /// Replaces the users.
    pub(in crate::registry) fn replace_users(&self, users: Users) {
        self.authenticator.store(Arc::new(self.authenticator.load().with(users)));
    }

    pub(super) fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).as_ref().map(|tls| tls.0.clone())
    }

    /// Replaces the certificate, for new connections.
    pub(in crate::registry) fn replace_tls(&self, tls: Tls) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(tls);
    }

    /// Answers a request, and logs both, without anything secret. Returns whether the request was admitted, too.
    pub(super) async fn handle(&self, request: Request<Incoming>, caller: Caller) -> (Response<Full<Bytes>>, bool) {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let base = PublicUrl { parts: &parts, is_secure: caller.is_secure, listening: self.listening };
        let mut notes = Notes::default();
        let outcome = self.authorize_and_route(caller, &base, &parts, body, &mut notes).await;
        let now = notes.now.unwrap_or_else(|| self.engine.now());
        let id = self.ids.next(now.wall);
        let mut answer = match outcome {
            Ok(answer) => answer,
            Err(error) => error.answer(&id, &base),
        };
        if let Some((quotas, usage)) = notes.usage {
            answer = resources::limits::headers(answer, now, &quotas.rates[usage.rate], usage.used);
        }
        log(&parts, &answer, started, notes.tenant, &id);
        let id = HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"));
        (answer.into_response(id), notes.is_admitted)
    }

    /// Checks a request and finds its resource. The order of the checks is part of the API: the first that fails decides.
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
                let login = resources::login::login(self, now, base, body, from).await;
                notes.is_admitted = login.is_ok();
                return login;
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
        (notes.tenant, notes.is_admitted) = (Some(tenant), true);
        let quotas = authenticator.quotas(tenant);
        let context =
            RequestContext { app: self, now, tenant, address: caller.address, quotas, base, path, query, body };
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if is_read && !context.quotas.rates.is_empty() {
            let (usage, verdict) = resources::limits::count(&context);
            notes.usage = usage.map(|usage| (quotas.clone(), usage));
            verdict?;
        }
        route(&context, &parts.method, rest, no_page).await
    }
}

/// Logs a request. Successful heartbeats are logged on demand only: each lease causes one every few seconds.
fn log(parts: &Parts, answer: &Answer, started: Instant, tenant: Option<TenantId>, response: &str) {
    let (method, path, status) = (&parts.method, parts.uri.path(), answer.status().as_u16());
    let ms = || started.elapsed().as_secs_f64() * 1000.0;
    if status == 200 && method == Method::POST && path.ends_with("/heartbeat") {
        tracing::debug!(%method, path, status, ms = ms(), tenant, response, "request");
    } else {
        tracing::info!(%method, path, status, ms = ms(), tenant, response, "request");
    }
}

async fn route(
    context: &RequestContext<'_>,
    method: &Method,
    rest: &str,
    no_page: impl FnOnce() -> HttpError,
) -> Result<Answer, HttpError> {
    match router::route(method, rest)?.ok_or_else(no_page)? {
        Route::SessionHeartbeat(id) => resources::sessions::heartbeat(context, &id).await,
        Route::ServiceHeartbeat(id) => resources::services::heartbeat(context, &id).await,
        Route::Limits => resources::limits::show(context),
        Route::Sessions => resources::sessions::list(context).await,
        Route::CreateSession => resources::sessions::create(context).await,
        Route::Session(id) => resources::sessions::get(context, &id).await,
        Route::UpdateSession(id) => resources::sessions::update(context, &id).await,
        Route::DeleteSession(id) => resources::sessions::delete(context, &id).await,
        Route::Services => resources::services::list(context).await,
        Route::CreateService => resources::services::create(context).await,
        Route::Service(id) => resources::services::get(context, &id).await,
        Route::UpdateService(id) => resources::services::update(context, &id).await,
        Route::DeleteService(id) => resources::services::delete(context, &id).await,
        Route::Overview => resources::sessions::overview(context).await,
        Route::Events => resources::events::list(context).await,
        Route::Configuration(path) => resources::configuration::read(context, &path).await,
        Route::SetValue(path) => resources::configuration::set(context, &path).await,
        Route::RemoveValue(path) => resources::configuration::remove(context, &path).await,
    }
}

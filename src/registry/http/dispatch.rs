//! The life of a request: checked in the order that the API has always had, handed to its resource, answered and
//! logged.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
#[cfg(feature = "etcd")]
use std::time::Duration;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{HeaderMap, HeaderValue, USER_AGENT};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::app::{App, Home};
use super::authorization;
#[cfg(feature = "etcd")]
use super::clustered;
use super::connection::ResponseBody;
use super::context::{Caller, Door, RequestContext};
use super::credentials::claim;
use super::error::HttpError;
#[cfg(feature = "etcd")]
use super::forward::{self, ForwardedCaller};
use super::forwarded;
use super::health;
use super::metrics;
use super::origin;
use super::page;
use super::public_url::PublicUrl;
use super::request::{Json, Query, body};
use super::resources;
use super::response::Answer;
use super::router::{self, Area, Route};
use crate::registry::access::{Admission, Authenticator, Quotas, Role, TenantClaim, Usage};
use crate::registry::engine::Engine;
use crate::registry::model::{Now, TenantId};

/// The description of the API, for programs that generate clients, forms and tests.
const OPENAPI: &str = include_str!("resources/openapi.json");

/// The answer to whatever is not GET or HEAD, to a user with the role `read`.
const READ_ONLY: &str = "This user may only read; the users file of the registry says role = \"read\"";

/// Facts that are learned while a request is processed, and are reported whatever its outcome.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// When the whole request had arrived.
    now: Option<Now>,
    tenant: Option<TenantId>,
    user: Option<Arc<str>>,
    role: Role,
    pub(super) kind: Option<&'static str>,
    usage: Option<(Arc<Quotas>, Usage)>,
    /// The id of the response, if it was needed before the response.
    #[cfg(feature = "etcd")]
    pub(super) id: Option<String>,
    /// The client of the node that forwarded the request.
    #[cfg(feature = "etcd")]
    pub(super) forwarded: Option<ForwardedCaller>,
    /// The request only claims to be forwarded.
    #[cfg(feature = "etcd")]
    forged: Option<HttpError>,
}

#[cfg(feature = "etcd")]
impl Notes {
    /// Notes whether another node forwarded the request. Returns who asks: then that node's client.
    fn recognise(&mut self, app: &App, parts: &Parts, caller: Caller) -> Caller {
        let Some(peers) = &app.peers else { return caller };
        match forward::arrival(peers, parts, caller) {
            Ok((caller, forwarded)) => {
                self.id = forwarded.as_ref().map(|forwarded| forwarded.id.clone());
                self.forwarded = forwarded;
                caller
            }
            Err(error) => {
                self.forged = Some(error);
                caller
            }
        }
    }

    /// Checks that the body is the one that the other node forwarded.
    fn check_body(&self, body: &[u8], caller: Caller) -> Result<(), HttpError> {
        self.forwarded.as_ref().map_or(Ok(()), |forwarded| forwarded.check_body(body, caller))
    }
}

/// Answers a request, and logs both, without anything secret. Calls `admitted` once the credentials were found right,
/// or none are needed: the answer may take long.
pub(super) async fn handle(
    app: &Arc<App>,
    request: Request<Incoming>,
    caller: Caller,
    admitted: &(dyn Fn() + Sync),
) -> Response<ResponseBody> {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let mut notes = Notes::default();
    #[cfg(feature = "etcd")]
    let caller = notes.recognise(app, &parts, caller);
    let base = PublicUrl { parts: &parts, is_secure: caller.is_secure, listening: app.listening };
    let outcome = authorize_and_route(app, caller, &base, &parts, body, &mut notes, admitted).await;
    let now = notes.now.unwrap_or_else(|| app.now());
    #[cfg(not(feature = "etcd"))]
    let id = app.ids.next(now.wall);
    #[cfg(feature = "etcd")]
    let id = notes.id.take().unwrap_or_else(|| app.ids.next(now.wall));
    let mut answer = match outcome {
        Ok(answer) => answer,
        Err(error) => error.answer(&id, &base),
    };
    if let Some((quotas, usage)) = notes.usage.take() {
        answer = resources::limits::headers(answer, now, &quotas.rates[usage.rate], usage.used);
    }
    if notes.role == Role::Read {
        answer = answer.for_reader();
    }
    let kind = notes.kind.unwrap_or_else(|| metrics::of_path(&parts.method, parts.uri.path()));
    // The node that the client has asked counts it by its kind.
    #[cfg(feature = "etcd")]
    let kind = if notes.forwarded.is_some() { metrics::FORWARDED } else { kind };
    app.metrics.count_request(kind, answer.status().as_u16(), started.elapsed());
    let client = || forwarded::client(caller.address, &parts.headers, &app.trusted_proxies);
    log(&parts, &answer, started, kind, &notes, client, &id);
    #[cfg(feature = "etcd")]
    if clustered::is_closing(app) {
        answer = answer.closing();
    }
    let id = HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"));
    answer.into_response(id, is_for_terminal(&parts.headers))
}

/// Checks a request and finds its resource. The order of the checks is part of the API: the first that fails decides.
async fn authorize_and_route(
    app: &Arc<App>,
    caller: Caller,
    base: &PublicUrl<'_>,
    parts: &Parts,
    body: Incoming,
    notes: &mut Notes,
    admitted: &(dyn Fn() + Sync),
) -> Result<Answer, HttpError> {
    #[cfg(feature = "etcd")]
    if let Some(error) = notes.forged.take() {
        return Err(error);
    }
    #[cfg(feature = "etcd")]
    if let Some(shard) = forward::handed_over(parts).filter(|_| app.peers.is_some()) {
        let sender = notes.forwarded.as_ref().ok_or(HttpError::FORGED)?;
        return clustered::receive(app, shard, &forward::read_handover(sender, body).await?);
    }
    #[cfg(all(feature = "dns", feature = "etcd"))]
    if let Some(tenant) = forward::looked_up(parts).filter(|_| app.peers.is_some()) {
        let sender = notes.forwarded.as_ref().ok_or(HttpError::FORGED)?;
        let selection = body::read(&parts.headers, body, app.timeouts.body).await?;
        sender.check_body(&selection, caller)?;
        return clustered::look_up(app, tenant, &selection).await;
    }
    let authenticator = app.authenticator.load();
    let host = origin::host(parts)?;
    #[cfg(not(feature = "etcd"))]
    let is_checked = false;
    #[cfg(feature = "etcd")]
    let is_checked = notes.forwarded.is_some();
    let is_read = matches!(parts.method, Method::GET | Method::HEAD);
    match parts.uri.path() {
        "/health" if is_read => return Ok(health::answer(app).await), // also to balancers that ask for another host
        "/metrics" if is_read && caller.door == Door::Metrics => return Ok(metrics::answer(app, &parts.headers).await),
        _ if caller.door == Door::Metrics => return Err(no_page(parts)),
        _ => {}
    }
    if authenticator.is_open() && !is_checked {
        origin::check(host, &parts.headers, caller.local, &app.host_names)?;
    }
    let raw = body::read(&parts.headers, body, app.timeouts.body).await?;
    let now = *notes.now.insert(app.now());
    #[cfg(feature = "etcd")]
    notes.check_body(&raw, caller)?;
    let body = &body::parse(&parts.headers, &raw)?;
    let path = parts.uri.path();
    let (tenant, rest) = match Area::of(path) {
        Area::Api { tenant, rest } => (tenant, rest),
        Area::Login if parts.method == Method::POST => {
            let from = forwarded::client(caller.address, &parts.headers, &app.trusted_proxies);
            let login = resources::login::login(app, now, base, body, from).await;
            if login.is_ok() {
                admitted();
            }
            return login;
        }
        Area::Elsewhere if is_read => {
            return match path {
                "/metrics" => {
                    metrics::check(app, now, caller, host, parts).await?;
                    admitted();
                    Ok(metrics::answer(app, &parts.headers).await)
                }
                "/" => Ok(page::answer()),
                "/openapi.json" => Ok(Answer::fixed(StatusCode::OK, OPENAPI)),
                _ => Err(no_page(parts)),
            };
        }
        Area::Elsewhere if parts.method == Method::OPTIONS => {
            return match path {
                "/" => Ok(Answer::allowing("GET, HEAD, OPTIONS")),
                "*" => Ok(Answer::allowing("GET, HEAD, POST, PUT, DELETE, OPTIONS")),
                _ => Err(no_page(parts)),
            };
        }
        Area::Login | Area::Elsewhere => return Err(no_page(parts)),
    };
    let query = &Query::parse(parts.uri.query());
    let shown = if router::is_prometheus(rest) && !authenticator.is_open() {
        let from = forwarded::client(caller.address, &parts.headers, &app.trusted_proxies);
        authorization::token(app, now, &parts.headers, from).await?
    } else {
        None
    };
    let mut claim = claim(authenticator.is_open(), &parts.headers, query, tenant, rest);
    let own_tenant;
    if let Some(token) = &shown {
        own_tenant = authenticator.tenant(now, token).map(|tenant| tenant.to_string());
        claim.token = Some(token);
        claim.path = claim.path.or(own_tenant.as_deref().filter(|_| claim.header.is_none()));
    }
    let Admission { tenant, user, role } = authenticator.admit(now, claim)?;
    (notes.tenant, notes.user, notes.role) = (Some(tenant), user.clone(), role);
    admitted();
    if role == Role::Read && !is_read {
        return Err(HttpError::Forbidden(READ_ONLY.into()));
    }
    #[cfg(feature = "etcd")]
    let longest_wait = notes.forwarded.as_ref().map(|forwarded| forwarded.wait);
    let request = Admitted {
        app,
        tenant,
        caller,
        user,
        claim,
        base,
        rest,
        query,
        body,
        #[cfg(feature = "etcd")]
        longest_wait,
    };
    #[cfg(feature = "etcd")]
    if app.peers.is_some() {
        drop(authenticator); // others may replace the users while the request waits
        return Box::pin(request.answer_in_cluster(&raw, notes)).await;
    }
    match &app.home {
        Home::Alone(engine) => request.answer(engine, now, authenticator, notes).await,
        #[cfg(feature = "etcd")]
        Home::Cluster(_) => Err(HttpError::NoOwner), // it has peers
    }
}

fn no_page(parts: &Parts) -> HttpError {
    let requested = parts.uri.path_and_query().map_or(parts.uri.path(), |all| all.as_str());
    HttpError::RouteNotFound { requested: requested.into() }
}

/// A request whose credentials were accepted.
pub(super) struct Admitted<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) tenant: TenantId,
    pub(super) caller: Caller,
    user: Option<Arc<str>>,
    claim: TenantClaim<'a>,
    pub(super) base: &'a PublicUrl<'a>,
    /// The path below the tenant.
    pub(super) rest: &'a str,
    pub(super) query: &'a Query<'a>,
    body: &'a Json,
    /// How long the client of the node that forwarded the request will still wait.
    #[cfg(feature = "etcd")]
    longest_wait: Option<Duration>,
}

impl Admitted<'_> {
    /// Answers it from the data of its account, which this engine has.
    pub(super) async fn answer(
        &self,
        engine: &Arc<Engine>,
        now: Now,
        authenticator: impl Deref<Target = Arc<Authenticator>>,
        notes: &mut Notes,
    ) -> Result<Answer, HttpError> {
        let Self { app, tenant, caller, ref user, claim, base, rest, query, body, .. } = *self;
        let address = caller.address;
        let (user, path) = (user.clone(), base.parts.uri.path());
        let context = |quotas| RequestContext {
            app,
            engine,
            now,
            tenant,
            address,
            user,
            quotas,
            claim,
            base,
            path,
            query,
            body,
            #[cfg(feature = "etcd")]
            longest_wait: self.longest_wait,
        };
        if resources::is_followed(query, &base.parts.headers) {
            // The users are not held while the request waits: others may replace them.
            let quotas = authenticator.quotas(tenant).clone();
            drop(authenticator);
            notes.kind = Some(metrics::FOLLOW);
            return Box::pin(count_and_route(&context(&quotas), rest, notes)).await;
        }
        count_and_route(&context(authenticator.quotas(tenant)), rest, notes).await
    }
}

/// Counts a read against the rate limits, and routes the request.
async fn count_and_route(context: &RequestContext<'_>, rest: &str, notes: &mut Notes) -> Result<Answer, HttpError> {
    let method = &context.base.parts.method;
    let is_read = method == Method::GET || method == Method::HEAD;
    if is_read && !context.quotas.rates.is_empty() {
        let (usage, verdict) = resources::limits::count(context);
        notes.usage = usage.map(|usage| (context.quotas.clone(), usage));
        verdict?;
    }
    let route = router::route(method, rest)?.ok_or_else(|| no_page(context.base.parts))?;
    notes.kind.get_or_insert_with(|| metrics::of_route(&route));
    run(context, route).await
}

/// Returns whether the client is one that prints responses on a terminal.
fn is_for_terminal(headers: &HeaderMap) -> bool {
    let agent = headers.get(USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    agent.starts_with(b"curl/") || agent.starts_with(b"Wget/") || agent.starts_with(b"HTTPie/")
}

/// Logs a request. Successful heartbeats are logged on demand only: each lease causes one every few seconds. So are the
/// checks of proxies, the scrapes of Prometheus, and the questions of DNS.
fn log(
    parts: &Parts,
    answer: &Answer,
    started: Instant,
    kind: &str,
    notes: &Notes,
    client: impl Fn() -> IpAddr,
    response: &str,
) {
    let (tenant, user) = (notes.tenant, notes.user.as_deref());
    let (method, path, status) = (&parts.method, parts.uri.path(), answer.status().as_u16());
    let ms = || (started.elapsed().as_secs_f64() * 1e6).round() / 1000.0;
    let is_heartbeat = status == 200 && method == Method::POST && path.ends_with("/heartbeat");
    let is_check = matches!((kind, status), ("options", 204) | ("health" | "metrics", 200));
    let is_lookup = status == 200 && path.starts_with("/internal/"); // of a node, for DNS
    if is_heartbeat || is_check || is_lookup {
        tracing::debug!(%method, path, status, ms = ms(), client = %client(), user, tenant, response, "request");
    } else {
        tracing::info!(%method, path, status, ms = ms(), client = %client(), user, tenant, response, "request");
    }
}

async fn run(context: &RequestContext<'_>, route: Route<'_>) -> Result<Answer, HttpError> {
    match route {
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
        Route::Cluster => Err(HttpError::NoCluster), // a node has answered before
        Route::Events => resources::events::list(context).await,
        Route::Configuration(path) => resources::configuration::read(context, &path).await,
        Route::SetValue(path) => resources::configuration::set(context, &path).await,
        Route::RemoveValue(path) => resources::configuration::remove(context, &path).await,
        Route::Prometheus => resources::prometheus::targets(context).await,
    }
}

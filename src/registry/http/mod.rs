//! HTTP: from the request to the domain and back.
//!
//! `connections` accepts; [`Front::handle`] is the life of a request: it judges it in the order that the API has
//! always had, and hands it to the file of its resource. `faults` says no.

mod answer;
mod body;
mod configuration;
pub(super) mod connections;
mod events;
mod faults;
mod gate;
mod limits;
mod login;
mod query;
mod response_ids;
mod routes;
mod services;
mod sessions;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use serde::Serialize;

use super::accounts::{Accounts, Claim, OPEN_TENANT};
use super::clock::Now;
use super::engine::Engine;
use super::json::Json;
use super::limits::Allowance;
use super::objects::TenantId;
use super::pages::{Listing, Page};
use super::rates::Usage;
use super::refusal::Refusal;
use super::state::State;
use crate::wire;
use answer::Answer;
use faults::Problem;
use query::Query;
use response_ids::ResponseIds;
use routes::{Area, Route};

/// Everything that requests need.
#[derive(Debug)]
pub(crate) struct Front {
    engine: Arc<Engine>,
    accounts: Accounts,
    listening: SocketAddr,
    strict_feed: bool,
    ids: ResponseIds,
}

/// What is learnt on the way to an answer, and told with it whatever it is.
#[derive(Debug, Default)]
struct Notes {
    tenant: Option<TenantId>,
    usage: Option<(Arc<Allowance>, Usage)>,
}

/// A request that has been let in.
struct Asked<'a> {
    front: &'a Front,
    now: Now,
    tenant: TenantId,
    allowance: Arc<Allowance>,
    /// `http://host:port`, as the client sees it.
    base: &'a str,
    path: &'a str,
    query: &'a Query<'a>,
    body: &'a Json,
}

impl Front {
    pub(crate) fn new(engine: Engine, accounts: Accounts, listening: SocketAddr, strict_feed: bool) -> Self {
        Self { engine: Arc::new(engine), accounts, listening, strict_feed, ids: ResponseIds::new() }
    }

    /// Answers a request, and logs it: what was asked and how it ended, but nothing that is secret.
    pub(crate) async fn handle(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let started = Instant::now();
        let now = self.engine.now();
        let id = self.ids.next(now.wall);
        let (parts, body) = request.into_parts();
        let base = self.base(&parts);
        let mut notes = Notes::default();
        let mut answer = match self.judge(now, &base, &parts, body, &mut notes).await {
            Ok(answer) => answer,
            Err(problem) => problem.answer(&id, &base),
        };
        if let Some((allowance, usage)) = notes.usage {
            answer = limits::headers(answer, now, &allowance.rates[usage.rate], usage.used);
        }
        tracing::info!(
            method = %parts.method,
            path = parts.uri.path(),
            status = answer.status().as_u16(),
            ms = started.elapsed().as_secs_f64() * 1000.0,
            tenant = notes.tenant,
            response = id,
            "request"
        );
        let id = HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("-"));
        answer.into_response(id)
    }

    /// The order of the judgements is part of the API: the first that fails decides.
    async fn judge(
        &self,
        now: Now,
        base: &str,
        parts: &Parts,
        body: Incoming,
        notes: &mut Notes,
    ) -> Result<Answer, Problem> {
        if self.accounts.is_open() {
            gate::check(&parts.headers, self.listening)?;
        }
        let body = body::read(&parts.headers, body).await?;
        let body = &body::parse(&parts.headers, &body)?;
        let path = parts.uri.path();
        let no_page =
            || Problem::NoPage { requested: parts.uri.path_and_query().map_or(path, |all| all.as_str()).into() };
        let (tenant, rest) = match Area::of(path) {
            Area::Api { tenant, rest } => (tenant, rest),
            Area::Login if parts.method == Method::POST => return login::login(self, now, base, body).await,
            Area::Login | Area::Elsewhere => return Err(no_page()),
        };
        let query = &Query::parse(parts.uri.query());
        let tenant = self.admit(now, &parts.headers, query, tenant, rest)?;
        notes.tenant = Some(tenant);
        let allowance = self.accounts.allowance(tenant);
        let asked = Asked { front: self, now, tenant, allowance, base, path, query, body };
        let is_read = parts.method == Method::GET || parts.method == Method::HEAD;
        if is_read && !asked.allowance.rates.is_empty() {
            let (usage, verdict) = limits::count(&asked).await;
            notes.usage = usage.map(|usage| (asked.allowance.clone(), usage));
            verdict?;
        }
        asked.route(&parts.method, rest, no_page).await
    }

    /// Who asks, and for which tenant.
    fn admit(
        &self,
        now: Now,
        headers: &HeaderMap,
        query: &Query<'_>,
        tenant: Option<&str>,
        rest: &str,
    ) -> Result<TenantId, Problem> {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        let named = header("x-tenant-id");
        let open_tenant = OPEN_TENANT.to_string();
        let is_bare = self.accounts.is_open() && named.is_none() && routes::is_resource(rest);
        let path = tenant.or_else(|| is_bare.then_some(&*open_tenant));
        let in_query = query.values("x-auth-token").first().copied().filter(|token| !token.is_empty());
        let token = in_query.or_else(|| header("x-auth-token"));
        Ok(self.accounts.admit(now, Claim { header: named, path, token })?)
    }

    /// The registry's own address as the client sees it: the one it asked, by the scheme it, or a proxy, used.
    fn base(&self, parts: &Parts) -> String {
        let header = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let asked = parts.uri.authority().map(|authority| authority.as_str());
        let is_plain = |host: &&str| {
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
        };
        let scheme = match header("x-forwarded-proto") {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => "https",
            _ => "http",
        };
        match asked.or_else(|| header(HOST.as_str())).filter(is_plain) {
            Some(host) => format!("{scheme}://{host}"),
            None => format!("{scheme}://{}", self.listening),
        }
    }
}

impl Asked<'_> {
    async fn route(&self, method: &Method, rest: &str, no_page: impl FnOnce() -> Problem) -> Result<Answer, Problem> {
        match routes::route(method, rest)?.ok_or_else(no_page)? {
            Route::SessionHeartbeat(id) => sessions::heartbeat(self, &id).await,
            Route::ServiceHeartbeat(id) => services::heartbeat(self, &id).await,
            Route::Limits => limits::show(self).await,
            Route::Sessions => sessions::list(self).await,
            Route::CreateSession => sessions::create(self).await,
            Route::Session(id) => sessions::get(self, &id).await,
            Route::UpdateSession(id) => sessions::update(self, &id).await,
            Route::DeleteSession(id) => sessions::delete(self, &id).await,
            Route::Services => services::list(self).await,
            Route::CreateService => services::create(self).await,
            Route::Service(id) => services::get(self, &id).await,
            Route::UpdateService(id) => services::update(self, &id).await,
            Route::DeleteService(id) => services::delete(self, &id).await,
            Route::Overview => sessions::overview(self).await,
            Route::Events => events::list(self).await,
            Route::Configuration(path) => configuration::read(self, &path).await,
            Route::SetValue(path) => configuration::set(self, &path).await,
            Route::RemoveValue(path) => configuration::remove(self, &path).await,
        }
    }

    /// Does something to the tenant's state.
    async fn run<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let contact = |state: &mut State| state.contact(self.now, self.tenant);
        self.front.engine.run(|state| (contact(state), act(state)).1).await
    }

    /// The same, after everyone who is overdue has been expired.
    async fn run_swept<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let contact = |state: &mut State| state.contact(self.now, self.tenant);
        self.front.engine.run_swept(self.now, |state| (contact(state), act(state)).1).await
    }

    /// Changes the tenant's state, after everyone who is overdue has been expired. What cannot be kept is refused.
    async fn write<T>(&self, act: impl FnOnce(&mut State) -> Result<T, Refusal>) -> Result<T, Problem> {
        let contact = |state: &mut State| state.contact(self.now, self.tenant);
        let written = self.front.engine.write_swept(self.now, |state| (contact(state), act(state)).1).await;
        Ok(written.ok_or(Problem::NotKept)??)
    }

    /// Which page of a list is asked for.
    fn page(&self) -> Result<Page, Problem> {
        Ok(Page::read(&self.query.values("limit"), &self.query.values("marker"))?)
    }

    /// A page, and where the next one is.
    fn listing<T: Serialize>(&self, listing: Listing<T>, limit: usize, marker: Option<String>) -> Answer {
        let next_href = |marker: &String| format!("{}{}?{}", self.base, self.path, self.query.with_marker(marker));
        let metadata = wire::PageMetadata {
            count: listing.values.len(),
            limit,
            marker,
            next_href: listing.next.as_ref().map(next_href),
            next_marker: listing.next,
        };
        Answer::json(hyper::StatusCode::OK, &wire::Page { values: listing.values, metadata })
    }

    /// The URL of one of the tenant's resources.
    fn url(&self, resource: &str, id: &str) -> String {
        format!("{}/v1.0/{}/{resource}/{id}", self.base, self.tenant)
    }
}

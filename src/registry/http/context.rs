//! The context of a request: what the resources need to know about it, and how they reach the engine.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HeaderMap;

use super::app::App;
use super::error::HttpError;
use super::public_url::PublicUrl;
use super::request::{Json, Query, pagination};
use super::resources::{Place, ShareGuard};
use crate::registry::access::{Quotas, TenantClaim};
use crate::registry::engine::Scope;
use crate::registry::model::{Now, Page, TenantId};
use crate::registry::state::{DomainError, State};

/// The addresses at both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) local: IpAddr,
    pub(super) is_secure: bool,
}

/// A request whose credentials were accepted.
pub(super) struct RequestContext<'a> {
    pub(super) app: &'a Arc<App>,
    pub(super) now: Now,
    pub(super) tenant: TenantId,
    pub(super) address: IpAddr,
    pub(super) quotas: &'a Arc<Quotas>,
    pub(super) claim: TenantClaim<'a>,
    pub(super) base: &'a PublicUrl<'a>,
    pub(super) path: &'a str,
    pub(super) query: &'a Query<'a>,
    pub(super) body: &'a Json,
}

impl RequestContext<'_> {
    /// Reads the tenant's state. The result contains nothing that can still be rolled back.
    pub(super) async fn read<T>(&self, scope: Scope<'_>, act: impl Fn(&mut State) -> T) -> T {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        self.app.engine.read(self.tenant, scope, |state| (create_on_first_use(state), act(state)).1).await
    }

    /// The same, after every overdue lease has been expired.
    pub(super) async fn read_swept<T>(&self, scope: Scope<'_>, act: impl Fn(&mut State) -> T) -> T {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        let engine = &self.app.engine;
        engine.read_swept(self.now, self.tenant, scope, |state| (create_on_first_use(state), act(state)).1).await
    }

    /// Changes the tenant's state, after every overdue lease has been expired. Fails if the change cannot be stored.
    pub(super) async fn write<T>(&self, act: impl Fn(&mut State) -> Result<T, DomainError>) -> Result<T, HttpError> {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        let written = self.app.engine.write_swept(self.now, |state| (create_on_first_use(state), act(state)).1).await;
        Ok(written.ok_or(HttpError::StorageUnavailable)??)
    }

    /// Checks the credentials once more, after a wait.
    pub(super) fn admit_again(&self) -> Result<(), HttpError> {
        Ok(self.app.authenticator.load().admit(self.app.engine.now(), self.claim).map(drop)?)
    }

    /// Returns a place among the requests that wait or go on.
    pub(super) fn follower_place(&self) -> Result<Place, HttpError> {
        self.app.followers.enter((self.tenant, self.address)).ok_or(HttpError::Busy)
    }

    /// Waits for a place among the pages in the making.
    pub(super) async fn turn(&self) -> Result<ShareGuard, HttpError> {
        self.app.lists.turn((self.tenant, self.address)).await.ok_or(HttpError::Busy)
    }

    /// Returns the headers of the request.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.base.parts.headers
    }

    /// Parses the page of a list that is requested.
    pub(super) fn page(&self) -> Result<Page, HttpError> {
        Ok(pagination::page(&self.query.values("limit"), &self.query.values("marker"))?)
    }

    /// Returns the URL of one of the tenant's resources.
    pub(super) fn url(&self, resource: &str, id: &str) -> String {
        format!("{}/v1.0/{}/{resource}/{id}", self.base, self.tenant)
    }
}

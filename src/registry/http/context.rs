//! The context of a request: what the resources need to know about it, and how they reach the engine.

use std::net::IpAddr;
use std::sync::Arc;
#[cfg(feature = "etcd")]
use std::time::Duration;

use hyper::header::{HeaderMap, USER_AGENT};

use super::app::App;
use super::error::HttpError;
use super::forwarded;
use super::public_url::PublicUrl;
use super::request::{Json, Query, pagination, removal};
use super::resources::{Place, ShareGuard};
use crate::registry::access::{Quotas, TenantClaim};
use crate::registry::engine::{Engine, Scope};
use crate::registry::model::{Attribution, Now, Page, TenantId};
use crate::registry::state::{DomainError, State};
use crate::wire::limits::AGENT;

/// The addresses at both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    pub(super) local: IpAddr,
    pub(super) is_secure: bool,
    pub(super) door: Door,
}

/// Which listener a connection has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    Main,
    /// That of the metrics, which has nothing else but the health.
    Metrics,
}

/// A request whose credentials were accepted.
pub(super) struct RequestContext<'a> {
    pub(super) app: &'a Arc<App>,
    /// It has the data of the account.
    pub(super) engine: &'a Arc<Engine>,
    pub(super) now: Now,
    pub(super) tenant: TenantId,
    pub(super) address: IpAddr,
    pub(super) user: Option<Arc<str>>,
    pub(super) quotas: &'a Arc<Quotas>,
    pub(super) claim: TenantClaim<'a>,
    pub(super) base: &'a PublicUrl<'a>,
    pub(super) path: &'a str,
    pub(super) query: &'a Query<'a>,
    pub(super) body: &'a Json,
    /// How long the client of the node that forwarded the request will still wait.
    #[cfg(feature = "etcd")]
    pub(super) longest_wait: Option<Duration>,
}

impl RequestContext<'_> {
    /// Reads the tenant's state. The result contains nothing that can still be rolled back.
    pub(super) async fn read<T>(&self, scope: Scope<'_>, act: impl Fn(&mut State) -> T) -> T {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        self.engine.read(self.tenant, scope, |state| (create_on_first_use(state), act(state)).1).await
    }

    /// The same, after every overdue lease has been expired.
    pub(super) async fn read_swept<T>(&self, scope: Scope<'_>, act: impl Fn(&mut State) -> T) -> T {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        self.engine.read_swept(self.now, self.tenant, scope, |state| (create_on_first_use(state), act(state)).1).await
    }

    /// Changes the tenant's state, after every overdue lease has been expired. Fails if the change cannot be stored.
    pub(super) async fn write<T>(&self, act: impl Fn(&mut State) -> Result<T, DomainError>) -> Result<T, HttpError> {
        let create_on_first_use = |state: &mut State| state.create_on_first_use(self.now, self.tenant);
        let written = self.engine.write_swept(self.now, |state| (create_on_first_use(state), act(state)).1).await;
        Ok(written.ok_or(HttpError::StorageUnavailable)??)
    }

    /// Checks the credentials once more, after a wait.
    pub(super) fn admit_again(&self) -> Result<(), HttpError> {
        Ok(self.app.authenticator.load().admit(self.engine.now(), self.claim).map(drop)?)
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

    /// Returns who makes the changes of this request.
    pub(super) fn attribution(&self) -> Attribution {
        let agent = self.headers().get(USER_AGENT).map(|agent| String::from_utf8_lossy(agent.as_bytes()));
        Attribution {
            user: self.user.as_deref().map(str::to_owned),
            address: Some(forwarded::client(self.address, self.headers(), &self.app.trusted_proxies)),
            agent: agent.as_deref().map(bounded_agent).filter(|agent| !agent.is_empty()),
            ..Attribution::default()
        }
    }

    /// The same for a request that removes something: also the reason that it gives.
    pub(super) fn attributed_removal(&self) -> Result<Attribution, HttpError> {
        let reason = removal::reason(&self.query.values("reason"))?;
        Ok(Attribution { reason, ..self.attribution() })
    }

    /// The same for sessions and services, which are also removed to take their place.
    pub(super) fn attributed_withdrawal(&self) -> Result<Attribution, HttpError> {
        let cause = removal::cause(&self.query.values("cause"))?;
        Ok(Attribution { cause, ..self.attributed_removal()? })
    }

    /// Returns the URL of one of the tenant's resources.
    pub(super) fn url(&self, resource: &str, id: &str) -> String {
        format!("{}/v1.0/{}/{resource}/{id}", self.base, self.tenant)
    }
}

/// Returns the name of a client's program as events have it: at most 100 characters, in UTF-16 units as everywhere.
fn bounded_agent(agent: &str) -> String {
    let mut units = 0;
    let fits = |char: &char| {
        units += char.len_utf16();
        units <= AGENT
    };
    agent.chars().filter(|char| !char.is_control()).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_is_bounded_and_has_no_control_characters() {
        assert_eq!(bounded_agent("curl/8.5\t(x)\u{7f}\u{9b}"), "curl/8.5(x)");
        assert_eq!(bounded_agent(&"a".repeat(101)), "a".repeat(100));
        assert_eq!(bounded_agent(&format!("a{}", "😀".repeat(60))).encode_utf16().count(), 99);
    }
}

//! Services: created in a session, listed for all clients of the account.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::cache::{CacheKey, ServiceList};
use super::reason::{reason_query, replacement_query};
use crate::client::schedule::CLOSEST;
use crate::client::transport::Call;
use crate::client::transport::url::not_empty;
use crate::client::{Client, Error, ListOptions};
use crate::wire::{Metadata, Page, Service};

/// The pause between two attempts of [`Services::register`] while the id is in use.
const RETRY_EVERY: Duration = Duration::from_secs(2);
/// How long it tries.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// The services of the account; from [`Client::services`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Services<'a> {
    client: &'a Client,
    retry_every: Duration,
    retry_for: Duration,
}

/// The description of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServicePayload {
    /// At most 10 labels of 1 to 55 characters.
    pub tags: Vec<String>,
    /// At most 20 pairs of 1 to 255 characters each; the whole payload must fit into 4999 bytes of JSON.
    pub metadata: Metadata,
}

/// Changes to a service. Members that are `None` stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ServiceUpdate {
    /// Replaces all tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// Replaces all pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
    /// Seconds, 3 to 120, of a service with heartbeats of its own; counts from the next heartbeat on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout: Option<u32>,
}

impl Client {
    /// Services: those that are registered.
    pub fn services(&self) -> Services<'_> {
        Services::new(self)
    }
}

impl<'a> Services<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self { client, retry_every: RETRY_EVERY, retry_for: RETRY_FOR }
    }

    pub(super) fn client(&self) -> &'a Client {
        self.client
    }

    /// The pause between two attempts of [`register`](Self::register); 2 s by default, at least 100 ms.
    pub fn retry_every(mut self, pause: Duration) -> Self {
        self.retry_every = pause.max(CLOSEST);
        self
    }

    /// How long [`register`](Self::register) tries; 30 s by default.
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// Creates a service in a session, in one attempt, and returns its id.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; of faults, `serviceWithThisIdExists`, `limitReached`, and 404 if there is no such session.
    pub async fn create(self, session_id: &str, service_id: &str, payload: &ServicePayload) -> Result<String, Error> {
        let ServicePayload { tags, metadata } = payload;
        let body = json!({"id": service_id, "session_id": session_id, "tags": tags, "metadata": metadata});
        let call = Call::new(Method::POST, &["services"], StatusCode::CREATED).json(&body)?;
        self.client.send(call).await?.created_id()
    }

    /// Creates a service in a session and returns its id. While the id is in use (by a previous session that has not
    /// expired yet), tries again every 2 s for up to 30 s. Some sessions live shorter, so send heartbeats in the
    /// meantime.
    ///
    /// May be repeated: a service that is in this session already, because an earlier response was lost, gets
    /// this payload.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create); all except `serviceWithThisIdExists` at once.
    pub async fn register(self, session_id: &str, service_id: &str, payload: &ServicePayload) -> Result<String, Error> {
        let start = Instant::now();
        loop {
            let error = match self.create(session_id, service_id, payload).await {
                Err(error) if error.is_fault("serviceWithThisIdExists") => error,
                outcome => return outcome,
            };
            if self.adopt(session_id, service_id, payload).await? {
                return Ok(service_id.to_owned());
            }
            if start.elapsed().saturating_add(self.retry_every) > self.retry_for {
                return Err(error);
            }
            sleep(self.retry_every).await;
        }
    }

    /// Gives the service with this id the payload if it is in this session.
    async fn adopt(self, session_id: &str, service_id: &str, payload: &ServicePayload) -> Result<bool, Error> {
        let held = match self.get(service_id).await {
            Ok(Service::InSession(service)) if service.session_id == session_id => {
                let ServicePayload { tags, metadata } = payload.clone();
                let update = ServiceUpdate { tags: Some(tags), metadata: Some(metadata), ..ServiceUpdate::default() };
                self.update(service_id, &update).await.map(|()| true)
            }
            other => other.map(|_| false),
        };
        match held {
            Err(error) if error.is_not_found() => Ok(false), // expired in the meantime
            held => held,
        }
    }

    /// Returns one page of the services, by id. While the registry does not answer, returns its last response, marked
    /// as [`stale`](ServiceList::stale).
    ///
    /// # Errors
    ///
    /// Any [`Error`], unless there is an earlier response to the same request.
    pub async fn list(self, options: &ListOptions) -> Result<ServiceList, Error> {
        self.find(None, Some(options)).await
    }

    /// Returns all services, by id; like [`list`](Self::list).
    ///
    /// # Errors
    ///
    /// Any [`Error`], unless there is an earlier response to the same request.
    pub async fn list_all(self) -> Result<ServiceList, Error> {
        self.find(None, None).await
    }

    /// Returns one page of the services with a tag, by id; like [`list`](Self::list).
    ///
    /// # Errors
    ///
    /// Any [`Error`], unless there is an earlier response to the same request; of faults, `badRequest` for a tag that
    /// cannot be searched for (3 to 65 of letters, digits, `_`, `-`, `.`).
    pub async fn list_for_tag(self, tag: &str, options: &ListOptions) -> Result<ServiceList, Error> {
        self.find(Some(tag), Some(options)).await
    }

    /// Returns all services with a tag, by id; like [`list_for_tag`](Self::list_for_tag).
    ///
    /// # Errors
    ///
    /// Those of [`list_for_tag`](Self::list_for_tag).
    pub async fn list_all_for_tag(self, tag: &str) -> Result<ServiceList, Error> {
        self.find(Some(tag), None).await
    }

    async fn find(self, tag: Option<&str>, page: Option<&ListOptions>) -> Result<ServiceList, Error> {
        let question = CacheKey { tag: tag.map(str::to_owned), page: page.cloned() };
        let tag = tag.map(|tag| ("tag", tag.to_owned()));
        let answer = match page {
            Some(options) => {
                let query = options.query().into_iter().chain(tag).collect();
                let page = self.client.page(&["services"], query).await;
                page.map(|(Page { values, metadata }, _)| (values, metadata.next_marker))
            }
            None => self.client.all_pages(&["services"], tag.as_slice()).await.map(|all| (all, None)),
        };
        let list = answer.map(|(services, next_marker)| ServiceList { services, next_marker, stale: None });
        self.client.inner.remembered.settle(question, list)
    }

    /// Returns one service.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) when there is no such service.
    pub async fn get(self, id: &str) -> Result<Service, Error> {
        self.client.send(Call::get(&["services", not_empty(id, "service id")?])).await?.json()
    }

    /// Changes a service.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) when there is no such service.
    pub async fn update(self, id: &str, update: &ServiceUpdate) -> Result<(), Error> {
        self.client.send(Call::put(&["services", not_empty(id, "service id")?]).json(update)?).await?;
        Ok(())
    }

    /// Removes a service from the registry at once.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) when there is no such service.
    pub async fn remove(self, id: &str) -> Result<(), Error> {
        self.client.send(Call::delete(&["services", not_empty(id, "service id")?])).await?;
        Ok(())
    }

    /// Removes a service from the registry at once, and tells the registry why; like
    /// [`Sessions::remove_because`](super::Sessions::remove_because).
    ///
    /// # Errors
    ///
    /// Those of [`remove`](Self::remove), and [`Error::InvalidArgument`] for a reason of more than 255 characters or
    /// with control characters.
    pub async fn remove_because(self, id: &str, reason: &str) -> Result<(), Error> {
        let path = ["services", not_empty(id, "service id")?];
        self.client.send(Call::delete(&path).query(reason_query(reason)?)).await?;
        Ok(())
    }

    /// Removes a service from the registry at once, because the caller takes its place; like
    /// [`Sessions::remove_replaced`](super::Sessions::remove_replaced).
    ///
    /// # Errors
    ///
    /// Those of [`remove_because`](Self::remove_because).
    pub async fn remove_replaced(self, id: &str, reason: &str) -> Result<(), Error> {
        let path = ["services", not_empty(id, "service id")?];
        self.client.send(Call::delete(&path).query(replacement_query(reason)?)).await?;
        Ok(())
    }
}

//! Sessions: a session and its services live as long as its heartbeats.

use std::fmt;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Serialize;
use serde_json::json;

use super::reason::{reason_query, replacement_query};
use crate::client::transport::Call;
use crate::client::transport::url::not_empty;
use crate::client::{Client, Error, HeartBeater, ListOptions};
use crate::wire::{Metadata, Page, Session, Token};

/// The sessions of the account; from [`Client::sessions`].
#[derive(Clone, Copy, Debug)]
pub struct Sessions<'a> {
    pub(crate) client: &'a Client,
}

/// A new session. Its first heartbeat is due within its timeout.
pub struct NewSession {
    /// Made by the registry; services are created with it.
    pub id: String,
    /// The token of the first heartbeat. It suffices to keep the session alive.
    pub token: String,
    /// Keeps the session alive, beginning with that token.
    pub heartbeater: HeartBeater,
}

impl fmt::Debug for NewSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Changes to a session. Members that are `None` stay unchanged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SessionUpdate {
    /// Seconds, 3 to 120; counts from the next heartbeat on. A [`HeartBeater`] keeps its pace: replace it by
    /// a [new one](HeartBeater::new) with this timeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout: Option<u32>,
    /// Replaces all pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata>,
}

impl Client {
    /// Sessions: keep services registered.
    #[must_use]
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions { client: self }
    }
}

impl Sessions<'_> {
    /// Creates a session that expires `heartbeat_timeout` seconds (3 to 120) after its last heartbeat.
    ///
    /// One attempt. After a lost response there may be an unknown session, which expires by itself.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; of faults, `badRequest` for values out of range and `limitReached`.
    pub async fn create(self, heartbeat_timeout: u32, metadata: &Metadata) -> Result<NewSession, Error> {
        let body = json!({"heartbeat_timeout": heartbeat_timeout, "metadata": metadata});
        let call = Call::new(Method::POST, &["sessions"], StatusCode::CREATED).json(&body)?;
        let answer = self.client.send(call).await?;
        let id = answer.created_id()?;
        let Token { token } = answer.heartbeat_token()?;
        let heartbeater = HeartBeater::new(self.client, &id, &token, heartbeat_timeout);
        Ok(NewSession { id, token, heartbeater })
    }

    /// Sends one heartbeat and returns the next token. [`HeartBeater`] does so in time, and again after a
    /// failure.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) if the session or the token is gone.
    pub async fn heartbeat(self, id: &str, token: &str) -> Result<Token, Error> {
        self.heartbeat_within(id, token, None).await
    }

    pub(crate) async fn heartbeat_within(self, id: &str, token: &str, limit: Option<Duration>) -> Result<Token, Error> {
        let path = ["sessions", not_empty(id, "session id")?, "heartbeat"];
        let mut call = Call::new(Method::POST, &path, StatusCode::OK).json(&json!({"token": token}))?;
        call.limit = limit;
        let answer = self.client.send(call).await.map_err(|error| error.without(token))?;
        answer.heartbeat_token()
    }

    /// Returns one session.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) when there is no such session.
    pub async fn get(self, id: &str) -> Result<Session, Error> {
        self.client.send(Call::get(&["sessions", not_empty(id, "session id")?])).await?.json()
    }

    /// Returns one page of the sessions, by id.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; of faults, `invalidLimit`, and `badRequest` for an invalid marker.
    pub async fn list(self, options: &ListOptions) -> Result<Page<Session>, Error> {
        Ok(self.client.page(&["sessions"], options.query()).await?.0)
    }

    /// Returns all sessions, by id.
    ///
    /// # Errors
    ///
    /// Any [`Error`].
    pub async fn list_all(self) -> Result<Vec<Session>, Error> {
        self.client.all_pages(&["sessions"], &[]).await
    }

    /// Changes a session.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) when there is no such session.
    pub async fn update(self, id: &str, update: &SessionUpdate) -> Result<(), Error> {
        self.client.send(Call::put(&["sessions", not_empty(id, "session id")?]).json(update)?).await?;
        Ok(())
    }

    /// Ends a session and its services at once. Registries of the original kind cannot (404): there,
    /// a session only expires.
    ///
    /// # Errors
    ///
    /// Any [`Error`]; [`is_not_found`](Error::is_not_found) when there is no such session.
    pub async fn remove(self, id: &str) -> Result<(), Error> {
        self.client.send(Call::delete(&["sessions", not_empty(id, "session id")?])).await?;
        Ok(())
    }

    /// Ends a session and its services at once, and tells the registry why: `exited 1`, `stopped by SIGTERM`. An empty
    /// reason is none.
    ///
    /// # Errors
    ///
    /// Those of [`remove`](Self::remove), and [`Error::InvalidArgument`] for a reason of more than 255 characters or
    /// with control characters.
    pub async fn remove_because(self, id: &str, reason: &str) -> Result<(), Error> {
        let path = ["sessions", not_empty(id, "session id")?];
        self.client.send(Call::delete(&path).query(reason_query(reason)?)).await?;
        Ok(())
    }

    /// Ends a session and its services at once, because the caller takes its place: the events have the cause
    /// `replaced`. Otherwise like [`remove_because`](Self::remove_because).
    ///
    /// # Errors
    ///
    /// Those of [`remove_because`](Self::remove_because).
    pub async fn remove_replaced(self, id: &str, reason: &str) -> Result<(), Error> {
        let path = ["sessions", not_empty(id, "session id")?];
        self.client.send(Call::delete(&path).query(replacement_query(reason)?)).await?;
        Ok(())
    }
}

//! The keeper of the token.
//!
//! At any time at most one login is under way; everybody who needs one waits for it and shares its outcome, be it
//! good or bad. Who holds a token that still serves never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::sync::Mutex as AsyncMutex;
use url::Url;

use super::Client;
use super::connection::Kind;
use super::error::{Error, Phase};
use super::login::{Credentials, Login};
use super::transport::{Request, to_json};

pub(crate) struct Auth {
    credentials: Credentials,
    url: Url,
    login: Mutex<Option<Arc<Login>>>,
    /// Held while logging in.
    turn: AsyncMutex<Turn>,
    /// Logins that have ended, so that one who waited for a turn knows whether somebody else took it.
    ended: AtomicU64,
}

#[derive(Default)]
struct Turn {
    /// Where it differs in kind from the registry's, built when it is first needed.
    http: Option<reqwest::Client>,
    failed: Option<Error>,
}

impl Auth {
    pub(crate) fn new(credentials: Credentials, url: Url) -> Self {
        Self { credentials, url, login: Mutex::default(), turn: AsyncMutex::default(), ended: AtomicU64::new(0) }
    }

    /// The token to use now. One that nears its end is renewed behind the caller's back.
    pub(crate) async fn current(&self, client: &Client) -> Result<Arc<Login>, Error> {
        match self.kept() {
            Some(login) if login.is_over() => self.renewed(client, Some(&login)).await,
            Some(login) => {
                if login.is_due() && self.turn.try_lock().is_ok() {
                    tokio::spawn(renew(client.clone(), login.clone()));
                }
                Ok(login)
            }
            None => self.renewed(client, None).await,
        }
    }

    /// Another token than `refused`: the one that somebody else got meanwhile, or a new one.
    pub(crate) async fn renewed(&self, client: &Client, refused: Option<&Arc<Login>>) -> Result<Arc<Login>, Error> {
        let seen = self.ended.load(Ordering::Acquire);
        let mut turn = self.turn.lock().await;
        match (self.kept(), refused) {
            (Some(login), Some(refused)) if !Arc::ptr_eq(&login, refused) => return Ok(login),
            (Some(login), None) => return Ok(login),
            _ => {}
        }
        if let Some(error) = &turn.failed
            && self.ended.load(Ordering::Acquire) != seen
        {
            return Err(error.clone());
        }
        let outcome = self.log_in(client, &mut turn.http).await.map(Arc::new);
        turn.failed = outcome.as_ref().err().cloned();
        if let Ok(login) = &outcome {
            *self.login.lock().unwrap_or_else(PoisonError::into_inner) = Some(login.clone());
        }
        self.ended.fetch_add(1, Ordering::Release);
        outcome
    }

    fn kept(&self) -> Option<Arc<Login>> {
        self.login.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn log_in(&self, client: &Client, own: &mut Option<reqwest::Client>) -> Result<Login, Error> {
        let inner = &client.inner;
        let http = match own {
            Some(http) => http,
            None => own.insert(match Kind::of(&self.url) {
                kind if kind == Kind::of(inner.base.url()) => inner.http.clone(),
                kind => kind.build(&inner.papers)?,
            }),
        };
        let request = Request {
            phase: Phase::Login,
            method: Method::POST,
            url: self.url.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: Some(to_json(&self.credentials.document())?),
            expect: StatusCode::OK,
            limit: inner.request_timeout,
        };
        let login = Login::read(&request.send(http).await?)?;
        tracing::debug!("logged in at {}", self.url);
        Ok(login)
    }
}

/// Exchanges a token that still serves. If that fails there is time to try again, so nobody is told but the log.
async fn renew(client: Client, old: Arc<Login>) {
    if let Some(auth) = &client.inner.auth
        && let Err(error) = auth.renewed(&client, Some(&old)).await
    {
        tracing::debug!("the token is not renewed yet: {error}");
    }
}

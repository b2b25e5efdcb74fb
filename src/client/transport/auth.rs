//! Keeps the token, and renews it.
//!
//! At most one login is under way at any time; all calls that need a token wait for it and share its outcome. A call
//! with a valid token never waits. The login runs in a task of its own: a caller that is dropped, or not polled for a
//! while, neither ends nor delays it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::connection::Http;
use super::login::{Credentials, Login};
use super::request::{Request, TimeLimit, cannot_be_written};
use crate::client::error::{Cause, Error, NoAnswer, Phase};

/// The shortest pause between two attempts to renew a valid token.
const RENEW_AGAIN: Duration = Duration::from_secs(10);

pub(crate) struct Auth {
    credentials: Credentials,
    url: Url,
    http: Http,
    request_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    login: Option<Arc<Login>>,
    running_login: Option<watch::Receiver<Option<Outcome>>>,
    /// A valid token is not renewed before this.
    renew_after: Option<Instant>,
}

type Outcome = Result<Arc<Login>, Error>;

impl Auth {
    pub(crate) fn new(credentials: Credentials, url: Url, http: Http, request_timeout: Duration) -> Self {
        Self { credentials, url, http, request_timeout, state: Mutex::default() }
    }

    /// Returns the current token. One that expires soon is renewed in the background; if that fails, there is time for
    /// another attempt.
    pub(super) async fn current(self: &Arc<Self>, limit: TimeLimit) -> Outcome {
        let outcome = {
            let mut state = self.lock();
            match &state.login {
                Some(login) if !login.is_over() => {
                    let login = login.clone();
                    if login.is_due() && state.renew_after.is_none_or(|after| Instant::now() >= after) {
                        state.join_or_start_login(self);
                    }
                    return Ok(login);
                }
                _ => state.join_or_start_login(self),
            }
        };
        self.wait(outcome, limit).await
    }

    /// Returns another token than `refused`: one that another call got in the meantime, or a new one.
    pub(super) async fn renewed(self: &Arc<Self>, refused: &Arc<Login>, limit: TimeLimit) -> Outcome {
        let outcome = {
            let mut state = self.lock();
            match &state.login {
                Some(login) if !Arc::ptr_eq(login, refused) => return Ok(login.clone()),
                _ => state.join_or_start_login(self),
            }
        };
        self.wait(outcome, limit).await
    }

    async fn wait(&self, mut outcome: watch::Receiver<Option<Outcome>>, limit: TimeLimit) -> Outcome {
        let told = timeout_at(limit.end, outcome.wait_for(Option::is_some)).await;
        let (why, detail) = match told {
            Ok(Ok(outcome)) => match &*outcome {
                Some(outcome) => return outcome.clone(),
                None => (NoAnswer::Broken, String::new()), // does not happen: it was waited for
            },
            Ok(Err(_)) => (NoAnswer::Broken, "the runtime in which it was under way has ended".to_owned()),
            Err(_) => (NoAnswer::Timeout, limit.to_string()),
        };
        Err(Error::Transport { phase: Phase::Login, url: self.url.to_string(), why, cause: Cause::Other, detail })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn request_login(&self) -> Result<Login, Error> {
        let request = Request {
            phase: Phase::Login,
            method: Method::POST,
            url: self.url.clone(),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]),
            body: Some(self.credentials.document().map_err(|error| cannot_be_written(&error))?),
            expect: StatusCode::OK,
            limit: TimeLimit::from_now(self.request_timeout),
        };
        let answer = request.send(&self.http).await.map_err(|error| error.without(&self.credentials.api_key))?;
        let login = Login::read(&answer.json()?).map_err(|what| answer.bad(what))?;
        tracing::debug!("logged in at {}", self.url);
        Ok(login)
    }
}

impl State {
    /// Returns the running login; starts one if no login is running.
    fn join_or_start_login(&mut self, auth: &Arc<Auth>) -> watch::Receiver<Option<Outcome>> {
        // A login whose runtime has ended will never finish.
        if let Some(outcome) = self.running_login.as_ref().filter(|outcome| outcome.has_changed().is_ok()) {
            return outcome.clone();
        }
        let (tell, outcome) = watch::channel(None);
        self.running_login = Some(outcome.clone());
        tokio::spawn(run_login(auth.clone(), tell));
        outcome
    }
}

async fn run_login(auth: Arc<Auth>, tell: watch::Sender<Option<Outcome>>) {
    let outcome = auth.request_login().await.map(Arc::new);
    {
        let mut state = auth.lock();
        state.running_login = None;
        match &outcome {
            Ok(login) => state.login = Some(login.clone()),
            Err(error) => {
                tracing::debug!("not logged in: {error}");
                let pause = error.retry_after().unwrap_or_default().max(RENEW_AGAIN);
                state.renew_after = Some(Instant::now() + pause);
            }
        }
    }
    let _ = tell.send(Some(outcome)); // all waiting calls may be gone
}

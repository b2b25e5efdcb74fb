//! Sends calls: logs in if necessary, and repeats what may be repeated.

use std::sync::Arc;
use std::time::Duration;

use hyper::Method;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_NONE_MATCH};

use super::auth::Auth;
use super::connection::Http;
use super::login::Login;
use super::request::{Answer, Call, Request, TimeLimit};
use super::url::ApiUrl;
use crate::client::error::{Error, NoAnswer, Phase};

/// The way to one registry and account.
pub(crate) struct Transport {
    pub(crate) base: ApiUrl,
    pub(crate) http: Http,
    pub(crate) auth: Option<Arc<Auth>>,
    pub(crate) request_timeout: Duration,
}

impl Transport {
    /// Sends a call. Logs in first if necessary, and once again if the token is refused.
    pub(crate) async fn send(&self, call: Call<'_>) -> Result<Answer, Error> {
        let limit = TimeLimit::from_now(call.limit.unwrap_or(self.request_timeout) + call.wait);
        let Some(auth) = &self.auth else { return self.send_once(&call, None, limit).await };
        let login = auth.current(limit).await?;
        match self.send_once(&call, Some(&login), limit).await {
            Err(error) if error.status() == Some(401) => {
                let login = auth.renewed(&login, limit).await?;
                self.send_once(&call, Some(&login), limit).await
            }
            other => other,
        }
    }

    async fn send_once(&self, call: &Call<'_>, login: Option<&Login>, limit: TimeLimit) -> Result<Answer, Error> {
        let url = self.base.join(login.map(|login| login.tenant.as_str()), call.path, &call.query)?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(login) = login {
            headers.insert("x-auth-token", login.token.clone());
        }
        if let Some(known) = &call.known {
            headers.insert(IF_NONE_MATCH, known.clone());
        }
        let request = Request {
            phase: Phase::Call,
            method: call.method.clone(),
            url,
            headers,
            body: call.body.clone(),
            expect: call.expect,
            limit,
        };
        // Reading and replacing may be done twice, so a kept connection that has just been closed by the other side is
        // no reason to fail. The layer below repeats unsent requests; creating is left to the caller.
        let twice = matches!(request.method, Method::GET | Method::PUT);
        let answer = match request.send(&self.http).await {
            Err(Error::Transport { why: NoAnswer::Broken, .. }) if twice => request.send(&self.http).await,
            other => other,
        };
        let token = login.and_then(|login| login.token.to_str().ok());
        answer.map_err(|error| if let Some(token) = token { error.without(token) } else { error })
    }
}

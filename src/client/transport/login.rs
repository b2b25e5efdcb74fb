//! The login (a subset of Keystone v2.0): exchanges user name and API key for a token and its tenant.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use serde_json::Value;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::timestamp::until_timestamp;
use super::url::is_id;

/// A token is renewed when 10 % of its life is left, but not before the last five minutes.
const RENEW_BEFORE: Duration = Duration::from_secs(5 * 60);

/// The longest token, in bytes: servers accept heads of 8 kB and more.
const LONGEST_TOKEN: usize = 6 << 10;

/// The credentials. The key is overwritten in memory when it is dropped.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) api_key: Zeroizing<String>,
}

impl Credentials {
    /// The body of a login, at one place in memory, which is overwritten afterwards.
    pub(super) fn document(&self) -> serde_json::Result<Bytes> {
        /// In JSON, a byte takes at most six.
        const ESCAPED: usize = 6;
        let Self { username, api_key } = self;
        let key = BTreeMap::from([("apiKey", api_key.as_str()), ("username", username.as_str())]);
        let document = BTreeMap::from([("auth", BTreeMap::from([("RAX-KSKEY:apiKeyCredentials", key)]))]);
        // Allocated at full size: a vector that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(100 + ESCAPED * (username.len() + api_key.len())));
        serde_json::to_writer(&mut *body, &document)?;
        Ok(Bytes::from_owner(body))
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The result of a login.
pub(super) struct Login {
    pub(crate) token: HeaderValue,
    pub(crate) tenant: String,
    /// When to renew the token, and when it expires; none if the response does not say so.
    until: Option<(Instant, Instant)>,
}

impl Login {
    /// Reads the response to a login. The error says what is wrong with it.
    pub(super) fn read(document: &Value) -> Result<Self, &'static str> {
        let token = document.pointer("/access/token/id").and_then(Value::as_str).unwrap_or_default();
        let mut token = match HeaderValue::from_str(token) {
            Ok(token) if (1..=LONGEST_TOKEN).contains(&token.len()) => token,
            _ => return Err("holds no token at access.token.id"),
        };
        token.set_sensitive(true);
        let Some(tenant) = tenant(document) else {
            return Err("names no tenant, neither at access.token.tenant.id nor in the service catalog");
        };
        let expires = document.pointer("/access/token/expires").and_then(Value::as_str);
        // A time in the past shows that the clocks differ: then only a 401 of the registry counts.
        let until = expires.and_then(until_timestamp).and_then(|life| {
            let over = Instant::now().checked_add(life)?;
            Some((over.checked_sub(RENEW_BEFORE.min(life / 10))?, over))
        });
        Ok(Self { token, tenant, until })
    }

    pub(super) fn is_due(&self) -> bool {
        self.until.is_some_and(|(due, _)| Instant::now() >= due)
    }

    pub(super) fn is_over(&self) -> bool {
        self.until.is_some_and(|(_, over)| Instant::now() >= over)
    }
}

/// Returns the tenant of the token; if the response has none, the one in the URLs of the catalog.
fn tenant(document: &Value) -> Option<String> {
    let named = document.pointer("/access/token/tenant/id").and_then(text);
    named.or_else(|| {
        let catalog = document.pointer("/access/serviceCatalog")?.as_array()?;
        let is = |entry: &Value, key: &str, value: &str| entry[key].as_str() == Some(value);
        let mut servers =
            catalog.iter().filter(|entry| is(entry, "type", "compute") || is(entry, "name", "cloudServers"));
        servers.find_map(|entry| text(entry.pointer("/endpoints/0/tenantId")?))
    })
}

fn text(id: &Value) -> Option<String> {
    match id {
        Value::String(id) if is_id(id) => Some(id.clone()),
        Value::Number(id) => Some(id.to_string()),
        _ => None,
    }
}

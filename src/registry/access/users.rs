//! The users file: the users, their tenants, and the limits of tenants.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use super::password_hash::Secret;
use super::quotas::{Quotas, Rate};
use crate::files;
use crate::registry::Error;
use crate::registry::model::{Quota, TenantId};

/// The largest users file, in bytes. A user takes about two hundred.
const LARGEST: u64 = 64 << 20;

/// The largest tenant id: an original client reads it into 31 bits.
const MAX_TENANT: TenantId = 2_147_483_647;

/// The most keys that a user has at a time.
const MOST_KEYS: usize = 2;

/// The users that may log in.
#[derive(Clone, Debug, Default)]
pub struct Users {
    pub(super) users: Vec<User>,
    /// The limits of the tenants for which the file has some.
    pub(super) quotas: HashMap<TenantId, Quotas>,
}

/// A user.
#[derive(Clone)]
pub(super) struct User {
    pub(super) name: Arc<str>,
    pub(super) tenant: TenantId,
    /// The oldest first. None if the user has a password only.
    pub(super) api_keys: Vec<Arc<Secret>>,
    pub(super) password: Option<Arc<Secret>>,
    pub(super) role: Role,
    /// Whether the user may read the metrics of the registry, which are about all tenants.
    pub(super) reads_metrics: bool,
}

/// What a user may do in the tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Read, and nothing else.
    Read,
    /// Everything.
    #[default]
    Write,
}

impl User {
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Arc<Secret>> {
        self.api_keys.iter().chain(&self.password)
    }

    /// Takes over the secrets that have not changed, with what is known about them.
    pub(super) fn keep_secrets(&mut self, old: &Self) {
        for secret in self.api_keys.iter_mut().chain(&mut self.password) {
            if let Some(known) = old.secrets().find(|known| known.is_same_entry(secret)) {
                secret.clone_from(known);
            }
        }
    }
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of tenant {}", self.name, self.tenant)
    }
}

impl Users {
    /// Reads a users file.
    ///
    /// # Errors
    ///
    /// [`Error::Users`] if the file cannot be read, or is no users file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let in_file = |reason: String| Error::Users(format!("{}: {reason}", path.display()));
        let text = files::read_text(path, LARGEST).map_err(|error| in_file(error.to_string()))?;
        let users = Self::parse(&text).map_err(|error| match error {
            Error::Users(reason) => in_file(reason),
            other => other,
        })?;
        let has_plain = |user: &User| user.secrets().any(|secret| !secret.is_hash());
        if users.users.iter().any(has_plain) {
            let refused = |error: std::io::Error| in_file(format!("it has plain keys, and {error}"));
            files::refuse_public(&files::open(path).map_err(refused)?, path).map_err(refused)?;
        }
        Ok(users)
    }

    /// Reads the text of a users file:
    ///
    /// ```
    /// let users = service_registry::registry::Users::parse(r#"
    ///     [[user]]
    ///     name = "joe"
    ///     tenant = 7777
    ///     api_key = "secret"
    ///     limits = { session = 100, service = 200, configuration_value = 1000 }
    ///     rate = [{ path = "/.*", limit = 500000, period_seconds = 86400 }]
    /// "#)?;
    /// # Ok::<(), service_registry::registry::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Users`] if the text is no users file, or has no user in it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let file: File = toml::from_str(text).map_err(|error| {
            let format = "service-registry(1) describes the format (USERS FILE)";
            Error::Users(format!("{}; {format}", one_line(&error.to_string())))
        })?;
        if file.user.is_empty() {
            let cure = "add one for each user (service-registry hash-key makes hashes of keys)";
            return Err(Error::Users(format!("there is no [[user]] in it; {cure}")));
        }
        let mut users = Self::default();
        for entry in file.user {
            let name = entry.name.clone();
            users.add(entry).map_err(|reason| Error::Users(format!("user \"{name}\": {reason}")))?;
        }
        Ok(users)
    }

    fn add(&mut self, entry: Entry) -> Result<(), String> {
        if entry.name.is_empty() {
            return Err("name must not be empty".into());
        }
        if self.users.iter().any(|user| *user.name == *entry.name) {
            return Err("name is there twice; give each user one [[user]] section".into());
        }
        if !(1..=MAX_TENANT).contains(&entry.tenant) {
            return Err(format!("tenant must be a number from 1 to {MAX_TENANT}"));
        }
        let one = secret("api_key", entry.api_key, entry.api_key_hash)?;
        let api_keys = api_keys(one, entry.api_keys, entry.api_key_hashes)?;
        let password = secret("password", entry.password, entry.password_hash)?;
        if api_keys.is_empty() && password.is_none() {
            return Err("api_key is missing; give an api_key, an api_key_hash or a password".into());
        }
        if entry.limits.is_some() || entry.rate.is_some() {
            let quotas = quotas(entry.limits.unwrap_or_default(), entry.rate.unwrap_or_default())?;
            if self.quotas.insert(entry.tenant, quotas).is_some() {
                return Err(format!(
                    "limits of tenant {} are there twice; give them with one of its users",
                    entry.tenant
                ));
            }
        }
        let Entry { name, tenant, role, metrics: reads_metrics, .. } = entry;
        self.users.push(User { name: name.into(), tenant, api_keys, password, role, reads_metrics });
        Ok(())
    }
}

/// Reads a key or password, plain or hashed.
fn secret(field: &str, plain: Option<String>, hash: Option<String>) -> Result<Option<Arc<Secret>>, String> {
    let secret = match (plain, hash) {
        (Some(_), Some(_)) => return Err(format!("{field} and {field}_hash are both there; give one of them")),
        (Some(plain), None) if plain.is_empty() => return Err(format!("{field} must not be empty")),
        (Some(plain), None) => Some(Secret::plain(plain)),
        (None, Some(hash)) => Some(Secret::hash(hash).map_err(|why| format!("{field}_hash {why}"))?),
        (None, None) => None,
    };
    Ok(secret.map(Arc::new))
}

/// Reads the keys of a user: one, or while it is replaced two.
fn api_keys(
    one: Option<Arc<Secret>>,
    plain: Option<Vec<String>>,
    hashes: Option<Vec<String>>,
) -> Result<Vec<Arc<Secret>>, String> {
    let (field, plain, hashes) = match (one, plain, hashes) {
        (one, None, None) => return Ok(one.into_iter().collect()),
        (None, Some(plain), None) => ("api_keys", plain, Vec::new()),
        (None, None, Some(hashes)) => ("api_key_hashes", Vec::new(), hashes),
        _ => return Err("give one of api_key, api_key_hash, api_keys and api_key_hashes".into()),
    };
    if !(1..=MOST_KEYS).contains(&(plain.len() + hashes.len())) {
        return Err(format!("{field} must have one key, or while it is replaced two: the old one and the new one"));
    }
    let plain = plain.into_iter().map(|key| secret(field, Some(key), None));
    let hashes = hashes.into_iter().map(|hash| secret("api_key", None, Some(hash)));
    let keys = plain.chain(hashes).collect::<Result<Vec<_>, _>>()?;
    Ok(keys.into_iter().flatten().collect())
}

fn quotas(limits: QuotaEntries, rates: Vec<RateEntry>) -> Result<Quotas, String> {
    let default = Quota::default();
    let rates = rates.into_iter().map(|rate| {
        if rate.limit == 0 || rate.period_seconds == 0 {
            return Err(format!("rate of {}: limit and period_seconds must be at least 1", rate.path));
        }
        Rate::new(rate.path, rate.limit, rate.period_seconds).map_err(|error| format!("path of a rate: {error}"))
    });
    Ok(Quotas {
        records: Quota {
            session: limits.session.unwrap_or(default.session),
            service: limits.service.unwrap_or(default.service),
            configuration_value: limits.configuration_value.unwrap_or(default.configuration_value),
        },
        rates: rates.collect::<Result<_, _>>()?,
    })
}

/// Puts a message of the parser, which draws the place over several lines, into one line.
fn one_line(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains('|'));
    lines.collect::<Vec<_>>().join("; ")
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    user: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    tenant: TenantId,
    api_key: Option<String>,
    api_key_hash: Option<String>,
    api_keys: Option<Vec<String>>,
    api_key_hashes: Option<Vec<String>>,
    password: Option<String>,
    password_hash: Option<String>,
    #[serde(default)]
    role: Role,
    #[serde(default)]
    metrics: bool,
    limits: Option<QuotaEntries>,
    rate: Option<Vec<RateEntry>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuotaEntries {
    session: Option<u64>,
    service: Option<u64>,
    configuration_value: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateEntry {
    path: String,
    limit: u64,
    period_seconds: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> String {
        match Users::parse(text) {
            Err(Error::Users(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn missing_limits_have_large_defaults() {
        let users = Users::parse("[[user]]\nname='a'\ntenant=7\npassword='p'\nlimits={service=5}\n").unwrap();
        let quotas = &users.quotas[&7];
        assert_eq!((quotas.records.service, quotas.records.session, quotas.rates.len()), (5, 1_000_000, 0));
    }

    #[test]
    fn fault_of_the_users_file_is_one_line() {
        let joe = "[[user]]\nname='joe'\ntenant=7\napi_key='k'\n";
        assert_eq!(
            reason(&format!("{joe}{joe}")),
            "user \"joe\": name is there twice; give each user one [[user]] section"
        );
        assert_eq!(
            reason("[[user]]\nname='joe'\ntenant=7\n"),
            "user \"joe\": api_key is missing; give an api_key, an api_key_hash or a password"
        );
        assert_eq!(
            reason(&format!("{joe}api_key_hash='x'\n")),
            "user \"joe\": api_key and api_key_hash are both there; give one of them"
        );
        assert_eq!(
            reason(&format!("{joe}password_hash='hunter2'\n")),
            "user \"joe\": password_hash is no argon2id hash; make one with service-registry hash-key"
        );
        assert_eq!(reason(&joe.replace("'k'", "''")), "user \"joe\": api_key must not be empty");
        assert_eq!(reason(&joe.replace('7', "0")), "user \"joe\": tenant must be a number from 1 to 2147483647");
        let joe_with = |keys: &str| reason(&joe.replace("api_key='k'", keys));
        let number =
            "user \"joe\": api_keys must have one key, or while it is replaced two: the old one and the new one";
        assert_eq!(joe_with("api_keys=[]"), number);
        assert_eq!(joe_with("api_keys=['a','b','c']"), number);
        assert_eq!(joe_with("api_keys=['a','']"), "user \"joe\": api_keys must not be empty");
        assert_eq!(
            joe_with("api_keys=['a']\napi_key='a'"),
            "user \"joe\": give one of api_key, api_key_hash, api_keys and api_key_hashes"
        );
        assert_eq!(
            joe_with("api_key_hashes=['hunter2']"),
            "user \"joe\": api_key_hash is no argon2id hash; make one with service-registry hash-key"
        );
        assert!(reason(&format!("{joe}role='admin'\n")).contains("expected `read` or `write`"));
        assert!(reason(&format!("{joe}apikey='x'\n")).contains("unknown field `apikey`"));
        assert!(
            reason(&format!("{joe}rate=[{{path='(',limit=1,period_seconds=1}}]\n"))
                .starts_with("user \"joe\": path of a rate")
        );
        assert!(!reason("[[user]\n").contains('\n'));
    }

    #[test]
    fn secrets_are_not_printed() {
        let users = Users::parse("[[user]]\nname='a'\ntenant=7\npassword='hush'\napi_key='psst'\n").unwrap();
        let shown = format!("{users:?}");
        assert!(!shown.contains("hush") && !shown.contains("psst"), "{shown}");
    }
}

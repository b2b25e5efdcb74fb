//! Decides on logins, and on what a token allows.

use std::collections::HashMap;
use std::sync::Arc;

use super::password_hash;
use super::password_hash::Secret;
use super::quotas::Quotas;
use super::turns::Lane;
use super::users::{Role, User, Users};
use crate::registry::model::Now;
use crate::registry::model::TenantId;
use crate::registry::model::{Access, Keys};
use crate::registry::state::DomainError;

/// The tenant of every login to an open registry.
pub(super) const OPEN_TENANT: TenantId = 1;
/// The same, as it is written in paths.
pub(crate) const OPEN_TENANT_ID: &str = "1";

const TOKEN_LIFE_MS: u64 = 24 * 3_600_000;
/// The most that the clock may have been ahead when it issued a token, in milliseconds: those of nodes may be minutes
/// apart. A token from further in the future is void: it would be valid for that much longer.
const TOKEN_SKEW_MS: u64 = 15 * 60_000;

const NO_TENANT: &str = "No tenant id provided";
const NO_TOKEN: &str = "No authentication token provided";
const BAD_TOKEN: &str = "Invalid or expired authentication token";
/// One message for every wrong login: it does not reveal which names exist.
pub(crate) const BAD_LOGIN: &str = "Invalid user name, key or password";
/// One message for a login that was not checked.
pub(crate) const TOO_MANY_LOGINS: &str = "Too many failed logins; try again in a few seconds";

/// The users, and the rules by which they may log in.
#[derive(Debug)]
pub(crate) struct Authenticator {
    keys: Arc<Keys>,
    access: AccessRule,
    /// How often the users have been replaced.
    generation: u64,
    quotas: HashMap<TenantId, Arc<Quotas>>,
    default_quotas: Arc<Quotas>,
}

#[derive(Debug)]
enum AccessRule {
    /// An open registry: every login and every request.
    Open,
    /// The users of the users file.
    Listed(Listed),
}

#[derive(Debug, Default)]
struct Listed {
    by_name: HashMap<Arc<str>, Arc<User>>,
    /// By the numbers in their tokens, of which each key has its own.
    by_number: HashMap<u64, Arc<User>>,
    /// Every hash in the file, in order.
    hashes: Vec<Arc<Secret>>,
    /// The most hashes that a login may have to compare with.
    hashes_of_one: usize,
}

/// A successful login.
#[derive(Debug)]
pub(crate) struct Login {
    pub(crate) name: String,
    pub(crate) tenant: TenantId,
    pub(crate) token: String,
    /// In milliseconds since 1970.
    pub(crate) expires: u64,
    pub(crate) role: Role,
}

/// What the credentials of a request allow.
#[derive(Clone, Debug)]
pub(crate) struct Admission {
    pub(crate) tenant: TenantId,
    /// An open registry has no users.
    pub(crate) user: Option<Arc<str>>,
    pub(crate) role: Role,
}

/// The tenant and the token that a request names.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TenantClaim<'a> {
    /// The tenant in the header.
    pub(crate) header: Option<&'a str>,
    /// The tenant in the path.
    pub(crate) path: Option<&'a str>,
    pub(crate) token: Option<&'a str>,
}

impl Authenticator {
    pub(crate) fn new(keys: Arc<Keys>, users: Option<Users>) -> Self {
        let default_quotas = Arc::new(Quotas::default());
        let Some(Users { users, quotas }) = users else {
            return Self { keys, access: AccessRule::Open, generation: 0, quotas: HashMap::new(), default_quotas };
        };
        let mut listed = Listed::default();
        for user in users {
            let hashes: Vec<_> = user.secrets().filter(|secret| secret.is_hash()).cloned().collect();
            let of_keys = user.api_keys.iter().filter(|secret| secret.is_hash()).count();
            listed.hashes_of_one = listed.hashes_of_one.max(of_keys).max(usize::from(!hashes.is_empty()));
            listed.hashes.extend(hashes);
            let user = Arc::new(user);
            let of_key = |key: &Arc<Secret>| (number(&keys, &user, Some(key)), user.clone());
            listed.by_number.extend(user.api_keys.iter().map(of_key));
            listed.by_number.insert(number(&keys, &user, user.api_keys.last()), user.clone());
            listed.by_name.insert(user.name.clone(), user);
        }
        let quotas = quotas.into_iter().map(|(tenant, quotas)| (tenant, Arc::new(quotas))).collect();
        Self { keys, access: AccessRule::Listed(listed), generation: 0, quotas, default_quotas }
    }

    /// Returns the same with other users. An unchanged key keeps what is known about it, so that a new file does not
    /// make every next login slow.
    pub(crate) fn with(&self, mut users: Users) -> Self {
        if let AccessRule::Listed(old) = &self.access {
            for user in &mut users.users {
                if let Some(old) = old.by_name.get(&user.name) {
                    user.keep_secrets(old);
                }
            }
        }
        Self { generation: self.generation + 1, ..Self::new(self.keys.clone(), Some(users)) }
    }

    /// Returns a number that changes with the users: a login that was wrong may be right now.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    pub(crate) fn is_open(&self) -> bool {
        matches!(self.access, AccessRule::Open)
    }

    /// Returns the tenants of the users file.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        match &self.access {
            AccessRule::Open => vec![OPEN_TENANT],
            AccessRule::Listed(users) => users.by_name.values().map(|user| user.tenant).collect(),
        }
    }

    /// Returns a number that differs between different users files. It reveals nothing about them.
    #[cfg(feature = "etcd")]
    pub(crate) fn users_fingerprint(&self) -> String {
        let mut numbers: Vec<String> = match &self.access {
            AccessRule::Open => Vec::new(),
            AccessRule::Listed(users) => users.by_number.keys().map(|number| format!("{number:016x}")).collect(),
        };
        numbers.sort();
        let parts: Vec<&str> = numbers.iter().map(String::as_str).collect();
        format!("{:016x}", self.keys.fingerprint(&parts))
    }

    /// Returns the tenant of an account: of its number, or of a user's name; without either, that of an open registry.
    #[cfg(feature = "dns")]
    pub(crate) fn tenant_of(&self, account: Option<&str>) -> Option<TenantId> {
        match (&self.access, account) {
            (AccessRule::Open, None) => Some(OPEN_TENANT),
            (AccessRule::Listed(_), None) => None,
            (AccessRule::Open, Some(account)) => tenant_id(account),
            (AccessRule::Listed(users), Some(account)) => {
                tenant_id(account).or_else(|| users.by_name.get(account).map(|known| known.tenant))
            }
        }
    }

    /// Returns the limits of a tenant.
    pub(crate) fn quotas(&self, tenant: TenantId) -> &Arc<Quotas> {
        self.quotas.get(&tenant).unwrap_or(&self.default_quotas)
    }

    /// Decides whether a request may act for the tenant that it names.
    pub(crate) fn admit(&self, now: Now, claim: TenantClaim<'_>) -> Result<Admission, DomainError> {
        let named = claim.header.or(claim.path).ok_or(DomainError::Unauthorized(NO_TENANT))?;
        if claim.path.is_some_and(|path| path != named) {
            return Err(DomainError::Unauthorized(BAD_TOKEN));
        }
        let tenant = tenant_id(named);
        let allowed = match &self.access {
            AccessRule::Open => tenant.map(|tenant| Admission { tenant, user: None, role: Role::Write }),
            AccessRule::Listed(_) => {
                let token = claim.token.ok_or(DomainError::Unauthorized(NO_TOKEN))?;
                let owner = self.owner(now, token).map(|(user, ..)| user);
                owner.filter(|user| Some(user.tenant) == tenant).map(|user| Admission {
                    tenant: user.tenant,
                    user: Some(user.name.clone()),
                    role: user.role,
                })
            }
        };
        allowed.ok_or(DomainError::Unauthorized(BAD_TOKEN))
    }

    /// Returns the tenant of a token.
    pub(crate) fn tenant(&self, now: Now, token: &str) -> Option<TenantId> {
        self.owner(now, token).map(|(user, ..)| user.tenant)
    }

    /// Returns whether the user of a token may read the metrics.
    pub(crate) fn reads_metrics(&self, now: Now, token: &str) -> bool {
        self.owner(now, token).is_some_and(|(user, ..)| user.reads_metrics)
    }

    /// Returns the user of a token, and until when the token is valid.
    fn owner(&self, now: Now, token: &str) -> Option<(&Arc<User>, u64)> {
        let AccessRule::Listed(users) = &self.access else { return None };
        let access = Access::open(&self.keys, token, now.wall)?;
        if access.expires > now.wall + TOKEN_LIFE_MS + TOKEN_SKEW_MS {
            return None;
        }
        Some((users.by_number.get(&access.user)?, access.expires))
    }

    /// Logs in with a key, a password, or a token that is still valid. If that needs a hash, the login waits for it in
    /// this lane.
    pub(crate) async fn login(
        &self,
        now: Now,
        nonce: u64,
        credentials: &Credentials<'_>,
        lane: Lane,
    ) -> Result<Login, DomainError> {
        let AccessRule::Listed(users) = &self.access else { return Ok(self.open_login(now, nonce, credentials)) };
        let (user, token, expires) = match credentials.proof {
            Proof::Token(token) => {
                let (user, expires) = self.owner(now, token).ok_or(DomainError::Unauthorized(BAD_TOKEN))?;
                (user, token.to_owned(), expires)
            }
            Proof::ApiKey(given) | Proof::Password(given) => {
                let is_key = matches!(credentials.proof, Proof::ApiKey(_));
                let user = users.by_name.get(credentials.name);
                let secrets =
                    user.map_or(&[][..], |user| if is_key { &user.api_keys } else { user.password.as_slice() });
                let right = self.right_secret(users, credentials.name, secrets, given, lane).await?;
                let user = user.ok_or(DomainError::Unauthorized(BAD_LOGIN))?;
                // While a key is replaced, the tokens of passwords go with the new one, which will stay.
                let key = if is_key { Some(right) } else { user.api_keys.last() };
                let (expires, number) = (now.wall + TOKEN_LIFE_MS, number(&self.keys, user, key));
                (user, Access { expires, user: number }.seal(&self.keys, nonce), expires)
            }
        };
        if credentials.tenant.is_some_and(|tenant| tenant != user.tenant.to_string()) {
            return Err(DomainError::Unauthorized(BAD_LOGIN));
        }
        Ok(Login { name: user.name.to_string(), tenant: user.tenant, token, expires, role: user.role })
    }

    /// Returns which of a user's secrets was given. A wrong one costs as many hashes for every name.
    async fn right_secret<'a>(
        &self,
        users: &Listed,
        name: &str,
        secrets: &'a [Arc<Secret>],
        given: &str,
        lane: Lane,
    ) -> Result<&'a Arc<Secret>, DomainError> {
        if let Some(known) = secrets.iter().find(|secret| secret.is_at_once(&self.keys, given)) {
            return Ok(known);
        }
        let decoy = users.decoy(&self.keys, name);
        for number in 0..users.hashes_of_one {
            let secret = secrets.get(number);
            let is_right = password_hash::is_right(secret, decoy, self.keys.clone(), given, lane).await;
            let is_right = is_right.ok_or(DomainError::Busy(TOO_MANY_LOGINS))?;
            if let Some(right) = secret.filter(|_| is_right) {
                return Ok(right);
            }
        }
        Err(DomainError::Unauthorized(BAD_LOGIN))
    }

    /// Returns the login to an open registry, with a token that the registry will not ask for: clients expect one.
    fn open_login(&self, now: Now, nonce: u64, credentials: &Credentials<'_>) -> Login {
        let expires = now.wall + TOKEN_LIFE_MS;
        let token = Access { expires, user: 0 }.seal(&self.keys, nonce);
        Login { name: credentials.name.to_owned(), tenant: OPEN_TENANT, token, expires, role: Role::Write }
    }
}

impl Listed {
    /// Returns the hash to compute for a name without one. It is another user's hash, so that it costs as much,
    /// and always the same one for a name.
    fn decoy(&self, keys: &Keys, name: &str) -> Option<&Arc<Secret>> {
        let count = u64::try_from(self.hashes.len()).ok().filter(|count| *count > 0)?;
        self.hashes.get(usize::try_from(keys.fingerprint(&["decoy", name]) % count).ok()?)
    }
}

/// Returns the number in the tokens that a user gets for this key. Without the key, or in another tenant, there is no
/// such number, which voids the tokens.
fn number(keys: &Keys, user: &User, key: Option<&Arc<Secret>>) -> u64 {
    let [key, password] = [key, user.password.as_ref()].map(|secret| secret.map_or("", |secret| secret.raw()));
    keys.fingerprint(&[&user.name, &user.tenant.to_string(), key, password])
}

/// Parses a tenant id: decimal digits, 1 to 2147483647, without leading zeros.
fn tenant_id(text: &str) -> Option<TenantId> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|tenant| is_plain && i32::try_from(*tenant).is_ok())
}

/// The credentials of a login.
#[derive(Hash)]
pub(crate) struct Credentials<'a> {
    pub(crate) name: &'a str,
    pub(crate) tenant: Option<&'a str>,
    pub(crate) proof: Proof<'a>,
}

/// What shows that they are right.
#[derive(Hash)]
pub(crate) enum Proof<'a> {
    ApiKey(&'a str),
    Password(&'a str),
    Token(&'a str),
}

impl<'a> Credentials<'a> {
    /// Returns the name whose key or password is tried. A token cannot be guessed.
    pub(crate) fn tried(&self) -> Option<&'a str> {
        let is_token = matches!(self.proof, Proof::Token(_));
        (!is_token).then_some(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unknown_name_costs_a_hash_if_any_user_has_one() {
        let keys = Arc::new(Keys::random().unwrap());
        let now = Now { mono: 0, wall: 0 };
        let plain = "[[user]]\nname = 'joe'\ntenant = 7\napi_key = 'k'\n";
        let hashed =
            format!("[[user]]\nname='ann'\ntenant=8\napi_key_hash='{}'\n", password_hash::hash_key("anns").unwrap());
        for name in ["nobody", "joe"] {
            let authenticator =
                Authenticator::new(keys.clone(), Some(Users::parse(&format!("{plain}{hashed}")).unwrap()));
            let credentials = Credentials { name, tenant: None, proof: Proof::ApiKey("anns") };
            authenticator.login(now, 0, &credentials, Lane::Known).await.unwrap_err();
            let AccessRule::Listed(users) = &authenticator.access else { panic!() };
            assert!(users.hashes[0].is_at_once(&keys, "anns"), "{name}: it was not computed");
        }
        let authenticator = Authenticator::new(keys.clone(), Some(Users::parse(plain).unwrap()));
        let AccessRule::Listed(users) = &authenticator.access else { panic!() };
        assert!(users.decoy(&keys, "nobody").is_none(), "no work where all keys are plain");
    }

    #[test]
    fn decoy_has_a_users_cost_and_is_always_the_same() {
        let keys = Arc::new(Keys::random().unwrap());
        let user = |n: usize| {
            format!("[[user]]\nname='u{n}'\ntenant=8\npassword_hash='{}'\n", password_hash::hash_key("k").unwrap())
        };
        let authenticator =
            Authenticator::new(keys.clone(), Some(Users::parse(&(0..2).map(user).collect::<String>()).unwrap()));
        let AccessRule::Listed(users) = &authenticator.access else { panic!() };
        let decoy = |n: usize| users.decoy(&keys, &format!("nobody-{n}")).map(Arc::as_ptr);
        let all: std::collections::HashSet<_> = (0..64).map(decoy).collect();
        assert_eq!(all.len(), 2);
        assert!((0..64).all(|n| decoy(n) == decoy(n)));
    }
}

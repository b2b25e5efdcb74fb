//! A user's key or password: as it is, or as an argon2id hash of it.
//!
//! Checking against a hash takes tens of milliseconds and 19 MB, on purpose, and some clients log in before every
//! request. So what was right once is remembered, as a keyed hash under a key that never leaves the process. A secret
//! has one value that is right, so one place to remember it in is enough, and once it is filled a wrong value is known
//! to be wrong without the work.

use std::sync::{Arc, OnceLock};

use argon2::password_hash::{Ident, PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Argon2, Params};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::tokens::{Keys, same};

/// More memory than this is a mistake in the file, or a trap in it.
const MOST_MEMORY_KIB: u32 = 1 << 20;

/// One at a time: the other processors, and the memory, are for those who are in already.
static HASHING: Semaphore = Semaphore::const_new(1);

/// A key or password.
#[derive(Clone)]
pub(super) struct Secret {
    text: String,
    is_hash: bool,
    /// The keyed hash of what was right.
    right: OnceLock<[u8; 16]>,
}

impl Secret {
    pub(super) fn plain(text: String) -> Self {
        Self { text, is_hash: false, right: OnceLock::new() }
    }

    /// From a hash in PHC form, such as `$argon2id$v=19$m=19456,t=2,p=1$...`.
    pub(super) fn hash(text: String) -> Result<Self, &'static str> {
        const WRONG: &str = "is no argon2id hash; make one with service-registry hash-key";
        let hash = PasswordHash::new(&text).map_err(|_| WRONG)?;
        let params = Params::try_from(&hash).map_err(|_| WRONG)?;
        if hash.algorithm != argon2::ARGON2ID_IDENT || hash.salt.is_none() || hash.hash.is_none() {
            return Err(WRONG);
        }
        if params.m_cost() > MOST_MEMORY_KIB {
            return Err("asks for more than a gigabyte of memory at each login");
        }
        Ok(Self { text, is_hash: true, right: OnceLock::new() })
    }

    /// What stands in the users file.
    pub(super) fn as_written(&self) -> &str {
        &self.text
    }

    /// Whether this is what was given, if that can be said at once.
    fn is_at_once(&self, keys: &Keys, given: &str) -> Option<bool> {
        if self.is_hash {
            self.right.get().map(|right| same(right, &keys.of_secret(given)))
        } else {
            Some(same(self.text.as_bytes(), given.as_bytes()))
        }
    }

    fn is_by_hash(&self, keys: &Keys, given: &str) -> bool {
        let hash = PasswordHash::new(&self.text).ok();
        let is_right = hash.is_some_and(|hash| Argon2::default().verify_password(given.as_bytes(), &hash).is_ok());
        if is_right {
            let _ = self.right.set(keys.of_secret(given)); // by another login that was as right
        }
        is_right
    }

    /// Whether this is what was given. Hashes are computed elsewhere than on the event loop, one at a time.
    pub(super) async fn is(self: Arc<Self>, keys: Arc<Keys>, given: &str) -> bool {
        if let Some(verdict) = self.is_at_once(&keys, given) {
            return verdict;
        }
        let Ok(turn) = HASHING.acquire().await else { return false };
        if let Some(verdict) = self.is_at_once(&keys, given) {
            return verdict; // learnt while this one waited
        }
        let given = given.to_owned();
        let work = move || {
            let _turn = turn; // kept to the end of the work, even if who asked has gone
            self.is_by_hash(&keys, &given)
        };
        spawn_blocking(work).await.unwrap_or(false)
    }
}

/// A hash for the users file, with a salt of its own.
///
/// # Errors
///
/// What is wrong with the key, or the machine, in words.
pub fn hash_key(key: &str) -> Result<String, String> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| format!("no random numbers for a salt: {error}"))?;
    let salt = SaltString::encode_b64(&salt).map_err(|error| error.to_string())?;
    let ident: Option<Ident<'_>> = Some(argon2::ARGON2ID_IDENT);
    let argon2 = Argon2::default();
    let hash = argon2.hash_password_customized(key.as_bytes(), ident, None, Params::default(), &salt);
    hash.map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_knows_its_key_and_remembers_it() {
        let keys = Arc::new(Keys::random().unwrap());
        let hash = hash_key("open sesame").unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert_ne!(hash, hash_key("open sesame").unwrap(), "salted");
        let secret = Arc::new(Secret::hash(hash).unwrap());
        assert!(!secret.clone().is(keys.clone(), "open barley").await);
        assert_eq!(secret.is_at_once(&keys, "open sesame"), None, "nothing is learnt from what is wrong");
        assert!(secret.clone().is(keys.clone(), "open sesame").await);
        assert_eq!(secret.is_at_once(&keys, "open sesame"), Some(true));
        assert_eq!(secret.is_at_once(&keys, "open barley"), Some(false));
    }

    #[test]
    fn what_is_no_argon2id_hash_is_refused() {
        let hash = hash_key("k").unwrap();
        for wrong in ["", "k", "$1$abc", &hash.replace("argon2id", "argon2i"), &hash[..40], &hash.replace("t=2", "t=0")]
        {
            assert!(Secret::hash(wrong.to_owned()).is_err_and(|why| why.contains("hash-key")), "{wrong}");
        }
        let hungry = Secret::hash(hash.replace("m=19456", "m=4000000"));
        assert!(hungry.is_err_and(|why| why.contains("gigabyte")));
    }
}

//! A user's key or password: as it is, or as an argon2id hash of it.
//!
//! Checking against a hash takes tens of milliseconds and 19 MB, on purpose, and some clients log in before every
//! request. So what was right once is remembered, as a keyed hash under a key that never leaves the process. What is
//! wrong takes the work all the same, every time and whoever is named: else the time would tell who is known.

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

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret") // and not a letter of it
    }
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

    /// Whether this is known to be what was given, without any work.
    pub(super) fn is_at_once(&self, keys: &Keys, given: &str) -> bool {
        if self.is_hash {
            self.right.get().is_some_and(|right| same(right, &keys.of_secret(given)))
        } else {
            same(self.text.as_bytes(), given.as_bytes())
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

    pub(super) fn is_hash(&self) -> bool {
        self.is_hash
    }
}

/// Which hash is computed when what was given is not known to be right: the user's own, or else, where there is none,
/// a decoy's, whose verdict counts for nothing.
fn to_verify<'a>(secret: Option<&'a Arc<Secret>>, decoy: Option<&'a Arc<Secret>>) -> Option<&'a Arc<Secret>> {
    secret.filter(|secret| secret.is_hash).or(decoy)
}

/// Whether there is such a secret, and it is what was given. Hashes are computed elsewhere than on the event loop, one
/// at a time.
pub(super) async fn is_right(
    secret: Option<&Arc<Secret>>,
    decoy: Option<&Arc<Secret>>,
    keys: Arc<Keys>,
    given: &str,
) -> bool {
    let is_known = || secret.is_some_and(|secret| secret.is_at_once(&keys, given));
    if is_known() {
        return true;
    }
    let Some(hash) = to_verify(secret, decoy).cloned() else { return false };
    let Ok(turn) = HASHING.acquire().await else { return false };
    if is_known() {
        return true; // learnt while this one waited
    }
    let (given, of_secret) = (given.to_owned(), keys.clone());
    let work = move || {
        let _turn = turn; // kept to the end of the work, even if who asked has gone
        hash.is_by_hash(&of_secret, &given)
    };
    spawn_blocking(work).await.unwrap_or(false) && secret.is_some_and(|secret| secret.is_hash)
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
        assert!(!is_right(Some(&secret), None, keys.clone(), "open barley").await);
        assert!(!secret.is_at_once(&keys, "open sesame"), "nothing is learnt from what is wrong");
        assert!(is_right(Some(&secret), None, keys.clone(), "open sesame").await);
        assert!(secret.is_at_once(&keys, "open sesame") && !secret.is_at_once(&keys, "open barley"));
    }

    /// A hash that was computed has learnt what was right, so it shows whether it was.
    #[tokio::test]
    async fn whoever_is_named_a_hash_is_computed_and_only_its_own_user_comes_in() {
        let keys = Arc::new(Keys::random().unwrap());
        let plain = Arc::new(Secret::plain("open sesame".to_owned()));
        for secret in [None, Some(&plain)] {
            let decoy = Arc::new(Secret::hash(hash_key("a decoy's").unwrap()).unwrap());
            assert!(!is_right(secret, Some(&decoy), keys.clone(), "a decoy's").await);
            assert!(decoy.is_at_once(&keys, "a decoy's"), "{}: it was not computed", secret.is_some());
            assert!(!is_right(secret, Some(&decoy), keys.clone(), "a decoy's").await, "nor from then on");
            assert!(!is_right(secret, None, keys.clone(), "a decoy's").await);
        }
        assert!(is_right(Some(&plain), None, keys, "open sesame").await);
    }

    #[test]
    fn what_is_verified_is_a_hash_if_there_is_any() {
        let secret = |is_hash| Arc::new(Secret { is_hash, ..Secret::plain(String::new()) });
        let (plain, hash, decoy) = (secret(false), secret(true), secret(true));
        let verified = |secret, decoy, expected: Option<&Arc<Secret>>| {
            assert_eq!(to_verify(secret, decoy).map(Arc::as_ptr), expected.map(Arc::as_ptr));
        };
        verified(Some(&hash), Some(&decoy), Some(&hash));
        verified(Some(&hash), None, Some(&hash));
        verified(Some(&plain), Some(&decoy), Some(&decoy));
        verified(None, Some(&decoy), Some(&decoy));
        verified(Some(&plain), None, None);
        verified(None, None, None);
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

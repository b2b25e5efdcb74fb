//! A user's key or password, as plain text or as an argon2id hash.
//!
//! A check against a hash takes tens of milliseconds and 19 MB, by design, and some clients log in before every
//! request. So right credentials are remembered, as a keyed hash under a key that never leaves the process. Wrong ones
//! cost the work every time, whether the name exists or not: otherwise the time would reveal which names exist.
//!
//! One hash is computed at a time, in memory that is kept for the next: memory that is freed each time would stay with
//! the allocator, once for every thread that has computed a hash.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use argon2::password_hash::{Ident, PasswordHash, PasswordHasher, SaltString};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use tokio::task::spawn_blocking;

use super::turns::{Lane, Turns};
use crate::registry::model::Keys;
use crate::registry::model::heartbeat_token::same;

/// More memory than this is a mistake in the file, or an attack with it.
const MOST_MEMORY_KIB: u32 = 1 << 20;

/// One at a time: the other processors and the memory are for clients that have logged in.
static HASHING: Turns = Turns::new();

/// The memory for hashes, as large as the largest hash so far, up to the limit below.
static BLOCKS: Mutex<Vec<Block>> = Mutex::new(Vec::new());

/// Up to this much memory is kept. The allocator maps larger blocks separately, and returns them to the system.
const KEPT_KIB: usize = 32 << 10;

/// A key or password.
#[derive(Clone)]
pub(super) struct Secret {
    text: String,
    is_hash: bool,
    /// The keyed hash of the right credentials.
    right: OnceLock<[u8; 16]>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret") // without any part of the secret
    }
}

impl Secret {
    pub(super) fn plain(text: String) -> Self {
        Self { text, is_hash: false, right: OnceLock::new() }
    }

    /// Reads a hash in PHC form, such as `$argon2id$v=19$m=19456,t=2,p=1$...`.
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

    /// Returns whether both have the same text in the users file, in the same form.
    pub(super) fn is_same_entry(&self, other: &Self) -> bool {
        (&self.text, self.is_hash) == (&other.text, other.is_hash)
    }

    /// Returns the text in the users file.
    pub(super) fn raw(&self) -> &str {
        &self.text
    }

    /// Returns whether the credentials are known to be right, without any work.
    pub(super) fn is_at_once(&self, keys: &Keys, given: &str) -> bool {
        if self.is_hash {
            self.right.get().is_some_and(|right| same(right, &keys.of_secret(given)))
        } else {
            same(self.text.as_bytes(), given.as_bytes())
        }
    }

    fn is_by_hash(&self, keys: &Keys, given: &str) -> bool {
        let is_right = verify(&self.text, given).unwrap_or(false); // a text that is no hash was refused when the file was read
        if is_right {
            let _ = self.right.set(keys.of_secret(given)); // unless another login has set it
        }
        is_right
    }

    pub(super) fn is_hash(&self) -> bool {
        self.is_hash
    }
}

/// Returns the hash to compute for credentials that are not known to be right: the user's own or, for an unknown user,
/// a decoy, whose result is ignored.
fn to_verify<'a>(secret: Option<&'a Arc<Secret>>, decoy: Option<&'a Arc<Secret>>) -> Option<&'a Arc<Secret>> {
    secret.filter(|secret| secret.is_hash).or(decoy)
}

/// Returns whether the credentials match this hash.
fn verify(hash: &str, given: &str) -> argon2::password_hash::Result<bool> {
    let hash = PasswordHash::new(hash)?;
    let (Some(salt), Some(expected)) = (hash.salt, hash.hash) else { return Ok(false) };
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from)?;
    let params = Params::try_from(&hash)?;
    let count = params.block_count();
    let argon2 = Argon2::new(Algorithm::try_from(hash.algorithm)?, version, params);
    let (mut salt_bytes, mut computed) = ([0; 64], vec![0; expected.len()]);
    let salt = salt.decode_b64(&mut salt_bytes)?;
    let mut blocks = BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    if blocks.len() < count {
        *blocks = Vec::new(); // freed before a larger one is allocated
        *blocks = vec![Block::default(); count];
    }
    let done = argon2.hash_password_into_with_memory(given.as_bytes(), salt, &mut computed, &mut blocks[..count]);
    if blocks.len() > KEPT_KIB {
        *blocks = Vec::new();
    }
    Ok(done.map(|()| same(&computed, expected.as_bytes()))?)
}

/// Returns whether there is such a secret and the credentials match it. Hashes are computed outside of the event loop,
/// one at a time. Returns none if too many logins wait for that.
pub(super) async fn is_right(
    secret: Option<&Arc<Secret>>,
    decoy: Option<&Arc<Secret>>,
    keys: Arc<Keys>,
    given: &str,
    lane: Lane,
) -> Option<bool> {
    let is_known = || secret.is_some_and(|secret| secret.is_at_once(&keys, given));
    if is_known() {
        return Some(true);
    }
    let Some(hash) = to_verify(secret, decoy).cloned() else { return Some(false) };
    let turn = HASHING.take(lane).await?;
    if is_known() {
        return Some(true); // another login has found out in the meantime
    }
    let (given, of_secret) = (given.to_owned(), keys.clone());
    let work = move || {
        let _turn = turn; // kept to the end of the work, even if the client has gone
        hash.is_by_hash(&of_secret, &given)
    };
    Some(spawn_blocking(work).await.unwrap_or(false) && secret.is_some_and(|secret| secret.is_hash))
}

/// Returns a hash for the users file, with a random salt.
///
/// # Errors
///
/// The text says what is wrong with the key or the machine.
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

    async fn is_right(secret: Option<&Arc<Secret>>, decoy: Option<&Arc<Secret>>, keys: Arc<Keys>, given: &str) -> bool {
        super::is_right(secret, decoy, keys, given, Lane::Known).await.unwrap()
    }

    #[tokio::test]
    async fn right_key_is_remembered_after_its_hash() {
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
    async fn every_name_costs_a_hash_and_only_the_right_user_logs_in() {
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
    fn hash_is_computed_if_any_user_has_one() {
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

    /// In memory that other hashes were computed in.
    #[test]
    fn hashes_of_all_costs_and_versions_are_verified() {
        use argon2::PasswordVerifier;
        let mut all = Vec::new();
        for (memory, passes, lanes) in [(19_456, 2, 1), (64, 1, 1), (40_000, 1, 1), (512, 3, 4), (64, 2, 2)] {
            for version in [Version::V0x10, Version::V0x13] {
                let params = Params::new(memory, passes, lanes, None).unwrap();
                let salt = SaltString::encode_b64(b"sixteen bytes of").unwrap();
                let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
                all.push(argon2.hash_password(b"open sesame", &salt).unwrap().to_string());
            }
        }
        all.push(all[1].replace("v=19$", "")); // the version is a later addition to the form
        for hash in all.iter().chain(all.iter().rev()) {
            let parsed = PasswordHash::new(hash).unwrap();
            for given in ["open sesame", "open barley", ""] {
                let expected = Argon2::default().verify_password(given.as_bytes(), &parsed).is_ok();
                assert_eq!(
                    (verify(hash, given).unwrap(), expected),
                    (given == "open sesame", expected),
                    "{hash} {given}"
                );
                assert_eq!(verify(hash, given).unwrap(), expected);
            }
        }
        assert!(BLOCKS.lock().unwrap().len() <= KEPT_KIB);
    }

    #[test]
    fn invalid_argon2id_hash_is_refused() {
        let hash = hash_key("k").unwrap();
        for wrong in ["", "k", "$1$abc", &hash.replace("argon2id", "argon2i"), &hash[..40], &hash.replace("t=2", "t=0")]
        {
            assert!(Secret::hash(wrong.to_owned()).is_err_and(|why| why.contains("hash-key")), "{wrong}");
        }
        let hungry = Secret::hash(hash.replace("m=19456", "m=4000000"));
        assert!(hungry.is_err_and(|why| why.contains("gigabyte")));
    }
}

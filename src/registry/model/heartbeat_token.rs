//! The two kinds of tokens, and the keys that make them verifiable without a list of issued ones.
//!
//! Both carry a SipHash-2-4 under a secret 128-bit key: a keyed hash made for authenticating short messages, whose
//! 64 bits fit a UUID. A general MAC would be cut to those 61 bits anyway.

use std::sync::atomic::{AtomicU64, Ordering};

use siphasher::sip::SipHasher24;
use siphasher::sip128;

use super::ids::TenantId;
use super::uuid::Uuid1;

/// The longest timeout of a lease, in seconds.
const LONGEST_TIMEOUT: u8 = 120;

/// The keys of tokens. They suffice to make tokens.
pub(crate) struct Keys {
    heartbeat: [u8; 16],
    access: [u8; 16],
    /// The last millisecond in which a token was issued, and the number of tokens in it.
    issued: AtomicU64,
}

/// The most tokens of one millisecond that are told apart.
const MOST_A_MS: u64 = 83;

impl Keys {
    /// Returns a number that orders tokens of the same deadline, in milliseconds, by when they were issued: a longer
    /// `timeout` (seconds) shows an earlier time, and within a millisecond they are counted.
    pub(crate) fn order(&self, now_ms: u64, timeout: u8) -> u64 {
        let last = self.issued.load(Ordering::Relaxed);
        let number = if last >> 8 == now_ms { (last & 0xff).saturating_add(1).min(MOST_A_MS) } else { 0 };
        self.issued.store(now_ms << 8 | number, Ordering::Relaxed); // under the lock of the state
        u64::from(LONGEST_TIMEOUT.saturating_sub(timeout)) * (MOST_A_MS + 1) + number
    }

    /// Makes new keys, which void all tokens of other keys.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut keys = Self { heartbeat: [0; 16], access: [0; 16], issued: AtomicU64::new(0) };
        getrandom::fill(&mut keys.heartbeat)?;
        getrandom::fill(&mut keys.access)?;
        Ok(keys)
    }

    /// Returns the keys as they are stored.
    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.heartbeat);
        bytes[16..].copy_from_slice(&self.access);
        bytes
    }

    /// Reads stored keys; none if the bytes are no keys.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (heartbeat, access) = bytes.split_first_chunk()?;
        Some(Self { heartbeat: *heartbeat, access: access.try_into().ok()?, issued: AtomicU64::new(0) })
    }

    /// Returns the heartbeat token of a lease for a deadline: a version-1 UUID with that time, bound to tenant and
    /// lease.
    pub(crate) fn heartbeat_token(&self, ticks: u64, tenant: TenantId, incarnation: u64) -> Uuid1 {
        let mut message = [0; 20];
        message[..8].copy_from_slice(&ticks.to_le_bytes());
        message[8..12].copy_from_slice(&tenant.to_le_bytes());
        message[12..].copy_from_slice(&incarnation.to_le_bytes());
        Uuid1::new(ticks, SipHasher24::new_with_key(&self.heartbeat).hash(&message))
    }

    /// Returns a number for a user with these credentials. It reveals nothing about them.
    pub(crate) fn fingerprint(&self, parts: &[&str]) -> u64 {
        let mut message = Vec::new();
        for part in parts {
            message.extend_from_slice(&part.len().to_le_bytes());
            message.extend_from_slice(part.as_bytes());
        }
        sip128::SipHasher24::new_with_key(&self.access).hash(&message).h1
    }

    /// Returns a hash by which a key or password is recognised. It never leaves the process.
    pub(crate) fn of_secret(&self, secret: &str) -> [u8; 16] {
        let mut message = b"secret:".to_vec(); // no other hashed message begins with this
        message.extend_from_slice(secret.as_bytes());
        self.seal(&message)
    }

    fn seal(&self, message: &[u8]) -> [u8; 16] {
        sip128::SipHasher24::new_with_key(&self.access).hash(message).as_bytes()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys") // without any part of them
    }
}

/// The content of an access token, the result of a login.
///
/// It is sealed instead of remembered: some clients log in before every request, and a list of all tokens of
/// the last 24 hours would grow with their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// When it expires, in milliseconds since 1970.
    pub(crate) expires: u64,
    /// The fingerprint of its user: the token is void once the user or the credentials are gone.
    pub(crate) user: u64,
}

/// Bytes of an access token: expiry, user, 8 random ones, seal.
const MESSAGE: usize = 24;
const SEALED: usize = MESSAGE + 16;

impl Access {
    /// Makes a token with this content; `nonce` makes it differ from every other one.
    pub(crate) fn seal(self, keys: &Keys, nonce: u64) -> String {
        let mut token = [0; SEALED];
        token[..8].copy_from_slice(&self.expires.to_be_bytes());
        token[8..16].copy_from_slice(&self.user.to_be_bytes());
        token[16..MESSAGE].copy_from_slice(&nonce.to_be_bytes());
        let seal = keys.seal(&token[..MESSAGE]);
        token[MESSAGE..].copy_from_slice(&seal);
        let mut text = String::with_capacity(2 * SEALED);
        for byte in token {
            text.extend([byte >> 4, byte & 0xf].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('0')));
        }
        text
    }

    /// Returns the content of a token, if it was sealed with these keys and has not expired.
    pub(crate) fn open(keys: &Keys, text: &str, now: u64) -> Option<Self> {
        let token = bytes_of_hex(text)?;
        let (message, seal) = token.split_first_chunk::<MESSAGE>()?;
        if !same(seal, &keys.seal(message)) {
            return None;
        }
        let number = |at: usize| message[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        let access = Self { expires: number(0)?, user: number(8)? };
        (now < access.expires).then_some(access)
    }
}

fn bytes_of_hex(text: &str) -> Option<[u8; SEALED]> {
    let digits: &[u8; 2 * SEALED] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; SEALED];
    for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
        for &digit in pair {
            *byte = *byte << 4 | u8::try_from(char::from(digit).to_digit(16)?).ok()?;
        }
    }
    Some(bytes)
}

/// Compares two secrets in a time that does not reveal how far they agree.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heartbeat_token_is_bound_to_time_tenant_and_holder() {
        let keys = Keys::random().unwrap();
        let token = keys.heartbeat_token(1_000, 7, 42);
        assert_eq!(token, keys.heartbeat_token(1_000, 7, 42));
        assert_eq!(token.ticks(), 1_000);
        let others = [
            keys.heartbeat_token(1_001, 7, 42),
            keys.heartbeat_token(1_000, 8, 42),
            keys.heartbeat_token(1_000, 7, 43),
        ];
        let foreign = Keys::random().unwrap().heartbeat_token(1_000, 7, 42);
        assert!(others.iter().chain([&foreign]).all(|other| *other != token));
    }

    #[test]
    fn access_token_is_valid_unchanged_until_it_expires() {
        let keys = Keys::random().unwrap();
        let access = Access { expires: 5_000, user: 99 };
        let token = access.seal(&keys, 1);
        assert_ne!(token, access.seal(&keys, 2));
        assert_eq!(Access::open(&keys, &token, 4_999), Some(access));
        assert_eq!(Access::open(&keys, &token, 5_000), None);
        assert_eq!(Access::open(&Keys::random().unwrap(), &token, 0), None);
        assert_eq!(Access::open(&keys, &token[1..], 0), None);
        for at in 0..token.len() {
            let digit = if &token[at..=at] == "0" { "1" } else { "0" };
            let altered = format!("{}{digit}{}", &token[..at], &token[at + 1..]);
            assert_eq!(Access::open(&keys, &altered, 0), None, "digit {at}");
        }
    }

    #[test]
    fn fingerprint_differs_for_shifted_fields() {
        let keys = Keys::random().unwrap();
        assert_ne!(keys.fingerprint(&["ab", "c"]), keys.fingerprint(&["a", "bc"]));
        assert_eq!(keys.fingerprint(&["ab", "c"]), keys.fingerprint(&["ab", "c"]));
    }
}

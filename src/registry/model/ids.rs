//! The ids of tenants and sessions.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

/// A tenant. Everything that an account has belongs to its tenant, and tenants are separate.
pub(crate) type TenantId = u32;

/// `se` and 8 letters or digits. Stored inline: every heartbeat searches a million of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionId([u8; 10]);

/// The order of their bytes. All start the same, and the rest compares as one number: a search in a million of them is
/// a large part of a heartbeat.
impl Ord for SessionId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.number().cmp(&other.number())
    }
}

impl PartialOrd for SessionId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for SessionId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.number());
    }
}

impl SessionId {
    fn number(self) -> u64 {
        let [_, _, rest @ ..] = self.0;
        u64::from_be_bytes(rest)
    }

    /// Makes an id; `random` returns each of the 8 characters.
    pub(crate) fn random(mut random: impl FnMut() -> char) -> Self {
        let mut id = *b"se00000000";
        for place in &mut id[2..] {
            *place = u8::try_from(random()).unwrap_or(b'0');
        }
        Self(id)
    }

    /// Returns the id with this text, if it can be one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let id = Self(text.as_bytes().try_into().ok()?);
        (id.0.starts_with(b"se") && id.0.iter().all(u8::is_ascii_alphanumeric)).then_some(id)
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default() // it is ASCII
    }
}

impl Borrow<[u8]> for SessionId {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

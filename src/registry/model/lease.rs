//! A lease: it must be renewed by a heartbeat in time, or it expires.
//!
//! A token carries the deadline that it stands for, and can be verified without having been stored. The newest one and
//! the one before are accepted: a client that lost a response sends the token that it has, and gets the same response.

use super::heartbeat_token::Keys;
use super::ids::TenantId;
use super::time::Now;
#[cfg(feature = "etcd")]
use super::time::Owner;
use super::uuid::{Uuid1, ticks_in};

/// There was no heartbeat yet. No time has this bit.
const UNCONFIRMED: u64 = 1 << 63;
/// Marks the previous token as one that another process has issued, or this one before a restart. No ticks have this
/// bit.
const FOREIGN: u64 = 1 << 63;

/// The lease of a session or a service. None of it is stored, except its incarnation: heartbeats cost no write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lease {
    /// Distinguishes it from an earlier lease of the same id. Tokens are bound to it.
    pub(crate) incarnation: u64,
    /// Wall time of the last heartbeat, or with [`UNCONFIRMED`] of its creation; 0 if neither is known, as after a
    /// restart.
    pub(crate) heard: u64,
    /// When it expires, on the monotonic scale.
    pub(crate) deadline: u64,
    /// The deadline of its entry in the queue; never later than its own.
    pub(crate) queued_deadline: u64,
    /// The time in the newest token, in ticks; 0 if it is unknown, as after a restart.
    pub(crate) latest: u64,
    /// The time in the token before, perhaps with [`FOREIGN`], until the newest has been used; otherwise 0.
    pub(crate) previous: u64,
}

/// What the record of a lease does not contain. With it, a lease goes on in another process.
#[cfg(feature = "etcd")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LeaseState {
    pub(crate) tenant: TenantId,
    pub(crate) owner: Owner,
    /// Until its deadline, in milliseconds. Not a time: the clocks of two processes differ.
    pub(crate) left: u64,
    /// These three are those of [`Lease`].
    pub(crate) heard: u64,
    pub(crate) latest: u64,
    pub(crate) previous: u64,
}

impl Lease {
    /// Makes a lease that must be renewed within `timeout` seconds, and its first token.
    pub(crate) fn new(now: Now, keys: &Keys, tenant: TenantId, timeout: u8) -> (Self, Uuid1) {
        let mut lease = Self::restored(fastrand::u64(..));
        lease.heard = now.wall | UNCONFIRMED;
        lease.restart(now, timeout);
        let token = lease.issue_token(now, keys, tenant, timeout);
        (lease, token)
    }

    /// Makes a lease of which only the incarnation is known, as it is read from the store.
    pub(crate) fn restored(incarnation: u64) -> Self {
        Self { incarnation, heard: 0, deadline: 0, queued_deadline: 0, latest: 0, previous: 0 }
    }

    pub(crate) fn last_seen(&self) -> Option<u64> {
        (self.heard != 0 && self.heard & UNCONFIRMED == 0).then_some(self.heard)
    }

    /// Returns when its holder was last heard: its last heartbeat, or its creation.
    pub(crate) fn last_heard(&self) -> Option<u64> {
        (self.heard != 0).then_some(self.heard & !UNCONFIRMED)
    }

    /// Gives it its whole timeout, as after a restart. The caller must queue it.
    pub(crate) fn restart(&mut self, now: Now, timeout: u8) {
        self.set_deadline(now, timeout);
        self.queued_deadline = self.deadline;
    }

    /// Returns whether a heartbeat with this token renews it.
    ///
    /// If the newest token is unknown, the first one that comes may be an old one: of a heartbeat that was held up on
    /// its way, and that its client has sent again since. So the client's own, which is newer, counts as well.
    pub(crate) fn accepts(&self, keys: &Keys, tenant: TenantId, token: Uuid1) -> bool {
        let (ticks, previous) = (token.ticks(), self.previous & !FOREIGN);
        let is_newer = self.previous != previous && ticks > previous;
        let is_current = self.latest == 0 || [previous, self.latest].contains(&ticks) || is_newer;
        is_current && keys.heartbeat_token(token.ticks(), tenant, self.incarnation) == token
    }

    /// Renews it, and returns the next token; none if the token is not accepted.
    pub(crate) fn renew(
        &mut self,
        now: Now,
        keys: &Keys,
        tenant: TenantId,
        timeout: u8,
        token: Uuid1,
    ) -> Option<Uuid1> {
        if !self.accepts(keys, tenant, token) {
            return None;
        }
        self.set_deadline(now, timeout);
        let next = if token.ticks() == self.previous & !FOREIGN {
            self.token(keys, tenant) // the response to the last heartbeat was lost
        } else {
            let is_own = token.ticks() == self.latest;
            self.previous = if is_own { token.ticks() } else { token.ticks() | FOREIGN };
            self.issue_token(now, keys, tenant, timeout)
        };
        self.heard = now.wall;
        Some(next)
    }

    /// Returns the newest token.
    pub(crate) fn token(&self, keys: &Keys, tenant: TenantId) -> Uuid1 {
        keys.heartbeat_token(self.latest, tenant, self.incarnation)
    }

    /// Returns the deadline of a further entry in the queue, if it needs one: a deadline moves up only after the
    /// timeout was lowered; otherwise the entry that is there is early enough.
    #[must_use = "the entry would be missing from the queue"]
    pub(crate) fn take_earlier_deadline(&mut self) -> Option<u64> {
        let is_earlier = self.deadline < self.queued_deadline;
        is_earlier.then(|| {
            self.queued_deadline = self.deadline;
            self.queued_deadline
        })
    }

    fn set_deadline(&mut self, now: Now, timeout: u8) {
        self.deadline = now.mono + u64::from(timeout) * 1000;
    }

    fn issue_token(&mut self, now: Now, keys: &Keys, tenant: TenantId, timeout: u8) -> Uuid1 {
        let deadline = now.wall + u64::from(timeout) * 1000;
        let mut low = keys.order(now.wall, timeout);
        while self.previous & !FOREIGN == ticks_in(deadline, low) {
            low += 1; // more heartbeats in one millisecond than are told apart
        }
        self.latest = ticks_in(deadline, low);
        self.token(keys, tenant)
    }
}

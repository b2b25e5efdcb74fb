//! The sessions of a tenant: found by hash, listed by id.
//!
//! Every heartbeat finds one; lists are rare. In a tree of a million, a search waits for memory a dozen times, under
//! the lock; the hash waits once or twice.

use std::collections::BTreeSet;
use std::ops::Bound;

use rustc_hash::FxHashMap;

use super::ids::SessionId;
use super::records::Session;

#[derive(Debug, Default)]
pub(crate) struct SessionTable {
    /// Ids are random and made here, so no client can choose them so that they collide.
    by_id: FxHashMap<SessionId, Session>,
    order: BTreeSet<SessionId>,
}

impl SessionTable {
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn contains(&self, id: SessionId) -> bool {
        self.by_id.contains_key(&id)
    }

    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        self.order.remove(&id);
        self.by_id.remove(&id)
    }

    /// Adds a session whose id is free, and returns it.
    pub(crate) fn add(&mut self, id: SessionId, session: Session) -> &Session {
        self.order.insert(id);
        self.by_id.entry(id).or_insert(session)
    }

    /// Iterates in the order of the ids' bytes, from this one on.
    pub(crate) fn from(&self, id: &[u8]) -> impl Iterator<Item = (&SessionId, &Session)> {
        let range = self.order.range::<[u8], _>((Bound::Included(id), Bound::Unbounded));
        range.filter_map(|id| self.by_id.get_key_value(id))
    }
}

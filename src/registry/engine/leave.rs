//! The end of an engine whose data goes to another process.

use std::sync::PoisonError;

use super::{Engine, Wait};
use crate::registry::model::LeaseState;
use crate::registry::state::State;

impl Engine {
    /// Waits until all changes are durable, and returns what is known about the leases. No request may be under way.
    /// None if the changes could not be stored.
    pub(in crate::registry) async fn finish(&self) -> Option<Vec<LeaseState>> {
        let now = self.now();
        self.change(Wait::All, None, |state: &mut State| state.lease_states(now)).await
    }

    /// Accepts no more changes, and ends the waits of requests. Does not wait for the commit thread, which may wait for
    /// the network.
    pub(in crate::registry) fn leave(&self) {
        self.has_left.send_replace(true);
        self.shared.lock().store.close();
        self.shared.submitted.notify_one();
        drop(self.commit_thread.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

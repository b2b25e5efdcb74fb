//! Whether changes can be stored, and how much there is.

use std::time::Duration;

use tokio::time::timeout;

use super::shared::{Inner, Store};
use super::{Engine, Wait};
use crate::registry::state::{Sizes, State};

/// A commit that takes longer is a disk that hangs.
const SLOWEST_COMMIT: Duration = Duration::from_secs(5);

impl Engine {
    /// Returns why no change can be stored; none if changes can be, as far as is known without one. After a failure it
    /// stores a record again to find out: otherwise a balancer that sends no more requests would never learn that the
    /// disk is well again.
    pub(crate) async fn storage_fault(&self) -> Option<String> {
        if let Some(fault) = self.known_fault() {
            return Some(fault);
        }
        let is_failing = self.shared.lock().store.is_failing();
        if !is_failing {
            return None;
        }
        let stored = timeout(SLOWEST_COMMIT, self.change(Wait::Own, None, State::store_again)).await;
        if stored.is_ok_and(|stored| stored.is_some()) {
            return None;
        }
        Some(self.known_fault().unwrap_or_else(|| "the store refuses changes; the log has the reason".to_owned()))
    }

    fn known_fault(&self) -> Option<String> {
        let Inner { store: Store::Durable(queue), .. } = &*self.shared.lock() else { return None };
        if queue.ended {
            return Some("changes are refused until the registry is started again; the log has the reason".to_owned());
        }
        let since = queue.in_flight_since?.elapsed();
        (since > SLOWEST_COMMIT).then(|| format!("the store has not answered for {} seconds", since.as_secs()))
    }

    pub(crate) fn sizes(&self) -> Sizes {
        self.shared.lock().state.sizes()
    }
}

//! The state directory: the session of the wrapper that ran before with the same id, and the lock that tells which
//! process uses the directory.

mod previous_session;
mod state_lock;

pub(super) use previous_session::PreviousSession;

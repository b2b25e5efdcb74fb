//! The state directory: the session of the wrapper that ran before with the same id, and the lock that says who uses the directory.

mod previous_session;
mod state_lock;

pub(super) use previous_session::PreviousSession;

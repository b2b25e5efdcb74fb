//! The state directory: the session of the wrapper that ran before with the same id, the lock that tells which process
//! uses the directory, and a maintenance that was not ended.

mod maintenance;
mod previous_session;
mod state_lock;

pub(crate) use maintenance::MaintenanceFile;
pub(super) use previous_session::PreviousSession;

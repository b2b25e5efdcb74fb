//! Keeps the wrapper's secrets from other processes of its user, the child among them.

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, rlim_t, setrlimit};
use tracing::warn;

/// Limits core dumps of the wrapper, which would hold its API key, to nothing. Returns the limit that the child gets
/// back, in bytes; none if the limit could not be changed.
pub(super) fn forbid_core_dumps() -> Option<rlim_t> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_CORE).ok()?;
    setrlimit(Resource::RLIMIT_CORE, 0, hard).ok()?;
    Some(soft)
}

/// Makes a wrapper with secrets not dumpable: the kernel then gives its /proc/PID to root, and lets no process of its
/// user trace it or read its memory. Exec undoes this for the child. Logs a protection that does not work.
pub(super) fn check(core_limit: Option<rlim_t>, holds_secrets: bool) {
    if core_limit.is_none() {
        warn!("core dumps cannot be limited: one of the wrapper would hold its API key");
    }
    if holds_secrets && let Err(error) = set_dumpable(false) {
        warn!("other processes of this user can read the wrapper's memory, and its secrets: {}", error.desc());
    }
}

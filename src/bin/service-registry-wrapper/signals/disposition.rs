//! Which signals the wrapper was started with ignored (`nohup`, a background job of a script).

use nix::libc;

/// Whether this signal is ignored. The wrapper changes no disposition but that of SIGCHLD (see `signals`), so this is what
/// it was started with.
#[expect(unsafe_code, reason = "nix has no way to ask for a disposition without setting one")]
pub(crate) fn ignored(signal: i32) -> bool {
    // SAFETY: a null action only asks; the answer is written to a struct that lives long enough. Zero is a valid one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

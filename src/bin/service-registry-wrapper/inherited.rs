//! Which signals the wrapper was started with ignored (`nohup`, a background job of a script).
//!
//! The Rust runtime ignores SIGPIPE before `main`, so this must be looked at earlier: the loader calls what stands in
//! `.init_array` before the runtime starts. The child gets back exactly what the wrapper was given.

use std::sync::atomic::{AtomicU64, Ordering};

use nix::libc;

/// Bit n-1: signal n was ignored.
static IGNORED: AtomicU64 = AtomicU64::new(0);

/// The signals whose disposition somebody may care about: those that others commonly ignore for a program, and
/// those that a runtime touches.
const WATCHED: [i32; 8] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGPIPE,
    libc::SIGTERM,
    libc::SIGCHLD,
    libc::SIGUSR1,
    libc::SIGUSR2,
];

#[expect(unsafe_code, reason = "the only way to run before the Rust runtime does")]
#[used]
// SAFETY: `look` has the signature that the loader expects of an entry, and uses nothing that needs a runtime.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let ignored = WATCHED.into_iter().filter(|&signal| is_ignored_now(signal)).fold(0, |set, n| set | 1 << (n - 1));
    IGNORED.store(ignored, Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "nix has no way to ask for a disposition without setting one")]
fn is_ignored_now(signal: i32) -> bool {
    // SAFETY: a null action only asks; the answer is written to a struct that lives long enough. Zero is a valid one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0 && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether the wrapper was started with this signal ignored.
pub(crate) fn ignored(signal: i32) -> bool {
    (1..=64).contains(&signal) && IGNORED.load(Ordering::Relaxed) & (1 << (signal - 1)) != 0
}

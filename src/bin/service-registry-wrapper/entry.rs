//! The way in, straight from the C library.
//!
//! The Rust runtime would ignore SIGPIPE, open what is closed of stdin, stdout and stderr for the child too, and read the
//! map of the program's memory to guard its stack. The child is to find everything as the wrapper did, and the rest is time.

use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::os::unix::ffi::OsStrExt;

use anyhow::anyhow;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;

use crate::cli::LogFormat;
use crate::exit::{self, Failure};

/// What the C library calls.
#[expect(unsafe_code, reason = "the C library looks it up by this name")]
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, values: *const *const c_char) -> c_int {
    let status = if no_gap_below_stderr() {
        crate::live_by(arguments(count, values))
    } else {
        let why = anyhow!("one of stdin, stdout and stderr is closed, and there is no /dev/null to put in its place");
        Failure::from(why).report(LogFormat::Text)
    };
    exit::now(status)
}

#[expect(unsafe_code, reason = "the C library hands over pointers")]
fn arguments(count: c_int, values: *const *const c_char) -> Vec<OsString> {
    let text = |index| {
        // SAFETY: the C library gives so many pointers to strings that end with a zero byte and are never changed.
        let bytes = unsafe { CStr::from_ptr(*values.add(index)) }.to_bytes();
        OsStr::from_bytes(bytes).to_owned()
    };
    (0..usize::try_from(count).unwrap_or_default()).map(text).collect()
}

/// Whatever is opened while one of the first three descriptors is closed takes its place, and what is said on stderr goes
/// there. So nothing is put there, which the child does not inherit.
#[expect(unsafe_code, reason = "nix cannot ask after a descriptor that may be closed")]
fn no_gap_below_stderr() -> bool {
    (0..=2).all(|number| {
        // SAFETY: fcntl takes numbers.
        let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
        is_open || open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(std::mem::forget).is_ok()
    })
}

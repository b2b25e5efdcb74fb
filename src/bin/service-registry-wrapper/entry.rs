//! The entry of the program, called by the C library.
//!
//! The Rust runtime's own entry ignores SIGPIPE, opens closed ones of stdin, stdout and stderr (the child would inherit
//! both), and reads the map of the program's memory to guard its stack, which takes 6 % of the wrapper's start.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use anyhow::anyhow;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;
use service_registry::connection::Secret;

use crate::exit;
use crate::exit::{Ending, Failure};
use crate::options::{API_KEY, LogFormat};

/// Replaces each byte of a key.
const NO_KEY: u8 = b'x';

#[expect(unsafe_code, reason = "the C library looks it up by this name")]
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, values: *const *mut c_char, environment: *const *mut c_char) -> c_int {
    let ending = if fill_closed_descriptors() {
        let count = usize::try_from(count).unwrap_or_default();
        let key = take_key(environment);
        let arguments = (0..count).map(|index| OsStr::from_bytes(string(values, index)).to_owned()).collect();
        let run = || crate::run(arguments, key, |key, options| hide_key(values, options, key));
        // The panic hook has logged the panic, or the default one has, if the log was not set up yet.
        catch_unwind(AssertUnwindSafe(run)).unwrap_or(Ending::Status(exit::WRAPPER_FAILED))
    } else {
        let error = anyhow!("one of stdin, stdout and stderr is closed, and there is no /dev/null to replace it");
        Failure::from(error).report(LogFormat::Text)
    };
    ending.end()
}

#[expect(unsafe_code, reason = "the C library hands over pointers")]
fn string<'a>(strings: *const *mut c_char, index: usize) -> &'a [u8] {
    // SAFETY: the C library passes an array of at least `index + 1` pointers to strings that end with a zero byte and
    // live as long as the process. Only `overwrite` changes them, and it is called while no result of this function is
    // in use.
    unsafe { CStr::from_ptr(*strings.add(index)) }.to_bytes()
}

/// Overwrites a string from this byte on.
///
/// The kernel shows the original strings of a process as its environment and arguments (`/proc/PID/environ`, `ps`) for
/// as long as it lives. Removing a variable only changes the list of pointers.
#[expect(unsafe_code, reason = "no library changes these strings themselves")]
fn overwrite(strings: *const *mut c_char, index: usize, from: usize) {
    let length = string(strings, index).len();
    // SAFETY: the string has `length` bytes, may be written to (C11, 5.1.2.2.1), and is not read now: there is one
    // thread.
    unsafe { (*strings.add(index)).add(from).write_bytes(NO_KEY, length - from) };
}

/// Takes the API key out of the environment that the process was started with. Other text of the same length replaces
/// it, so that the variable still counts as given.
#[expect(unsafe_code, reason = "the C library hands over pointers")]
fn take_key(environment: *const *mut c_char) -> Option<Secret> {
    let mut key = None;
    // SAFETY: the array ends with a null.
    let count = (0..).take_while(|&index| !unsafe { *environment.add(index) }.is_null()).count();
    for index in 0..count {
        let value = string(environment, index).strip_prefix(API_KEY.as_bytes());
        let value = value.and_then(|value| value.strip_prefix(b"="));
        // A value that is not UTF-8 is reported with the options.
        let Some(Ok(value)) = value.map(std::str::from_utf8) else { continue };
        key = key.or_else(|| Some(Arc::new(value.to_owned().into())));
        overwrite(environment, index, API_KEY.len() + 1);
    }
    key
}

/// Overwrites the key in the first `options` arguments, which are the wrapper's own.
fn hide_key(values: *const *mut c_char, options: usize, key: &str) {
    for index in 1..options {
        let value = string(values, index);
        if value == key.as_bytes() || value.strip_prefix(b"--api-key=") == Some(key.as_bytes()) {
            overwrite(values, index, value.len() - key.len());
        }
    }
}

/// Opens /dev/null, close-on-exec, for each of stdin, stdout and stderr that is closed. Otherwise the next file that is
/// opened would take its number, and log lines would be written into it.
#[expect(unsafe_code, reason = "nix cannot query a descriptor that may be closed")]
fn fill_closed_descriptors() -> bool {
    (0..=2).all(|number| {
        // SAFETY: fcntl takes numbers.
        let is_open = unsafe { libc::fcntl(number, libc::F_GETFD) } >= 0;
        is_open || open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map(std::mem::forget).is_ok()
    })
}

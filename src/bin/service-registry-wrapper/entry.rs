//! The way in, straight from the C library.
//!
//! The Rust runtime would ignore SIGPIPE, open what is closed of stdin, stdout and stderr for the child too, and read the
//! map of the program's memory to guard its stack. The child is to find everything as the wrapper did, and the rest is time.

use std::ffi::{CStr, OsStr, c_char, c_int};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use anyhow::anyhow;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;

use crate::exit;
use crate::exit::Failure;
use crate::options::{API_KEY, LogFormat};
use crate::registration::Secret;

/// What is put in the place of a key.
const NO_KEY: u8 = b'x';

/// What the C library calls.
#[expect(unsafe_code, reason = "the C library looks it up by this name")]
#[unsafe(no_mangle)]
extern "C" fn main(count: c_int, values: *const *mut c_char, environment: *const *mut c_char) -> c_int {
    let status = if no_gap_below_stderr() {
        let count = usize::try_from(count).unwrap_or_default();
        let key = take_key(environment);
        let arguments = (0..count).map(|index| OsStr::from_bytes(string(values, index)).to_owned()).collect();
        crate::live_by(arguments, key, |key, options| hide_key(values, options, key))
    } else {
        let why = anyhow!("one of stdin, stdout and stderr is closed, and there is no /dev/null to put in its place");
        Failure::from(why).report(LogFormat::Text)
    };
    exit::now(status)
}

#[expect(unsafe_code, reason = "the C library hands over pointers")]
fn string<'a>(strings: *const *mut c_char, index: usize) -> &'a [u8] {
    // SAFETY: the C library gives an array of so many pointers to strings that end with a zero byte and live as long as the
    // process. They are changed by `overwrite` alone, which is called while nobody holds what this returns.
    unsafe { CStr::from_ptr(*strings.add(index)) }.to_bytes()
}

/// Overwrites the end of a string from this byte on.
///
/// The system shows the first strings of a process as its environment and arguments (`/proc/PID/environ`, `ps`) for as long
/// as it lives; to remove a variable changes the list of pointers, and leaves the string where it is.
#[expect(unsafe_code, reason = "no library changes these strings themselves")]
fn overwrite(strings: *const *mut c_char, index: usize, from: usize) {
    let length = string(strings, index).len();
    // SAFETY: the string has so many bytes, may be written to (C11, 5.1.2.2.1), and is read by nobody now: there is one thread.
    unsafe { (*strings.add(index)).add(from).write_bytes(NO_KEY, length - from) };
}

/// Takes the API key out of the environment that the process was started with. There stands as much other text then, so that
/// whoever looks for the variable finds one.
#[expect(unsafe_code, reason = "the C library hands over pointers")]
fn take_key(environment: *const *mut c_char) -> Option<Secret> {
    let mut key = None;
    // SAFETY: the array ends with a null.
    let count = (0..).take_while(|&index| !unsafe { *environment.add(index) }.is_null()).count();
    for index in 0..count {
        let value = string(environment, index).strip_prefix(API_KEY.as_bytes());
        let value = value.and_then(|value| value.strip_prefix(b"="));
        // What is no text is no key, and will be complained of.
        let Some(Ok(value)) = value.map(std::str::from_utf8) else { continue };
        key = key.or_else(|| Some(Arc::new(value.to_owned().into())));
        overwrite(environment, index, API_KEY.len() + 1);
    }
    key
}

/// Overwrites the key in the arguments, of which so many are options of the wrapper's own.
fn hide_key(values: *const *mut c_char, options: usize, key: &str) {
    for index in 1..options {
        let value = string(values, index);
        if value == key.as_bytes() || value.strip_prefix(b"--api-key=") == Some(key.as_bytes()) {
            overwrite(values, index, value.len() - key.len());
        }
    }
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

//! Closes the descriptors that the wrapper inherited, once the child has them.
//!
//! The reader of a pipe sees its end when the last writer closes it, and a socket from systemd belongs to the child. So
//! the wrapper keeps none of the descriptors that it was started with, except stderr for its log lines.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, RawFd};

use anyhow::{Result, ensure};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};

/// The descriptors that the event loop opens; without them it panics.
const EVENT_LOOP: u64 = 6;

/// Checks that the wrapper can open enough descriptors above `first`, the first one that it has opened.
pub(crate) fn check_fd_limit(first: &impl AsRawFd) -> Result<()> {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    let first = u64::try_from(first.as_raw_fd()).unwrap_or_default();
    let wanted = first + 13; // with those of the registration
    ensure!(
        first + EVENT_LOOP < limit,
        "only {limit} files may be open at a time; raise the limit (ulimit -n, LimitNOFILE=) to {wanted} or more"
    );
    Ok(())
}

/// Closes the inherited descriptors: those without close-on-exec, with which the wrapper opens all of its own.
#[expect(unsafe_code, reason = "these descriptors were never opened by this program, so nothing owns them")]
pub(crate) fn close_inherited() {
    for number in open_numbers() {
        // SAFETY: fcntl and close take numbers. A descriptor of the wrapper's own is never closed here, see above.
        unsafe {
            let flags = libc::fcntl(number, libc::F_GETFD);
            if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(number);
            }
        }
    }
    empty(&[0, 1]);
}

/// Closes everything except one descriptor, in a copy of this process that uses nothing else of it.
#[expect(unsafe_code, reason = "what these descriptors belong to is not used in that process")]
pub(super) fn close_all_but(kept: RawFd) {
    for number in open_numbers().filter(|&number| number != kept) {
        // SAFETY: close takes a number.
        unsafe { libc::close(number) };
    }
    empty(&[0, 1, 2]);
}

/// The open descriptors above stderr.
fn open_numbers() -> impl Iterator<Item = RawFd> {
    let numbers: Vec<_> = match fs::read_dir("/proc/self/fd") {
        Ok(open) => open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (0..1024).collect(), // without /proc: the default limit
    };
    numbers.into_iter().filter(|&number| number > 2)
}

/// Opens /dev/null in place of these descriptors.
#[expect(unsafe_code, reason = "stdin, stdout and stderr belong to the process")]
fn empty(numbers: &[RawFd]) {
    let Ok(nothing) = File::options().read(true).write(true).open("/dev/null") else { return };
    for &number in numbers {
        // SAFETY: dup2 takes numbers.
        unsafe { libc::dup2(nothing.as_raw_fd(), number) };
    }
}

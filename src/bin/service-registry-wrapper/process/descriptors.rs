//! What the wrapper lets go of once the child has it.
//!
//! A pipe ends for its reader when the last writer closes it, and a socket that systemd passed on is the child's alone. So
//! the wrapper keeps no descriptor that it was started with, but for stderr, which it speaks on.

use std::fs::{self, File};
use std::os::fd::AsRawFd;

use anyhow::{Result, ensure};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit};

/// What the event loop opens, which takes it ill when it cannot.
const LEAST: u64 = 6;

/// Sees to it that the wrapper can open what it cannot do without, above the first descriptor that it has opened.
pub(crate) fn check_fd_limit(first: &impl AsRawFd) -> Result<()> {
    let Ok((limit, _)) = getrlimit(Resource::RLIMIT_NOFILE) else { return Ok(()) };
    let first = u64::try_from(first.as_raw_fd()).unwrap_or_default();
    let wanted = first + 13; // so that registering finds some as well
    ensure!(
        first + LEAST < limit,
        "only {limit} files may be open at a time; raise the limit (ulimit -n, LimitNOFILE=) to {wanted} or more"
    );
    Ok(())
}

/// Closes what was inherited. All that the wrapper opens itself is close-on-exec; what is not came from outside.
#[expect(unsafe_code, reason = "these descriptors were never opened by this program, so nothing owns them")]
pub(crate) fn close_inherited() {
    let numbers: Vec<i32> = match fs::read_dir("/proc/self/fd") {
        Ok(open) => open.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect(),
        Err(_) => (0..1024).collect(), // without /proc: as many as may be open by default
    };
    for number in numbers.into_iter().filter(|&number| number > 2) {
        // SAFETY: fcntl and close take numbers. A descriptor of the wrapper's own is never closed here, see above.
        unsafe {
            let flags = libc::fcntl(number, libc::F_GETFD);
            if flags >= 0 && flags & libc::FD_CLOEXEC == 0 {
                libc::close(number);
            }
        }
    }
    let Ok(nothing) = File::options().read(true).write(true).open("/dev/null") else { return };
    for number in [0, 1] {
        // SAFETY: dup2 takes numbers; stdin and stdout stay open, on something that nobody waits for.
        unsafe { libc::dup2(nothing.as_raw_fd(), number) };
    }
}

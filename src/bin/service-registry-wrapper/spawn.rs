//! Starting the child: with the wrapper's own stdin, stdout, stderr, working directory and environment (less the
//! wrapper's credentials), and with the signal state that the wrapper was started with.
//!
//! `std::process::Command` would do, but for three things: it runs what has no known format in a shell, it needs `fork`
//! as soon as anything is to be done before exec, and that costs a fifth of a wrapper's whole start (page tables are
//! copied to be thrown away), and it cannot put the child's own process id into its environment. So this does what the C
//! library's `posix_spawn` does: the child borrows the wrapper's memory, which waits, until it has called exec.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use anyhow::{Context, anyhow};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

use crate::exit::{self, Failure};
use crate::{cli, inherited};

/// Enough for a handful of system calls; their wrappers in the C library need a few hundred bytes.
const STACK: usize = 16 * 1024;

/// Starts the program that was found at this place. Returns its process id.
pub(crate) fn spawn(program: &Path, command: &[OsString], mask: SigSet) -> Result<libc::pid_t, Failure> {
    let path = CString::new(program.as_os_str().as_bytes()).context("the command's name has a zero byte in it")?;
    let arguments: Result<Vec<_>, _> = command.iter().map(|argument| CString::new(argument.as_bytes())).collect();
    let image = Image {
        path,
        arguments: Pointers::to(arguments.context("an argument has a zero byte in it")?),
        environment: Pointers::to(environment()),
        mask,
        sigpipe: disposition(Signal::SIGPIPE),
        sigchld: disposition(Signal::SIGCHLD),
    };
    image.start().map_err(|error| {
        let cure = match error {
            Errno::ENOEXEC => "; a script needs a first line such as #!/bin/sh",
            Errno::ENOENT => "; its interpreter (in a script the first line says which) is missing",
            _ => "",
        };
        Failure::new(exit::NOT_EXECUTABLE, anyhow!("{}: cannot be executed: {}{cure}", program.display(), error.desc()))
    })
}

fn environment() -> Vec<CString> {
    let kept = std::env::vars_os().filter(|(name, _)| !cli::CREDENTIALS.iter().any(|secret| name == secret));
    kept.filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok()).collect()
}

/// What the wrapper was given, for the signals whose disposition it or its runtime changed.
fn disposition(of: Signal) -> SigHandler {
    if inherited::ignored(of as i32) { SigHandler::SigIgn } else { SigHandler::SigDfl }
}

/// Everything the child needs, made before it exists: it may not allocate.
struct Image {
    path: CString,
    arguments: Pointers,
    environment: Pointers,
    mask: SigSet,
    sigpipe: SigHandler,
    sigchld: SigHandler,
}

/// Strings, and the array of pointers to them that ends with a null, as exec wants it.
struct Pointers {
    pointers: Vec<*const libc::c_char>,
    _strings: Vec<CString>,
}

impl Pointers {
    fn to(strings: Vec<CString>) -> Self {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _strings: strings }
    }
}

impl Image {
    #[expect(unsafe_code, reason = "the child shares the memory of the wrapper until it has called exec")]
    fn start(&self) -> Result<libc::pid_t, Errno> {
        let mut stack = vec![0; STACK];
        let mut error = None;
        let child = Box::new(|| {
            error = Some(self.become_it());
            127 // nobody looks at it
        });
        // SAFETY: CLONE_VFORK holds the wrapper's only thread that uses this memory until the child has called exec or
        // ended, so the borrowed stack, strings and `error` outlive it. The child makes only system calls, every signal
        // is blocked in it, and without CLONE_SIGHAND the dispositions it sets are its own.
        let pid =
            unsafe { clone(child, &mut stack, CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK, Some(libc::SIGCHLD)) };
        let pid = pid?.as_raw();
        match error {
            None => Ok(pid),
            Some(error) => {
                // SAFETY: waitpid may be told not to write the status. The child has ended or is about to.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                Err(error)
            }
        }
    }

    /// What the child does. Returns only when it failed.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    fn become_it(&self) -> Errno {
        // SAFETY: no handler is installed; the pointers are to strings that live as long as `self`, and end with null.
        unsafe {
            let restored = signal(Signal::SIGPIPE, self.sigpipe)
                .and_then(|_| signal(Signal::SIGCHLD, self.sigchld))
                // Last: a signal that waits acts from here on.
                .and_then(|_| sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None));
            if let Err(error) = restored {
                return error;
            }
            libc::execve(self.path.as_ptr(), self.arguments.pointers.as_ptr(), self.environment.pointers.as_ptr());
        }
        Errno::last()
    }
}

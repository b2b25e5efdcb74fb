//! Starting the child: with the wrapper's own stdin, stdout, stderr, working directory and environment (less the
//! wrapper's credentials), and with the signal state that the wrapper was started with.
//!
//! `std::process::Command` would do, but for three things: it runs what has no known format in a shell, it needs `fork`
//! as soon as anything is to be done before exec, and that costs a tenth of a wrapper's whole start (page tables are
//! copied to be thrown away), and it cannot put the child's own process id into its environment. So this does what the C
//! library's `posix_spawn` does: the child borrows the wrapper's memory, which waits, until it has called exec.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use anyhow::{Context, anyhow};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::resource::rlim_t;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};

use crate::exit;
use crate::exit::Failure;
use crate::options::CREDENTIALS;
use crate::options::ChildConfig;

/// Enough for a handful of system calls; their wrappers in the C library need a few hundred bytes.
const STACK: usize = 16 * 1024;

/// What a child is started with beside its command.
pub(crate) struct SpawnContext<'a> {
    /// The signals that were blocked when the wrapper was started.
    pub mask: SigSet,
    /// What it was started with.
    pub sigchld: SigHandler,
    /// How large its core dumps may have been, in bytes; none if that was not changed.
    pub core_limit: Option<rlim_t>,
    pub child_config: &'a ChildConfig,
    /// Whether it leads a process group of its own.
    pub own_group: bool,
    /// The terminal whose foreground it gets.
    pub foreground: Option<RawFd>,
    /// Where the child's notifications for systemd go, if there is a systemd to notify.
    pub notify_socket: Option<&'a OsStr>,
    /// Whether the wrapper hosts a registry when it finds none.
    pub may_host: bool,
}

/// Starts the program that was found at this place. Returns its process id.
pub(crate) fn spawn(program: &Path, command: &[OsString], with: &SpawnContext<'_>) -> Result<libc::pid_t, Failure> {
    let path = CString::new(program.as_os_str().as_bytes()).context("the command's name has a zero byte in it")?;
    let arguments: Result<Vec<_>, _> = command.iter().map(|argument| CString::new(argument.as_bytes())).collect();
    let image = ExecImage {
        path,
        arguments: Pointers::to(arguments.context("an argument has a zero byte in it")?),
        environment: environment(with.notify_socket),
        own_group: with.own_group,
        foreground: with.foreground,
        scheduling: lost_by_fork(),
        parent_death_signal: with.child_config.parent_death_signal,
        parent: std::process::id().cast_signed(),
        mask: with.mask,
        core_limit: with.core_limit,
        sigchld: with.sigchld,
    };
    let started = image.start().map_err(|error| {
        // Not given up for the child's sake: with so few processes allowed, the child's own next thread would fail instead.
        let taken =
            if with.may_host { ", or name a registry with --registry-url: hosting one takes a thread" } else { "" };
        anyhow!("cannot start a process: {}; see ulimit -u{taken}", error.desc())
    })?;
    started.map_err(|(step, error)| {
        if let Some(step) = step {
            return anyhow!("{step}: {}; a filter of system calls may forbid it", error.desc()).into();
        }
        let cure = match error {
            Errno::ENOEXEC => "; a script needs a first line such as #!/bin/sh",
            Errno::ENOENT => "; its interpreter (in a script the first line says which) is missing",
            _ => "",
        };
        Failure::new(exit::NOT_EXECUTABLE, anyhow!("{}: cannot be executed: {}{cure}", program.display(), error.desc()))
    })
}

/// The wrapper's own, less its credentials. Where systemd names the wrapper, it is to name the child, whose number is
/// not known yet: room is left for it.
fn environment(notify_socket: Option<&OsStr>) -> Environment {
    let wrapper = std::process::id().to_string();
    let mut own_pid = Vec::new();
    let mut strings = Vec::new();
    // systemd knows the wrapper's process in another way as well; the child's it may not contradict.
    let is_for_wrapper = std::env::var_os("LISTEN_PID").is_some_and(|pid| *pid == *wrapper);
    let is_withheld =
        |name: &OsStr| CREDENTIALS.iter().any(|secret| name == *secret) || (is_for_wrapper && name == "LISTEN_PIDFDID");
    for (name, value) in std::env::vars_os().filter(|(name, _)| !is_withheld(name)) {
        let value = match notify_socket {
            Some(ours) if name == "NOTIFY_SOCKET" => ours.to_owned(),
            _ => value,
        };
        let is_own_pid = OWN_PID.iter().any(|variable| name == *variable) && *value == *wrapper;
        let value = if is_own_pid { ROOM.as_ref() } else { value.as_bytes() };
        if let Ok(string) = CString::new([name.as_bytes(), b"=", value].concat()) {
            if is_own_pid {
                own_pid.push((strings.len(), name.len() + 1));
            }
            strings.push(string.into_bytes_with_nul());
        }
    }
    Environment { strings, own_pid }
}

/// The wrapper's scheduling if it is of the kind that a fork resets (SCHED_RESET_ON_FORK), which an exec would not have done.
#[expect(unsafe_code, reason = "the C library has no function for this")]
fn lost_by_fork() -> Option<libc::sched_attr> {
    const SIZE: libc::c_uint = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: zero is a valid value of each field, and the kernel writes no more than the size that it is given.
    let (read, own) = unsafe {
        let mut own: libc::sched_attr = std::mem::zeroed();
        (libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, SIZE, 0), own)
    };
    (read == 0 && own.sched_flags & libc::SCHED_FLAG_RESET_ON_FORK as u64 != 0).then_some(own)
}

/// What systemd says about the process that it has started, which compares it with its own number.
const OWN_PID: [&str; 3] = ["LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"];

/// Longer than any process id.
const ROOM: [u8; 10] = *b"0000000000";

/// Strings of an environment, some of which end with a number that only the child knows.
struct Environment {
    /// Each with the zero that ends it.
    strings: Vec<Vec<u8>>,
    /// Which string, and where in it the number stands.
    own_pid: Vec<(usize, usize)>,
}

/// Everything the child needs, made before it exists: it may not allocate.
struct ExecImage {
    path: CString,
    arguments: Pointers,
    environment: Environment,
    own_group: bool,
    /// The terminal to take over.
    foreground: Option<RawFd>,
    /// What else a new process would not have.
    scheduling: Option<libc::sched_attr>,
    parent_death_signal: i32,
    parent: libc::pid_t,
    mask: SigSet,
    core_limit: Option<rlim_t>,
    sigchld: SigHandler,
}

/// What could not be done before the program was there to be executed; none if it could not be executed itself.
type Step = Option<&'static str>;

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

impl ExecImage {
    /// Outside, that there is a process; inside, that it runs the program.
    #[expect(unsafe_code, reason = "the child shares the memory of the wrapper until it has called exec")]
    fn start(mut self) -> Result<Result<libc::pid_t, (Step, Errno)>, Errno> {
        let strings = self.environment.strings.iter();
        let environment: Vec<_> = strings.map(|string| string.as_ptr().cast()).chain([ptr::null()]).collect();
        let mut stack = vec![0; STACK];
        let mut error = None;
        let child = Box::new(|| {
            error = Some(self.exec_in_child(&environment));
            127 // nobody looks at it
        });
        // SAFETY: CLONE_VFORK holds the wrapper's only thread that uses this memory until the child has called exec or
        // ended, so the borrowed stack, strings and `error` outlive it. The child makes only system calls, every signal
        // is blocked in it, and without CLONE_SIGHAND the dispositions it sets are its own.
        let pid =
            unsafe { clone(child, &mut stack, CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK, Some(libc::SIGCHLD)) };
        let pid = pid?.as_raw();
        match error {
            None => Ok(Ok(pid)),
            Some(error) => {
                // SAFETY: waitpid may be told not to write the status. The child has ended or is about to.
                unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
                Ok(Err(error))
            }
        }
    }

    /// What the child does. Returns only when it failed.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    fn exec_in_child(&mut self, environment: &[*const libc::c_char]) -> (Step, Errno) {
        // SAFETY: getpid cannot fail. The C library's copy of the number would be the wrapper's in a shared memory, but
        // it keeps none.
        let own = unsafe { libc::getpid() };
        for &(string, place) in &self.environment.own_pid {
            write_number(&mut self.environment.strings[string][place..place + ROOM.len()], own);
        }
        if let Err((step, error)) = self.setup_child(own) {
            return (Some(step), error);
        }
        // SAFETY: the pointers are to strings that live as long as `self`, and both arrays end with a null.
        unsafe { libc::execve(self.path.as_ptr(), self.arguments.pointers.as_ptr(), environment.as_ptr()) };
        (None, Errno::last())
    }

    /// Group, terminal, tie to the wrapper, signals.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    fn setup_child(&self, own: libc::pid_t) -> Result<(), (&'static str, Errno)> {
        let cannot = |step| move |error| (step, error);
        // SAFETY: system calls with numbers for arguments; no handler is installed.
        unsafe {
            if self.own_group {
                Errno::result(libc::setpgid(0, 0)).map_err(cannot("cannot make a process group"))?;
            }
            if let Some(terminal) = self.foreground {
                // SIGTTOU is blocked, so a background process may do this. A terminal that is gone is no reason to fail.
                libc::tcsetpgrp(terminal, own);
            }
            if let Some(scheduling) = &self.scheduling {
                libc::syscall(libc::SYS_sched_setattr, 0, scheduling, 0); // without the right to it there is no cure
            }
            if self.parent_death_signal != 0 {
                let tied = Errno::result(libc::prctl(libc::PR_SET_PDEATHSIG, self.parent_death_signal));
                tied.map_err(cannot("cannot tie the command to the wrapper"))?;
                // Seen from a pid namespace that begins with the child, its parent is 0.
                if ![self.parent, 0].contains(&libc::getppid()) {
                    return Err(("the wrapper died before the tie held", Errno::ESRCH)); // nobody is left to hear this
                }
            }
            if let Some(limit) = self.core_limit {
                let mut core: libc::rlimit = std::mem::zeroed();
                let read = Errno::result(libc::getrlimit(libc::RLIMIT_CORE, &mut core));
                core.rlim_cur = limit;
                let set = read.and_then(|_| Errno::result(libc::setrlimit(libc::RLIMIT_CORE, &core)));
                set.map_err(cannot("cannot give the limit on core dumps back"))?;
            }
            signal(Signal::SIGCHLD, self.sigchld).map_err(cannot("cannot give SIGCHLD back"))?;
            // Last: a signal that waits acts from here on.
            let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&self.mask), None);
            unblocked.map_err(cannot("cannot give the blocked signals back"))
        }
    }
}

/// In decimal, the rest of the place filled with zeros (the ends of strings).
fn write_number(place: &mut [u8], number: libc::pid_t) {
    let mut rest = number.unsigned_abs();
    let digits = rest.checked_ilog10().unwrap_or(0) as usize + 1;
    for (index, byte) in place.iter_mut().enumerate().rev() {
        if index < digits {
            *byte = b'0' + (rest % 10) as u8;
            rest /= 10;
        } else {
            *byte = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_from_the_left() {
        for (number, text) in [(1, "1"), (10, "10"), (4_194_304, "4194304"), (i32::MAX, "2147483647")] {
            let mut place = ROOM;
            write_number(&mut place, number);
            assert_eq!(place.split(|&b| b == 0).next().unwrap(), text.as_bytes());
            assert!(place[text.len()..].iter().all(|&byte| byte == 0));
        }
    }
}

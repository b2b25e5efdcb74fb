//! Starts the child with the wrapper's own stdin, stdout, stderr and working directory, and with the signal state that
//! the wrapper was started with.
//!
//! `std::process::Command` is not used for three reasons. It runs files of an unknown format in a shell, programs for
//! another processor included. It needs `fork` as soon as something must be done before exec, which takes 10 % of the
//! wrapper's start. And it cannot put the child's own process id into its environment. So the child borrows the
//! wrapper's memory until it has called exec, while the wrapper waits, as in the C library's `posix_spawn`. It reports
//! an error through a pipe that exec closes, and not through that memory: emulators such as qemu-user give the child a
//! copy.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use anyhow::{Context, anyhow};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sched::{CloneFlags, clone};
use nix::sys::resource::rlim_t;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal, sigprocmask};
use nix::unistd::pipe2;

use super::environment::Environment;
use super::watchdog::introduce;
use crate::exit::{self, Failure};

/// The shell that runs scripts without `#!`.
const SHELL: &CStr = c"/bin/sh";

/// In bytes. A handful of system calls need a few hundred.
const STACK: usize = 16 * 1024;

/// The signal state that the wrapper was started with, changed for itself, and restores in the child.
pub(crate) struct Inherited {
    /// The blocked signals.
    pub mask: SigSet,
    pub sigchld: SigHandler,
    /// The soft limit on core dumps in bytes; none if the wrapper did not change it.
    pub core_limit: Option<rlim_t>,
}

/// The settings of a start, besides the command.
pub(crate) struct SpawnContext<'a> {
    pub inherited: &'a Inherited,
    /// The signal that the child gets when the wrapper is killed; 0 for none.
    pub parent_death_signal: i32,
    /// The child leads a process group of its own.
    pub own_group: bool,
    /// The terminal whose foreground the child gets.
    pub foreground: Option<RawFd>,
    /// The child's NOTIFY_SOCKET, if it is not the wrapper's own.
    pub notify_socket: Option<&'a OsStr>,
    /// Descriptors of the wrapper, and the numbers that they have in the child.
    pub descriptors: &'a [(RawFd, RawFd)],
    /// The process that LISTEN_PID and the like name, if it is not the started one.
    pub named_process: Option<libc::pid_t>,
    /// The socket on which the child makes itself known to the watchdog, if there is one.
    pub watchdog: Option<RawFd>,
    /// The wrapper hosts a registry when it finds none.
    pub may_host: bool,
}

/// The ways in which the child can say that it is ready.
#[derive(Clone, Copy, Default)]
pub(crate) struct ChildChannels<'a> {
    pub notify_socket: Option<&'a OsStr>,
    /// A descriptor of the wrapper, and its number in the child.
    pub ready_fd: Option<(RawFd, RawFd)>,
}

/// Starts the program at this path. Returns its process id.
pub(crate) fn spawn(program: &Path, command: &[OsString], context: &SpawnContext<'_>) -> Result<libc::pid_t, Failure> {
    let path = CString::new(program.as_os_str().as_bytes()).context("the command's name has a zero byte in it")?;
    let arguments: Result<Vec<_>, _> = command.iter().map(|argument| CString::new(argument.as_bytes())).collect();
    let mut image = ExecImage {
        path,
        arguments: arguments.context("an argument has a zero byte in it")?,
        environment: Environment::for_child(context.notify_socket),
        scheduling: reset_on_fork(),
        wrapper: std::process::id().cast_signed(),
        context,
    };
    let mut started = image.start();
    if matches!(started, Ok((_, Some((EXEC, Errno::ENOEXEC))))) && is_script(program) {
        image.run_in_shell();
        started = image.start();
    }
    let (child, error) = started.map_err(|error| {
        // The embedded registry is not stopped to make room: the child's own next thread would fail instead.
        let cure =
            if context.may_host { ", or name a registry with --registry-url: hosting one takes a thread" } else { "" };
        anyhow!("cannot start a process: {}; see ulimit -u{cure}", error.desc())
    })?;
    let Some((step, error)) = error else { return Ok(child) };
    if let Some(step) = STEPS.get(usize::from(step)) {
        return Err(anyhow!("{step}: {}; a filter of system calls may forbid it", error.desc()).into());
    }
    let cure = match error {
        Errno::ENOEXEC => "; it is no script, and no program for this processor (`file` says what it is)",
        Errno::ENOENT => "; its interpreter (in a script the first line says which) is missing",
        _ => "",
    };
    let error = anyhow!("{}: cannot be executed: {}{cure}", program.display(), error.desc());
    Err(Failure::new(exit::NOT_EXECUTABLE, error))
}

/// Returns whether a file that the kernel cannot execute is a script without `#!`, by the rule of shells: there is no
/// zero byte in its first line.
fn is_script(program: &Path) -> bool {
    let mut start = [0; 128];
    let read = File::open(program).and_then(|mut file| file.read(&mut start));
    read.is_ok_and(|read| start[..read].split(|&byte| byte == b'\n').next().is_some_and(|line| !line.contains(&0)))
}

/// Returns the wrapper's scheduling if a fork resets it (SCHED_RESET_ON_FORK), which an exec without a wrapper would
/// not have done.
#[expect(unsafe_code, reason = "the C library has no function for this")]
fn reset_on_fork() -> Option<libc::sched_attr> {
    const SIZE: libc::c_uint = size_of::<libc::sched_attr>() as libc::c_uint;
    // SAFETY: zero is a valid value of each field, and the kernel writes at most the size that is passed.
    let (read, own) = unsafe {
        let mut own: libc::sched_attr = std::mem::zeroed();
        (libc::syscall(libc::SYS_sched_getattr, 0, &raw mut own, SIZE, 0), own)
    };
    (read == 0 && own.sched_flags & libc::SCHED_FLAG_RESET_ON_FORK as u64 != 0).then_some(own)
}

/// Everything the child needs. It is made before the child exists, because the child may not allocate.
struct ExecImage<'a> {
    path: CString,
    arguments: Vec<CString>,
    environment: Environment,
    scheduling: Option<libc::sched_attr>,
    wrapper: libc::pid_t,
    context: &'a SpawnContext<'a>,
}

/// The steps before exec, by the number that the child reports.
const STEPS: [&str; 8] = [
    "cannot make a process group",
    "cannot tie the command to the wrapper",
    "the wrapper died before the command was tied to it",
    "cannot restore the limit on core dumps",
    "cannot restore SIGCHLD",
    "cannot give the command its descriptors",
    "cannot restore the blocked signals",
    "cannot make the command known to the watchdog",
];
const GROUP: u8 = 0;
const TIE: u8 = 1;
const ORPHANED: u8 = 2;
const CORE_LIMIT: u8 = 3;
const SIGCHLD: u8 = 4;
const DESCRIPTORS: u8 = 5;
const MASK: u8 = 6;
const INTRODUCTION: u8 = 7;
/// Not a step: the program itself cannot be executed.
const EXEC: u8 = 8;

/// The step that failed, and the error.
type StepError = (u8, Errno);

impl ExecImage<'_> {
    /// Has /bin/sh run the program, as execvp(3) does for a script without `#!`.
    fn run_in_shell(&mut self) {
        let script = std::mem::replace(&mut self.path, SHELL.to_owned());
        self.arguments.splice(..1, [SHELL.to_owned(), script]);
    }

    /// Returns the child's process id, and the error of a child that could not execute its program; that child is
    /// reaped.
    #[expect(unsafe_code, reason = "the child shares the memory of the wrapper until it has called exec")]
    fn start(&mut self) -> Result<(libc::pid_t, Option<StepError>), Errno> {
        let array = |strings: &[CString]| -> Vec<_> {
            strings.iter().map(|string| string.as_ptr()).chain([ptr::null()]).collect()
        };
        let (arguments, environment) = (array(&self.arguments), self.environment.pointers());
        // Without a descriptor for it the child is started all the same; its errors then show as exit status 127.
        let (report, reporter) = pipe2(OFlag::O_CLOEXEC).ok().unzip();
        let reporter = reporter.and_then(|reporter| self.out_of_the_way(reporter));
        let reporting = reporter.as_ref().map(AsRawFd::as_raw_fd);
        let mut stack = vec![0; STACK];
        let child = Box::new(|| {
            let (step, error) = self.exec_in_child(&arguments, &environment);
            let [a, b, c, d] = (error as i32).to_ne_bytes();
            if let Some(reporting) = reporting {
                // SAFETY: writes five bytes of an array that lives long enough.
                unsafe { libc::write(reporting, [step, a, b, c, d].as_ptr().cast(), 5) };
            }
            exit::NOT_FOUND.into()
        });
        // SAFETY: CLONE_VFORK holds the wrapper's only thread that uses this memory until the child has called exec or
        // exited, so the borrowed stack and strings outlive it. The child makes only system calls, every signal
        // is blocked in it, and without CLONE_SIGHAND the dispositions it sets are its own.
        let pid =
            unsafe { clone(child, &mut stack, CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK, Some(libc::SIGCHLD)) };
        let pid = pid?.as_raw();
        drop(reporter);
        let error = report.and_then(read_error);
        if error.is_some() {
            // SAFETY: waitpid may be told not to write the status. The child has exited or is about to.
            unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
        }
        Ok((pid, error))
    }

    /// Moves the descriptor for errors, if the child is to have another one with its number.
    fn out_of_the_way(&self, reporter: OwnedFd) -> Option<OwnedFd> {
        let highest = self.context.descriptors.iter().map(|&(_, number)| number).max();
        let Some(highest) = highest.filter(|&highest| reporter.as_raw_fd() <= highest) else { return Some(reporter) };
        let moved = fcntl(&reporter, FcntlArg::F_DUPFD_CLOEXEC(highest + 1)).ok()?;
        #[expect(unsafe_code, reason = "fcntl returns a number")]
        // SAFETY: the kernel has just opened it, for this process alone.
        Some(unsafe { OwnedFd::from_raw_fd(moved) })
    }

    /// Runs in the child. Returns only if something failed.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    fn exec_in_child(&mut self, arguments: &[*const libc::c_char], environment: &[*const libc::c_char]) -> StepError {
        // SAFETY: getpid cannot fail, and the C library keeps no copy of the number.
        let own = unsafe { libc::getpid() };
        self.environment.set_process_id(self.context.named_process.unwrap_or(own));
        if let Err(error) = self.setup_child(own) {
            return error;
        }
        // SAFETY: the pointers are to strings that live as long as `self`, and both arrays end with a null.
        unsafe { libc::execve(self.path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
        (EXEC, Errno::last())
    }

    /// Sets process group, terminal, scheduling, the ties to the wrapper and to its watchdog, limits and signals.
    #[expect(unsafe_code, reason = "system calls between fork and exec")]
    fn setup_child(&self, own: libc::pid_t) -> Result<(), StepError> {
        let failed = |step| move |error| (step, error);
        let SpawnContext { inherited, parent_death_signal, descriptors, .. } = *self.context;
        // SAFETY: system calls with numbers for arguments; no handler is installed.
        unsafe {
            if self.context.own_group {
                Errno::result(libc::setpgid(0, 0)).map_err(failed(GROUP))?;
            }
            if let Some(terminal) = self.context.foreground {
                // SIGTTOU is blocked, so a background process may do this. A terminal that is gone is no reason to
                // fail.
                libc::tcsetpgrp(terminal, own);
            }
            if let Some(scheduling) = &self.scheduling {
                libc::syscall(libc::SYS_sched_setattr, 0, scheduling, 0); // without the permission there is no cure
            }
            if parent_death_signal != 0 {
                let tied = Errno::result(libc::prctl(libc::PR_SET_PDEATHSIG, parent_death_signal));
                tied.map_err(failed(TIE))?;
                // In a pid namespace that begins with the child, its parent is 0.
                if ![self.wrapper, 0].contains(&libc::getppid()) {
                    return Err((ORPHANED, Errno::ESRCH));
                }
            }
            if let Some(socket) = self.context.watchdog {
                introduce(socket, own, self.context.own_group).map_err(failed(INTRODUCTION))?;
            }
            if let Some(limit) = inherited.core_limit {
                let mut core: libc::rlimit = std::mem::zeroed();
                let read = Errno::result(libc::getrlimit(libc::RLIMIT_CORE, &mut core));
                core.rlim_cur = limit;
                let set = read.and_then(|_| Errno::result(libc::setrlimit(libc::RLIMIT_CORE, &core)));
                set.map_err(failed(CORE_LIMIT))?;
            }
            signal(Signal::SIGCHLD, inherited.sigchld).map_err(failed(SIGCHLD))?;
            for &(own, number) in descriptors {
                // A descriptor that has its number already would keep close-on-exec.
                let given = if own == number { libc::fcntl(own, libc::F_SETFD, 0) } else { libc::dup2(own, number) };
                Errno::result(given).map_err(failed(DESCRIPTORS))?;
            }
            // Last: pending signals act from here on.
            let unblocked = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&inherited.mask), None);
            unblocked.map_err(failed(MASK))
        }
    }
}

/// Reads what the child reports; nothing if exec has closed the pipe.
fn read_error(report: OwnedFd) -> Option<StepError> {
    let mut bytes = [0; 5];
    File::from(report).read_exact(&mut bytes).ok()?;
    let [step, number @ ..] = bytes;
    Some((step, Errno::from_raw(i32::from_ne_bytes(number))))
}

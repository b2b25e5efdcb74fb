//! Whether the system allows the threads that the registry needs: the runtime panics if it cannot start one.

use std::io;
use std::sync::{PoisonError, RwLock};
use std::thread::{self, Builder};

use anyhow::{Context, Result};

/// The threads besides the runtime's own: the store, the commit thread, and two that read files and hash keys.
const OTHERS: usize = 4;

/// In bytes, the least that the system allows.
const STACK: usize = 16 * 1024;

/// Starts as many threads as the registry has, lets them end, and says what to change if one could not be started.
pub(super) fn check() -> Result<()> {
    let needed = thread::available_parallelism().map_or(1, usize::from) + OTHERS;
    all_at_once(needed).with_context(|| {
        format!(
            "cannot start the {needed} threads that the registry needs: raise the limit on processes (ulimit -u, \
             LimitNPROC=, TasksMax=, pids.max), or let the filter of system calls (seccomp) allow clone3"
        )
    })
}

fn all_at_once(count: usize) -> io::Result<()> {
    let gate = RwLock::new(());
    thread::scope(|scope| {
        let closed = gate.write().unwrap_or_else(PoisonError::into_inner);
        let wait = || drop(gate.read());
        let started: io::Result<Vec<_>> =
            (0..count).map(|_| Builder::new().stack_size(STACK).spawn_scoped(scope, wait)).collect();
        drop(closed);
        started.map(drop)
    })
}

//! Finds and signals the processes that descend from the wrapper, by /proc.

use std::collections::HashSet;
use std::fs;

use nix::libc::{self, pid_t};

use super::wait;

/// Sends a signal to every descendant that is not in `signalled`, and adds it there. Inherited children and their
/// descendants are left out. Returns the descendants that the wrapper may not signal; nothing if /proc does not show
/// descendants.
///
/// The children of a process that exits in the meantime become the wrapper's, and are found the next time. A process
/// cannot be mistaken for another one: its number is free only after its parent has reaped it, and descendants that are
/// not the wrapper's own children are looked up anew each time.
pub(super) fn signal_all(
    signal: i32,
    signalled: &mut HashSet<pid_t>,
    inherited_children: &HashSet<pid_t>,
) -> Option<Vec<pid_t>> {
    let mut all = descendants(inherited_children)?;
    for &process in &all {
        if signalled.insert(process) {
            wait::send(process, signal);
            if signal == libc::SIGTERM {
                wait::send(process, libc::SIGCONT); // a stopped process would not receive SIGTERM
            }
        }
    }
    all.retain(|&process| wait::is_out_of_reach(process));
    Some(all)
}

/// Returns the user that a process runs as, for messages.
pub(super) fn user_of(process: pid_t) -> String {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let id = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_whitespace().next());
    let Some(id) = id else { return "another user".to_owned() };
    // *Not* getpwuid, which may ask a server and wait for it.
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        fields.next().filter(|_| fields.nth(1) == Some(id))
    });
    name.map_or_else(|| format!("user {id}"), |name| format!("user {name} ({id})"))
}

/// Returns whether /proc shows this process: there may be no /proc, or one of another pid namespace.
fn is_visible() -> bool {
    fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
}

/// Returns the wrapper's own children.
pub(crate) fn children() -> HashSet<pid_t> {
    children_of(std::process::id().cast_signed()).into_iter().collect()
}

/// Returns the wrapper's descendants, parents before children, without inherited children and their descendants;
/// nothing if /proc does not show them.
pub(crate) fn descendants(inherited_children: &HashSet<pid_t>) -> Option<Vec<pid_t>> {
    descendants_of(std::process::id().cast_signed(), inherited_children)
}

/// The same of another process, and nothing if /proc does not show this one.
pub(super) fn descendants_of(root: pid_t, excluded: &HashSet<pid_t>) -> Option<Vec<pid_t>> {
    if !is_visible() {
        return None;
    }
    let mut found = children_of(root);
    found.retain(|child| !excluded.contains(child));
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children_of(parent));
        next += 1;
    }
    Some(found)
}

/// Reads the children of all threads: a child belongs to the thread that started or adopted it.
fn children_of(process: pid_t) -> Vec<pid_t> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Returns whether a process descends from the wrapper. A process that has just exited does not any more.
pub(crate) fn descends(mut process: pid_t) -> bool {
    let wrapper = std::process::id().cast_signed();
    while process > 1 {
        if process == wrapper {
            return true;
        }
        let Some(parent) = parent_of(process) else { return false };
        process = parent;
    }
    process == wrapper
}

/// A process, told apart from a later one with its number by the time at which it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub pid: pid_t,
    start: u64,
}

impl Identity {
    /// Returns none if there is no such process any more.
    pub(super) fn of(pid: pid_t) -> Option<Self> {
        Some(Self { pid, start: field_of(pid, 22)?.parse().ok()? })
    }

    /// Returns whether the process is still there.
    pub(super) fn lives(self) -> bool {
        Self::of(self.pid) == Some(self)
    }
}

fn parent_of(process: pid_t) -> Option<pid_t> {
    field_of(process, 4)?.parse().ok()
}

/// Returns the stopped processes among those that the function selects. All of /proc is searched: the list of a
/// parent's children may miss one while another exits.
pub(super) fn stopped(of: impl Fn(pid_t) -> bool) -> Vec<pid_t> {
    let Some(all) = is_visible().then(|| fs::read_dir("/proc").ok()).flatten() else { return Vec::new() };
    let all = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&process| of(process) && field_of(process, 3).is_some_and(|state| state == "T")).collect()
}

/// Returns a field of /proc/PID/stat from the third on. The second, a name in parentheses, may contain anything.
fn field_of(process: pid_t, number: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    String::from_utf8_lossy(&stat[after_name..]).split_whitespace().nth(number - 2).map(str::to_owned)
}

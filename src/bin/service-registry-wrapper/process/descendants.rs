//! Everything that descends from the wrapper: the child, what it started, and what it left behind.

use std::collections::HashSet;
use std::fs;

use nix::libc::{self, pid_t};

use super::lookup;

/// Sends a signal to every living descendant but the strangers and theirs, unless it is in `told`, and notes it there.
///
/// The children of a process are read from /proc; those of a process that dies meanwhile come to the wrapper and are
/// met the next time. A process cannot be mistaken for another one: its number is free only after it was buried, which
/// nobody but its parent does, and descendants that are not the wrapper's own children are looked up afresh.
///
/// False if /proc does not show them.
pub(super) fn signal_all(signal: i32, told: &mut HashSet<pid_t>, inherited_children: &HashSet<pid_t>) -> bool {
    let Some(all) = descendants(inherited_children) else { return false };
    for process in all {
        if told.insert(process) {
            lookup::send(process, signal);
            if signal == libc::SIGTERM {
                lookup::send(process, libc::SIGCONT); // one that is stopped hears nothing
            }
        }
    }
    true
}

/// Whether /proc shows this process, and so its descendants: there may be none, or that of another pid namespace.
fn is_visible() -> bool {
    fs::read_link("/proc/self").is_ok_and(|own| own.as_os_str() == std::process::id().to_string().as_str())
}

/// The wrapper's own children.
pub(crate) fn children() -> HashSet<pid_t> {
    children_of(std::process::id().cast_signed()).into_iter().collect()
}

/// All that descend from the wrapper but the strangers and theirs, parents before children; nothing if /proc does not show
/// them.
pub(super) fn descendants(inherited_children: &HashSet<pid_t>) -> Option<Vec<pid_t>> {
    if !is_visible() {
        return None;
    }
    let mut found = children_of(std::process::id().cast_signed());
    found.retain(|child| !inherited_children.contains(child));
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children_of(parent));
        next += 1;
    }
    Some(found)
}

/// A child belongs to the thread that started or adopted it, so all threads are asked.
fn children_of(process: pid_t) -> Vec<pid_t> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    let lists = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Whether a process descends from the wrapper. One that has just ended does not any more.
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

fn parent_of(process: pid_t) -> Option<pid_t> {
    field_of(process, 4)?.parse().ok()
}

/// Those of these processes that are stopped, and so hear no signal but SIGKILL and SIGCONT. They are looked for among all there
/// are: the list of a parent's children may leave one out while another ends.
pub(super) fn stopped(of: impl Fn(pid_t) -> bool) -> Vec<pid_t> {
    let Some(all) = is_visible().then(|| fs::read_dir("/proc").ok()).flatten() else { return Vec::new() };
    let all = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    all.filter(|&process| of(process) && field_of(process, 3).is_some_and(|state| state == "T")).collect()
}

/// A field of /proc/PID/stat from the third on; the second is a name in parentheses that may contain anything.
fn field_of(process: pid_t, number: usize) -> Option<String> {
    let stat = fs::read(format!("/proc/{process}/stat")).ok()?;
    let after_name = stat.iter().rposition(|&byte| byte == b')')?;
    String::from_utf8_lossy(&stat[after_name..]).split_whitespace().nth(number - 2).map(str::to_owned)
}

//! The child's environment: the wrapper's own without its credentials and settings, and with the child's process id
//! where systemd put the wrapper's.

use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use nix::libc;

use crate::options::is_withheld;

/// Variables in which systemd names the process that it started. The programs that read them compare them with their
/// own id.
const PROCESS_IDS: [&str; 3] = ["LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID"];

/// As long as the longest process id.
const PLACEHOLDER: [u8; 10] = *b"0000000000";

/// The strings of an environment. Some end with a process id that is known in the child only.
pub(super) struct Environment {
    /// Each with the zero byte that ends it.
    strings: Vec<Vec<u8>>,
    /// The index of a string, and where the process id begins in it.
    process_ids: Vec<(usize, usize)>,
}

impl Environment {
    /// `notify_socket` is the child's NOTIFY_SOCKET, in place of the wrapper's.
    pub(super) fn for_child(notify_socket: Option<&OsStr>) -> Self {
        let wrapper = std::process::id().to_string();
        let mut environment = Self { strings: Vec::new(), process_ids: Vec::new() };
        // LISTEN_PIDFDID names the wrapper's process a second time, and would contradict the child's LISTEN_PID.
        let is_for_wrapper = std::env::var_os("LISTEN_PID").is_some_and(|pid| *pid == *wrapper);
        let is_left_out = |name: &OsStr| is_withheld(name) || (is_for_wrapper && name == "LISTEN_PIDFDID");
        for (name, value) in std::env::vars_os().filter(|(name, _)| !is_left_out(name)) {
            let is_process_id = PROCESS_IDS.iter().any(|variable| name == *variable) && *value == *wrapper;
            let value = match notify_socket {
                Some(socket) if name == "NOTIFY_SOCKET" => socket.as_bytes(),
                _ if is_process_id => &PLACEHOLDER,
                _ => value.as_bytes(),
            };
            if let Ok(string) = CString::new([name.as_bytes(), b"=", value].concat()) {
                if is_process_id {
                    environment.process_ids.push((environment.strings.len(), name.len() + 1));
                }
                environment.strings.push(string.into_bytes_with_nul());
            }
        }
        if let Some(socket) = notify_socket.filter(|_| std::env::var_os("NOTIFY_SOCKET").is_none())
            && let Ok(string) = CString::new([b"NOTIFY_SOCKET=", socket.as_bytes()].concat())
        {
            environment.strings.push(string.into_bytes_with_nul());
        }
        environment
    }

    /// The array of pointers that exec takes. It is valid while the environment lives.
    pub(super) fn pointers(&self) -> Vec<*const libc::c_char> {
        self.strings.iter().map(|string| string.as_ptr().cast()).chain([ptr::null()]).collect()
    }

    /// Writes the child's process id. Called in the child, which may not allocate.
    pub(super) fn set_process_id(&mut self, id: libc::pid_t) {
        for &(string, start) in &self.process_ids {
            write_number(&mut self.strings[string][start..start + PLACEHOLDER.len()], id);
        }
    }
}

/// Writes a number in decimal, followed by zero bytes, which end the string.
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
    fn number_is_written_from_the_left() {
        for (number, text) in [(1, "1"), (10, "10"), (4_194_304, "4194304"), (i32::MAX, "2147483647")] {
            let mut place = PLACEHOLDER;
            write_number(&mut place, number);
            assert_eq!(place.split(|&b| b == 0).next().unwrap(), text.as_bytes());
            assert!(place[text.len()..].iter().all(|&byte| byte == 0));
        }
    }
}

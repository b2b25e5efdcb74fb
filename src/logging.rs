//! Where the log lines of both programs go: stderr, which may be a pipe that no process reads, a stopped terminal or a
//! file on a full disk.
//!
//! - A line never blocks the program. Pipes and terminals are opened a second time in non-blocking mode, because the
//!   child of a
//!   wrapper shares the first description of stderr; sockets are asked for each line not to block. Where opening is forbidden,
//!   poll(2) is asked before each 4096 bytes; a line then blocks only if another process fills the pipe in between.
//! - A line is written whole or not at all. Where stderr takes a part of it, the remainder is kept and written before
//!   any other
//!   line. A pipe takes up to 4096 bytes at once or none (pipe(7)), so only longer lines can be divided by what others write.
//! - A lost line is counted, and the next line that is written is preceded by one that gives the count.
//! - A pipe or socket without a reader raises no SIGPIPE, because it is not written to. A reader that leaves between
//!   the check
//!   and the write can still cause one: the registry ignores SIGPIPE, and the wrapper ignores all signals from its own process.
//!
//! *Not* a thread that may block in the place of the program (`tracing-appender`): a wrapper has one thread, and
//! whatever the second one holds at the end of the process is lost.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Stderr, Write, stderr};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::{LazyLock, Mutex, PoisonError};

use nix::libc::{O_NOCTTY, O_NONBLOCK};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{SFlag, fstat};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

/// Stderr as a writer of log lines. Each call of `write` is one line, and succeeds.
#[derive(Clone, Copy, Debug)]
pub struct LineWriter {
    /// Formats the warning that lines were lost, as a line with its end.
    pub format_warning: fn(&str) -> String,
}

impl Write for LineWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        static OUTPUT: LazyLock<Mutex<Output<Stderr>>> = LazyLock::new(|| Mutex::new(Output::new(stderr())));
        OUTPUT.lock().unwrap_or_else(PoisonError::into_inner).write_line(line, self.format_warning);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The current time, as log lines have it.
#[must_use]
pub fn timestamp() -> String {
    let mut now = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut now)); // a string takes everything
    now
}

/// In bytes: a write of this size does not block after poll(2) has said that the descriptor is ready.
const PIPE_BUF: usize = 4096;

struct Output<F> {
    descriptor: F,
    kind: Kind,
    /// The end of a line that was written in part.
    remainder: Vec<u8>,
    /// Lines lost since the last warning.
    lost: u64,
}

enum Kind {
    Socket,
    /// A pipe or terminal, with a description of its own in non-blocking mode.
    Reopened(File),
    /// A file or device; or a pipe that cannot be opened again, because another user made it or there is no /proc.
    Shared,
}

impl<F: AsFd> Output<F> {
    fn new(descriptor: F) -> Self {
        let fd = descriptor.as_fd();
        let is = |kind: SFlag| fstat(fd).is_ok_and(|found| found.st_mode & SFlag::S_IFMT.bits() == kind.bits());
        let kind = if is(SFlag::S_IFSOCK) {
            Kind::Socket
        } else if is(SFlag::S_IFIFO) || fd.is_terminal() {
            let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
            let reopened = OpenOptions::new().write(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(path);
            reopened.map_or(Kind::Shared, Kind::Reopened)
        } else {
            Kind::Shared
        };
        Self { descriptor, kind, remainder: Vec::new(), lost: 0 }
    }

    fn write_line(&mut self, line: &[u8], format_warning: fn(&str) -> String) {
        if self.lost > 0 {
            let message = format!("{} log lines were lost here: stderr did not accept them", self.lost);
            if self.begin(format_warning(&message).as_bytes()) {
                self.lost = 0;
            }
        }
        if self.lost > 0 || !self.begin(line) {
            self.lost += 1;
        }
    }

    /// Writes a line after the remainder of the one before. Returns whether it was begun; its own remainder is then
    /// kept.
    fn begin(&mut self, line: &[u8]) -> bool {
        let taken = self.write(&self.remainder);
        self.remainder.drain(..taken);
        if !self.remainder.is_empty() {
            return false;
        }
        let taken = self.write(line);
        self.remainder.extend(line[taken..].iter().filter(|_| taken > 0));
        taken > 0
    }

    /// Returns how many bytes the descriptor accepted without blocking.
    fn write(&self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while taken < bytes.len() && self.is_ready() {
            let rest = &bytes[taken..];
            let written = match &self.kind {
                Kind::Socket => {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    send(self.descriptor.as_fd().as_raw_fd(), rest, flags)
                }
                Kind::Reopened(own) => nix::unistd::write(own, rest),
                Kind::Shared => nix::unistd::write(&self.descriptor, &rest[..rest.len().min(PIPE_BUF)]),
            };
            match written {
                Ok(count) if count > 0 => taken += count,
                _ => break,
            }
        }
        taken
    }

    /// Also false for a pipe or socket without a reader, which poll(2) reports as an error beside.
    fn is_ready(&self) -> bool {
        let mut ready = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
        poll(&mut ready, PollTimeout::ZERO).is_ok() && ready[0].revents() == Some(PollFlags::POLLOUT)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read, pipe};
    use std::os::unix::net::UnixStream;

    use nix::fcntl::{FcntlArg, OFlag, fcntl};

    use super::*;

    fn warning(message: &str) -> String {
        format!("warning: {message}\n")
    }

    /// All that is in the pipe at present.
    fn read(reader: &mut PipeReader) -> String {
        fcntl(&*reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        let mut text = Vec::new();
        let _ = reader.read_to_end(&mut text); // ends with EAGAIN
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn lines_that_a_full_pipe_refuses_are_counted_and_the_others_stay_whole() {
        for length in [10, 3_000, 4_096, 5_000, 70_000] {
            let (mut reader, writer) = pipe().unwrap();
            let mut output = Output::new(writer);
            assert!(matches!(output.kind, Kind::Reopened(_)));
            let (mut said, mut written) = (String::new(), 0);
            for round in 0..50 {
                while output.lost < 3 {
                    output.write_line(format!("{}\n", "x".repeat(length - 1)).as_bytes(), warning);
                    written += 1;
                }
                said += &read(&mut reader);
                output.write_line(b"drained\n", warning);
                assert_eq!(output.lost, 0, "{length} {round}");
                said += &read(&mut reader);
            }
            let mut missing = 0;
            let mut lines = 0;
            for line in said.lines() {
                if let Some(message) = line.strip_prefix("warning: ") {
                    missing += message.split(' ').next().unwrap().parse::<usize>().unwrap();
                } else if line != "drained" {
                    assert_eq!(line.len(), length - 1, "{line:?}");
                    lines += 1;
                }
            }
            assert_eq!(lines + missing, written, "{length}");
            assert!(said.ends_with("drained\n"));
        }
    }

    #[test]
    fn full_socket_blocks_nothing_and_socket_without_reader_raises_no_signal() {
        let (reader, writer) = UnixStream::pair().unwrap();
        let mut output = Output::new(writer);
        while output.lost < 3 {
            output.write_line(&[b'x'; 1_000], warning);
        }
        drop(reader);
        output.write_line(b"unread\n", warning);
        assert_eq!(output.lost, 4);
    }

    #[test]
    fn full_pipe_never_blocks() {
        let (_reader, writer) = pipe().unwrap();
        let mut output = Output::new(writer);
        while output.lost == 0 {
            output.write_line(&[b'x'; 4_096], warning);
        }
        let Kind::Reopened(own) = &output.kind else { panic!("the pipe was not opened again") };
        assert!(nix::unistd::write(own, b"x").is_err(), "it would block, and says so");
    }
}

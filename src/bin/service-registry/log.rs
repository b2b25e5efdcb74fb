//! Log lines, on stderr: stdout is for what was asked for.

use std::io::{self, IsTerminal, Write, stderr};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::cli::{Format, Log};

pub(crate) fn start(log: &Log) {
    let level = match (log.verbose, log.quiet) {
        (0, 0) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
        (_, 1) => LevelFilter::WARN,
        (_, _) => LevelFilter::ERROR,
    };
    let format = log.log_format;
    let lines = tracing_subscriber::fmt().with_writer(move || Stderr(format)).with_max_level(level).with_target(false);
    let lines = lines.log_internal_errors(false); // it would tell them by eprintln!, which panics
    match format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

/// What this process ends with.
pub(crate) fn tell(last_words: &str) {
    let _ = Stderr(Format::Text).write_all(format!("service-registry: {last_words}\n").as_bytes());
}

/// stderr, but a line is lost rather than waited for, and a failure is nobody's: neither a pipe that nobody reads nor a full
/// disk may hold up requests, heartbeats or the end.
struct Stderr(Format);

/// What has not reached stderr since the last line that did.
struct Lost {
    lines: u64,
    /// The last one did in part.
    is_torn: bool,
}

/// One at a time: what is said to fit is then not taken by another thread.
static LOST: Mutex<Lost> = Mutex::new(Lost { lines: 0, is_torn: false });

/// What a pipe takes whole when it says that it is ready.
const PIECE: usize = 4096;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut lost = LOST.lock().unwrap_or_else(PoisonError::into_inner);
        let note = if lost.lines > 0 { self.0.note(&lost) } else { String::new() };
        if lost.put(note.as_bytes()) {
            if lost.put(line) {
                *lost = Lost { lines: 0, is_torn: false };
            } else {
                lost.lines = 1;
            }
        } else {
            lost.lines += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lost {
    /// Says whether all of it was taken.
    fn put(&mut self, line: &[u8]) -> bool {
        let is_whole = line.chunks(PIECE).all(|piece| {
            let taken = if is_ready() { nix::unistd::write(stderr(), piece).unwrap_or(0) } else { 0 };
            self.is_torn |= taken > 0;
            taken == piece.len()
        });
        self.is_torn &= !is_whole;
        is_whole
    }
}

fn is_ready() -> bool {
    let stderr = stderr();
    let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    poll(&mut ready, PollTimeout::ZERO).is_ok_and(|count| count > 0)
        && ready[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
}

impl Format {
    /// Says in a line of its own what is missing before it.
    fn note(self, lost: &Lost) -> String {
        let mut now = String::new();
        let _ = SystemTime.format_time(&mut Writer::new(&mut now)); // into a string, which takes everything
        let torn = if lost.is_torn { "\n" } else { "" };
        let message = format!("{} log lines were lost here: stderr did not take them", lost.lines);
        match self {
            Self::Text => format!("{torn}{now}  WARN {message}\n"),
            Self::Json => format!("{torn}{{\"timestamp\":\"{now}\",\"level\":\"WARN\",\"message\":\"{message}\"}}\n"),
        }
    }
}

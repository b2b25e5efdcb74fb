//! The wrapper's own words: on stderr, one line each, never on stdout, which is the child's.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::fstat;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use crate::cli::LogFormat;
use crate::plan::Voice;

/// Begins to speak. Lines of libraries count from `-vv` on.
pub(crate) fn start(voice: Voice) {
    let level = match voice.level {
        ..=-2 => LevelFilter::OFF,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    // What the libraries below have to say is for those who want everything.
    let libraries = if level == LevelFilter::TRACE { level } else { LevelFilter::OFF };
    // A registry that is hosted here says a line for each request; that is for those who want more.
    let hosted = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
    let heard = Targets::new()
        .with_default(libraries)
        .with_target("service_registry", level)
        .with_target("service_registry::registry", hosted);
    let _ = tracing::subscriber::set_global_default(Lines { heard, level, format: voice.format }); // the first and only one
}

/// Makes a line of each event. Nobody here needs spans; the registry of them that tracing-subscriber's own formatter stands on
/// would take ten pages of memory, and a hundredth of the whole start.
struct Lines {
    heard: Targets,
    level: LevelFilter,
    format: LogFormat,
}

impl Subscriber for Lines {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.is_event() && self.heard.would_enable(about.target(), about.level())
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = priority(*event.metadata().level()).to_owned();
        let written = match self.format {
            LogFormat::Text => write_prose(&mut line, event),
            LogFormat::Json => write_json(&mut line, event),
        };
        if written.is_ok() {
            let _ = Stderr.write_all(line.as_bytes());
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1) // never asked for, since none is enabled
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// How urgent a line is, for a journal that stands behind stderr (sd-daemon(3)); it takes this off again.
pub(crate) fn priority(level: Level) -> &'static str {
    match level {
        _ if !is_journal(io::stderr().as_fd()) => "",
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Whether this is what systemd has connected to its journal, and says so.
fn is_journal(descriptor: BorrowedFd<'_>) -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(descriptor).is_ok_and(|found| *journal == *format!("{}:{}", found.st_dev, found.st_ino))
}

/// `service-registry-wrapper: message name=value`: no time and no colour, since the line stands between those of the
/// child, and whatever collects them stamps them.
fn write_prose(line: &mut String, event: &Event<'_>) -> fmt::Result {
    line.push_str("service-registry-wrapper: ");
    line.push_str(match *event.metadata().level() {
        Level::ERROR => "error: ",
        Level::WARN => "warning: ",
        _ => "",
    });
    DefaultFields::new().format_fields(Writer::new(line), event)?;
    line.push('\n');
    Ok(())
}

/// One object: time, level, message, and what else there is.
fn write_json(line: &mut String, event: &Event<'_>) -> fmt::Result {
    line.push_str("{\"timestamp\":\"");
    line.push_str(&now());
    line.push_str("\",\"level\":\"");
    line.push_str(event.metadata().level().as_str());
    line.push_str("\",");
    let mut fields = String::new();
    JsonFields::new().format_fields(Writer::new(&mut fields), event)?;
    line.push_str(fields.strip_prefix('{').unwrap_or(&fields)); // at least the message is in it
    line.push('\n');
    Ok(())
}

/// The time, as lines of JSON have it.
pub(crate) fn now() -> String {
    let mut now = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut now)); // into a string, which takes everything
    now
}

/// stderr, but a line is dropped rather than waited for: a pipe that nobody reads must not hold up the wrapper, and with it
/// signals, heartbeats and the burying of the dead. The descriptor is the child's too, so it cannot be made non-blocking.
pub(crate) struct Stderr;

/// What a pipe takes whole when it says that it is ready.
const LONGEST_LINE: usize = 4096;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let stderr = io::stderr();
        let mut ready = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
        let takes = poll(&mut ready, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            && ready[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT));
        if takes {
            let _ = nix::unistd::write(stderr.as_fd(), &line[..line.len().min(LONGEST_LINE)]);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

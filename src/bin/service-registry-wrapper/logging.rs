//! The wrapper's own words: on stderr, one line each, never on stdout, which is the child's.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::fstat;
use serde_json::json;
use service_registry::logging::{LineWriter, timestamp};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::options::LogFormat;
use crate::options::LogSettings;

/// Begins to speak. Lines of libraries count from `-vv` on.
pub(super) fn start(voice: LogSettings) {
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
    let writer = writer(voice.format);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(move || writer).with_ansi(false).log_internal_errors(false);
    let subscriber = tracing_subscriber::registry().with(heard);
    match voice.format {
        LogFormat::Text => subscriber.with(lines.event_format(Prose)).init(),
        LogFormat::Json => {
            let object = |format: Format<_>| Object(format.json().flatten_event(true).with_target(false));
            subscriber.with(lines.map_event_format(object).fmt_fields(JsonFields::new())).init();
        }
    }
}

/// A line of prose: no time and no colour, since the line stands between those of the child, and whatever collects them
/// stamps them.
struct Prose;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'w> FormatFields<'w> + 'static> FormatEvent<S, N> for Prose {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str(&prefix(*event.metadata().level()))?;
        context.format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}

/// One object of JSON: time, level, message, and what else there is.
struct Object(Format<Json>);

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'w> FormatFields<'w> + 'static> FormatEvent<S, N> for Object {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, line, event)
    }
}

/// Writes what ends the wrapper, however quiet it is.
pub(super) fn tell_end(format: LogFormat, message: &str) {
    let line = match format {
        LogFormat::Text => format!("{}service-registry-wrapper: {message}\n", priority(Level::ERROR)),
        LogFormat::Json => object(Level::ERROR, message),
    };
    let _ = writer(format).write_all(line.as_bytes());
}

fn writer(format: LogFormat) -> LineWriter {
    LineWriter {
        format_warning: match format {
            LogFormat::Text => |message| format!("{}{message}\n", prefix(Level::WARN)),
            LogFormat::Json => |message| object(Level::WARN, message),
        },
    }
}

/// `service-registry-wrapper: warning: `
fn prefix(level: Level) -> String {
    let word = match level {
        Level::ERROR => "error: ",
        Level::WARN => "warning: ",
        _ => "",
    };
    format!("{}service-registry-wrapper: {word}", priority(level))
}

fn object(level: Level, message: &str) -> String {
    let object = json!({"timestamp": timestamp(), "level": level.as_str(), "message": message});
    format!("{}{object}\n", priority(level))
}

/// How urgent a line is, for a journal that stands behind stderr (sd-daemon(3)); it takes this off again.
fn priority(level: Level) -> &'static str {
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

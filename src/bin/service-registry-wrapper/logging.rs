//! The format of the wrapper's log lines, and the panic hook. Lines go to stderr; stdout is the child's.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::stat::fstat;
use serde_json::json;
use service_registry::logging::{LineWriter, timestamp};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::options::LogFormat;
use crate::options::LogSettings;

/// Starts logging. Lines of libraries are logged with `-vv` only.
pub(super) fn start(settings: LogSettings) {
    let level = match settings.level {
        ..=-2 => LevelFilter::OFF,
        -1 => LevelFilter::WARN,
        0 => LevelFilter::INFO,
        1 => LevelFilter::DEBUG,
        2.. => LevelFilter::TRACE,
    };
    let libraries = if level == LevelFilter::TRACE { level } else { LevelFilter::OFF };
    // An embedded registry logs a line for each request, which `-v` shows.
    let hosted = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
    let targets = Targets::new()
        .with_default(libraries)
        .with_target("service_registry", level)
        .with_target("service_registry::registry", hosted);
    log_panics(settings.format);
    let writer = writer(settings.format);
    let lines =
        tracing_subscriber::fmt::layer().with_writer(move || writer).with_ansi(false).log_internal_errors(false);
    let subscriber = tracing_subscriber::registry().with(targets);
    match settings.format {
        LogFormat::Text => subscriber.with(lines.event_format(Text)).init(),
        LogFormat::Json => {
            let object = |format: Format<_>| Object(format.json().flatten_event(true).with_target(false));
            subscriber.with(lines.map_event_format(object).fmt_fields(JsonFields::new())).init();
        }
    }
}

/// Logs a panic as one line. The default hook writes two, and panics itself if stderr cannot be written.
fn log_panics(format: LogFormat) {
    std::panic::set_hook(Box::new(move |panic| {
        let payload = panic.payload();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = panic.location().map_or_else(String::new, |place| format!(" at {place}"));
        report_end(
            format,
            &format!("this is a defect of the wrapper, please report it: panic{place}: {}", text.unwrap_or("no text")),
        );
    }));
}

/// Text without time and colour: the line is among the child's, and the collector of the logs adds the time.
struct Text;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'w> FormatFields<'w> + 'static> FormatEvent<S, N> for Text {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        line.write_str(&prefix(*metadata.level()))?;
        if *metadata.level() <= Level::INFO && metadata.target().starts_with("service_registry_wrapper") {
            event.record(&mut Sentence(&mut line)); // its fields repeat what it says, for JSON
        } else {
            context.format_fields(line.by_ref(), event)?;
        }
        writeln!(line)
    }
}

/// Writes the message of an event without its fields.
struct Sentence<'a, 'w>(&'a mut Writer<'w>);

impl Visit for Sentence<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}"); // the writer collects the line in memory
        }
    }
}

/// A JSON object with time, level, message and fields.
struct Object(Format<Json>);

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'w> FormatFields<'w> + 'static> FormatEvent<S, N> for Object {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        line.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(context, line, event)
    }
}

/// Writes the line that says why the wrapper ends, at every log level.
pub(super) fn report_end(format: LogFormat, message: &str) {
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

/// Returns the priority prefix of sd-daemon(3) if stderr is the journal, which removes it again.
fn priority(level: Level) -> &'static str {
    match level {
        _ if !is_journal(io::stderr().as_fd()) => "",
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        _ => "<7>",
    }
}

/// Compares a descriptor with the one that systemd has connected to its journal.
fn is_journal(descriptor: BorrowedFd<'_>) -> bool {
    let Some(journal) = std::env::var_os("JOURNAL_STREAM") else { return false };
    fstat(descriptor).is_ok_and(|found| *journal == *format!("{}:{}", found.st_dev, found.st_ino))
}

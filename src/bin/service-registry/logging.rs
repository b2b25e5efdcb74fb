//! Log lines, on stderr: stdout is for results.

use std::io::{IsTerminal, Write, stderr};

use service_registry::logging::{LineWriter, timestamp};
use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Format, Log};

pub(super) fn start(log: &Log) {
    let level = match (log.verbose, log.quiet) {
        (0, 0) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
        (_, 1) => LevelFilter::WARN,
        (_, _) => LevelFilter::ERROR,
    };
    let writer = LineWriter {
        format_warning: match log.log_format {
            Format::Text => |message| format!("{}  WARN {message}\n", timestamp()),
            Format::Json => |message| {
                format!("{{\"timestamp\":\"{}\",\"level\":\"WARN\",\"message\":\"{message}\"}}\n", timestamp())
            },
        },
    };
    let lines = tracing_subscriber::fmt().with_writer(move || writer).with_max_level(level).with_target(false);
    let lines = lines.log_internal_errors(false); // it would use eprintln!, which panics
    match log.log_format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

/// Writes the error that ends the process.
pub(super) fn tell(last_words: &str) {
    let mut writer = LineWriter { format_warning: |message| format!("service-registry: {message}\n") };
    let _ = writer.write_all(format!("service-registry: {last_words}\n").as_bytes());
}

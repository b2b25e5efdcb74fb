//! Log lines, on stderr: stdout is for results.

use std::io::{IsTerminal, Write, stderr};

use service_registry::logging::{LineWriter, timestamp};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs lines of this level; as text, or as JSON objects. Lines of libraries below warnings are logged with `-vv` only.
pub(super) fn start(level: LevelFilter, is_json: bool) {
    let writer = LineWriter {
        format_warning: if is_json {
            |message| format!("{{\"timestamp\":\"{}\",\"level\":\"WARN\",\"message\":\"{message}\"}}\n", timestamp())
        } else {
            |message| format!("{}  WARN {message}\n", timestamp())
        },
    };
    let lines = tracing_subscriber::fmt().with_writer(move || writer).with_max_level(level).with_target(false);
    let lines = lines.log_internal_errors(false); // it would use eprintln!, which panics
    let libraries = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::WARN) };
    let targets = Targets::new().with_default(libraries).with_target("service_registry", level);
    if is_json {
        lines.json().flatten_event(true).finish().with(targets).init();
    } else {
        lines.with_ansi(stderr().is_terminal()).finish().with(targets).init();
    }
}

/// Writes the error that ends the process.
pub(super) fn tell(last_words: &str) {
    let mut writer = LineWriter { format_warning: |message| format!("service-registry: {message}\n") };
    let _ = writer.write_all(format!("service-registry: {last_words}\n").as_bytes());
}

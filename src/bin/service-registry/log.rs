//! Log lines, on stderr: stdout is for what was asked for.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::filter::LevelFilter;

use crate::cli::{Format, Log};

pub(crate) fn start(log: &Log) {
    let level = match (log.verbose, log.quiet) {
        (0, 0) => LevelFilter::INFO,
        (1, _) => LevelFilter::DEBUG,
        (2.., _) => LevelFilter::TRACE,
        (_, 1) => LevelFilter::WARN,
        (_, _) => LevelFilter::ERROR,
    };
    let lines = tracing_subscriber::fmt().with_writer(stderr).with_max_level(level).with_target(false);
    match log.log_format {
        Format::Text => lines.with_ansi(stderr().is_terminal()).init(),
        Format::Json => lines.json().flatten_event(true).init(),
    }
}

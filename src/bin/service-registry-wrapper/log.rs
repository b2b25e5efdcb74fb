//! The wrapper's own words: on stderr, one line each, never on stdout, which is the child's.

use std::fmt;

use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

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
    let ours = Targets::new()
        .with_default(libraries)
        .with_target("service_registry", level)
        .with_target("service_registry::registry", hosted);
    let line = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    match voice.format {
        LogFormat::Text => tracing_subscriber::registry().with(line.event_format(Prose)).with(ours).init(),
        LogFormat::Json => {
            let line = line.json().flatten_event(true).with_target(false);
            tracing_subscriber::registry().with(line).with(ours).init();
        }
    }
}

/// `service-registry-wrapper: message name=value`: no time and no colour, since the line stands between those of the
/// child, and whatever collects them stamps them.
struct Prose;

impl<S, N> FormatEvent<S, N> for Prose
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        to.write_str("service-registry-wrapper: ")?;
        match *event.metadata().level() {
            Level::ERROR => to.write_str("error: ")?,
            Level::WARN => to.write_str("warning: ")?,
            _ => {}
        }
        context.format_fields(to.by_ref(), event)?;
        writeln!(to)
    }
}

//! The wrapper's own words: on stderr, one line each, never on stdout, which is the child's.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
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
    let line = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(|| Stderr);
    match voice.format {
        LogFormat::Text => tracing_subscriber::registry().with(line.event_format(Prose)).with(ours).init(),
        LogFormat::Json => {
            let line = line.json().flatten_event(true).with_target(false);
            tracing_subscriber::registry().with(line).with(ours).init();
        }
    }
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

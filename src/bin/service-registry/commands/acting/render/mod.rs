//! `service-registry render`: writes files from templates and the list of services, at the start and at each change.
//!
//! In reading order: the options are here; `template` makes a text of a list, in which `view` is what it finds; `draft`
//! is a new text beside its file; `job` goes from the list through the check to the command or the signal, which
//! `apply` has.

mod apply;
mod draft;
mod job;
mod template;
mod view;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::Args;
use service_registry::connection::{Origins, RegistryOptions};

use self::apply::Apply;
use self::job::{Renderer, Target};
use self::template::Template;
use super::following::follow::follow;
use super::following::schedule::Timing;
use super::following::source::Source;
use super::time;
use crate::commands::reading::services::Filter;
use crate::connection::{Connection, block_on};
use crate::exit::Failure;

const EXAMPLES: &str = "\
Examples:
  service-registry render --once upstream.j2
  service-registry render nginx.conf.j2:nginx.conf --check 'nginx -t -q -c {}' --signal HUP:/run/nginx.pid
  service-registry render haproxy.cfg.j2:haproxy.cfg --tag api --exec 'systemctl reload haproxy'";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Render {
    /// A template (Jinja), and the file that it writes; without one, stdout (with --once only)
    #[arg(value_name = "TEMPLATE[:FILE]", required = true, value_parser = names)]
    templates: Vec<(String, Option<PathBuf>)>,
    /// Write once, for the list as it is now, and end
    #[arg(long)]
    once: bool,
    /// Check each new file by this command before it takes its place; {} is its path
    #[arg(long, value_name = "COMMAND", value_parser = check)]
    check: Option<String>,
    /// Run this command after files were replaced
    #[arg(long, value_name = "COMMAND")]
    exec: Option<String>,
    /// Send this signal, such as HUP, after files were replaced, to the process that a file names
    #[arg(long, value_name = "NAME:PIDFILE", conflicts_with = "exec", value_parser = apply::signal)]
    signal: Option<Apply>,
    /// Kill a command that has not ended after this long; it has failed then
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::time)]
    command_timeout: Duration,
    /// Replace files also for a list without services
    #[arg(long)]
    allow_empty: bool,
    /// After an outage of the registry, keep services that it no longer lists for this long
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::time)]
    hold: Duration,
    /// Write once nothing has changed for this long
    #[arg(long, value_name = "TIME", default_value = "200ms", value_parser = time::time)]
    quiet_time: Duration,
    /// Write this long after a change at the latest, also while the list goes on changing [default: ten times the quiet
    /// time]
    #[arg(long, value_name = "TIME", value_parser = time::time)]
    max_delay: Option<Duration>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    registry: RegistryOptions,
}

/// Renders until a signal comes, or the registry refuses; with `--once`, until the first run has ended.
pub(crate) fn run(options: Render, origins: Origins) -> Result<(), Failure> {
    let apply = options.signal.or(options.exec.map(Apply::Exec));
    if !options.once && options.templates.iter().any(|(_, file)| file.is_none()) {
        return Err(Failure::usage(anyhow!(
            "TEMPLATE alone writes to stdout, which needs --once: write TEMPLATE:FILE"
        )));
    }
    if options.templates.iter().all(|(_, file)| file.is_none()) && (options.check.is_some() || apply.is_some()) {
        return Err(Failure::usage(anyhow!("--check, --exec and --signal are for files: write TEMPLATE:FILE")));
    }
    let target = |(path, file): (String, _)| Ok(Target { template: Template::read(&path)?, file });
    let targets = options.templates.into_iter().map(target).collect::<Result<Vec<_>, Failure>>()?;
    let connection = Connection::open(options.registry, origins)?;
    let source = Source::new(&connection, &options.filter, options.hold);
    let longest = options.max_delay.unwrap_or(options.quiet_time * 10);
    let timing = Timing { quiet: options.quiet_time, longest, is_once: options.once };
    let mut renderer = Renderer::new(targets, options.check, apply, options.command_timeout, options.allow_empty);
    block_on(follow(source, timing, &mut renderer))
}

/// Parses `TEMPLATE` or `TEMPLATE:FILE`.
fn names(text: &str) -> Result<(String, Option<PathBuf>), &'static str> {
    match text.split_once(':') {
        None => Ok((text.to_owned(), None)),
        Some((template, file)) if !template.is_empty() && !file.is_empty() && !file.ends_with('/') => {
            Ok((template.to_owned(), Some(file.into())))
        }
        _ => Err("write TEMPLATE:FILE, both with a name"),
    }
}

/// A check that does not look at the new file would check the old one.
fn check(text: &str) -> Result<String, &'static str> {
    if text.contains("{}") { Ok(text.to_owned()) } else { Err("write {} where the path of the new file belongs") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_and_file_are_split_at_the_first_colon() {
        assert_eq!(names("a.j2"), Ok(("a.j2".to_owned(), None)));
        assert_eq!(names("a.j2:/etc/a:b"), Ok(("a.j2".to_owned(), Some("/etc/a:b".into()))));
        for wrong in [":", "a:", ":b", "a:/etc/"] {
            assert!(names(wrong).is_err(), "{wrong}");
        }
        assert!(check("nginx -t").is_err() && check("nginx -t -c {}").is_ok());
    }
}

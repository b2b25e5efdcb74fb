//! The command line. Reading it touches nothing but the arguments and the environment.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

/// The registry that service-registry-wrapper and other clients of the v1.0 API register in.
#[derive(Debug, Parser)]
#[command(name = "service-registry", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: Log,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is told on the way, on stderr.
#[derive(Args, Debug)]
pub(crate) struct Log {
    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "SERVICE_REGISTRY_LOG_FORMAT", default_value = "text", global = true)]
    pub(crate) log_format: Format,
    /// Say more (twice: everything)
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Say less (twice: nothing but errors)
    #[arg(short, long, action = ArgAction::Count, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: u8,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until told to stop by SIGTERM or SIGINT
    ///
    /// Prints `listening on http://ADDRESS:PORT` once clients can connect.
    Serve(Serve),
}

#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where to listen; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        env = "SERVICE_REGISTRY_LISTEN",
        default_value_t = format!("127.0.0.1:{}", service_registry::wire::DEFAULT_PORT)
    )]
    pub(crate) listen: String,
    /// Who may log in (TOML); without it everyone on this machine may
    #[arg(long, value_name = "FILE", env = "SERVICE_REGISTRY_USERS")]
    pub(crate) users: Option<PathBuf>,
    /// Hide events that clients of the time did not know
    ///
    /// `service.remove` for a service that lives in a session: some old clients stop reading the feed at it.
    #[arg(long, env = "SERVICE_REGISTRY_STRICT_FEED")]
    pub(crate) strict_feed: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
